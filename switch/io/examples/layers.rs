//! What a frame costs while another port wears something, or none does: moves FRAMES frames between two ports, one at a time. By itself it says
//! nothing; instructions are counted by who runs it, and what grows with the frames is theirs:
//!
//! `valgrind --tool=callgrind --callgrind-out-file=/dev/null layers nothing|captured|mirrored|impaired|own FRAMES`
//!
//! With `own`, the port that the frames go to is captured itself.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use switch_core::impairment::Impairment;
use switch_core::{Bridge, BridgeConfig, PortConfig, PortId, PortKind};
use switch_io::capture::{Capture, CaptureSettings};
use switch_io::{
    Capabilities, ChannelEnd, EngineChoice, ImpairmentControl, Layer, Switch, SwitchConfig, channel,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [worn, frames] = arguments.as_slice() else {
        return Err("usage: layers nothing|captured|mirrored|impaired|own FRAMES".into());
    };
    let frames: u32 = frames.parse()?;
    // Of the engines, the one that valgrind runs.
    let switch = Switch::start(SwitchConfig {
        engine: EngineChoice::Epoll,
        workers: 1,
        pin: None,
        join: false,
    })?;
    let bridge = Arc::new(Bridge::new(BridgeConfig::default()));
    let [one, two, other, mirror] = [
        attach(&switch, &bridge)?,
        attach(&switch, &bridge)?,
        attach(&switch, &bridge)?,
        attach(&switch, &bridge)?,
    ];
    let capture = Capture::new(CaptureSettings::default())?;
    match worn.as_str() {
        "captured" => switch.dress(other.0, recorded(&capture))?,
        "mirrored" => switch.dress(other.0, Layer::Mirror(mirror.0))?,
        "impaired" => {
            let slow = Impairment {
                delay: Duration::from_millis(20),
                ..Impairment::default()
            };
            let control = ImpairmentControl::new(slow, slow, 1)?;
            switch.dress(other.0, Layer::Impairment(control))?;
        }
        "own" => switch.dress(two.0, recorded(&capture))?,
        _ => {}
    }
    let (there, back) = (frame(2, 1), frame(1, 2));
    pass(&two.1, &one.1, &back)?;
    for _ in 0..frames {
        pass(&one.1, &two.1, &there)?;
    }
    Ok(())
}

fn attach(switch: &Switch, bridge: &Arc<Bridge>) -> Result<(PortId, ChannelEnd), Box<dyn Error>> {
    let (port, end) = channel(64, Capabilities::ALL)?;
    let config = PortConfig::new(PortKind::Tap, 1500);
    Ok((switch.add_port(bridge, Box::new(port), config)?, end))
}

fn recorded(capture: &Capture) -> Layer {
    Layer::Capture(capture.recorder(), "port".to_owned())
}

fn pass(from: &ChannelEnd, to: &ChannelEnd, frame: &[u8]) -> Result<(), Box<dyn Error>> {
    from.send(frame);
    to.recv_timeout(Duration::from_secs(10))?;
    Ok(())
}

/// Of a local experimental type (IEEE 802 §9.2.3), 60 bytes.
fn frame(to: u8, from: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5];
    frame.resize(60, 0);
    frame
}

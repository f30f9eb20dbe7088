//! Bridges TAPs until standard input ends, then prints their counters.
//!
//! `two_taps [uring|epoll|auto] [workers] [pin: core,core..|-] [offload|basic] NAME...`: move the TAPs into namespaces
//! and measure between them. With `JOIN` in the environment, frames of one flow are joined.

use std::error::Error;
use std::io::Read;
use std::sync::Arc;

use switch_core::{Bridge, BridgeConfig, PortConfig, PortKind};
use switch_io::{BasicTap, EngineChoice, FramePort, OffloadTap, Switch, SwitchConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, workers, pin, driver, names @ ..] = arguments.as_slice() else {
        return Err("usage: two_taps ENGINE WORKERS PIN DRIVER NAME...".into());
    };
    let switch = Switch::start(SwitchConfig {
        engine: engine_of(engine)?,
        workers: workers.parse()?,
        pin: pin_of(pin)?,
        join: std::env::var_os("JOIN").is_some(),
    })?;
    println!("{:?}", switch.engine());
    let bridge = Arc::new(Bridge::new(BridgeConfig::default()));
    let mut ports = Vec::new();
    for name in names {
        let tap: Box<dyn FramePort> = match driver.as_str() {
            "basic" => Box::new(BasicTap::create(name)?),
            _ => Box::new(OffloadTap::create(name)?),
        };
        ports.push((
            name,
            switch.add_port(&bridge, tap, PortConfig::new(PortKind::Tap, 1500))?,
        ));
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for (name, port) in ports {
        println!("{name}: {:?}", switch.counters(port));
    }
    Ok(())
}

fn engine_of(word: &str) -> Result<EngineChoice, String> {
    match word {
        "auto" => Ok(EngineChoice::Auto),
        "uring" => Ok(EngineChoice::Uring),
        "epoll" => Ok(EngineChoice::Epoll),
        other => Err(format!("unknown engine {other}")),
    }
}

fn pin_of(word: &str) -> Result<Option<Vec<usize>>, std::num::ParseIntError> {
    if word == "-" {
        return Ok(None);
    }
    word.split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map(Some)
}

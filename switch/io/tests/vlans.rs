//! Frames in VLANs leave each port in its own form: whole where it takes superframes, in segments where it does not.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lab::{eventually, frame, internet_sum, superframe, switch, tap_port};
use switch_core::vlan::{PortVlans, Vid, VlanConfig};
use switch_core::{
    Bridge, BridgeConfig, DropReason, Frame, Gso, PortConfig, PortId, SnoopingConfig, VnetHeader,
};
use switch_io::{Capabilities, ChannelEnd, EngineChoice, Layer, Switch, channel};

on_both_engines! {
    a_flood_reaches_each_port_in_its_form
    a_group_reaches_those_who_asked_in_their_form
    a_superframe_gets_its_tag_and_loses_it
    a_mirror_shows_a_frame_as_it_came_and_as_it_leaves
}

const WAIT: Duration = Duration::from_secs(5);

struct Site {
    switch: Switch,
    bridge: Arc<Bridge>,
}

impl Site {
    fn new(engine: EngineChoice) -> Self {
        Self::that_snoops(engine, None)
    }

    fn that_snoops(engine: EngineChoice, snooping: Option<SnoopingConfig>) -> Self {
        Self {
            switch: switch(engine),
            bridge: Arc::new(Bridge::new(BridgeConfig {
                snooping,
                vlans: Some(VlanConfig::default()),
                ..BridgeConfig::default()
            })),
        }
    }

    fn attach(&self, vlans: PortVlans, capabilities: Capabilities) -> (PortId, ChannelEnd) {
        let (port, end) = channel(64, capabilities).unwrap();
        let config = PortConfig {
            vlans: Some(vlans),
            ..tap_port()
        };
        let id = self.switch.add_port(&self.bridge, Box::new(port), config);
        (id.unwrap(), end)
    }
}

fn vid(number: u16) -> Vid {
    Vid::new(number).unwrap()
}

fn access(number: u16) -> PortVlans {
    PortVlans::access(vid(number))
}

fn trunk(native: Option<u16>, tagged: &str) -> PortVlans {
    PortVlans::trunk(native.map(vid), tagged.parse().unwrap())
}

fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0], &tci.to_be_bytes(), rest].concat()
}

fn is_empty(end: &ChannelEnd) -> bool {
    end.try_recv()
        .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn heard(end: &ChannelEnd) -> Vec<u8> {
    end.recv_timeout(WAIT).unwrap().frame().to_vec()
}

fn a_flood_reaches_each_port_in_its_form(engine: EngineChoice) {
    let site = Site::new(engine);
    let (_, red) = site.attach(access(10), Capabilities::ALL);
    let (_, rose) = site.attach(access(10), Capabilities::ALL);
    let (_, weak) = site.attach(access(10), Capabilities::NONE);
    let (_, blue) = site.attach(access(20), Capabilities::ALL);
    let (line_port, line) = site.attach(trunk(Some(20), "10"), Capabilities::ALL);
    let (_, narrow) = site.attach(trunk(None, "10,20"), Capabilities::NONE);

    let words = frame(255, 1, b"of red");
    red.send(&words);
    assert_eq!((heard(&rose), heard(&weak)), (words.clone(), words.clone()));
    let with_tag = tagged(&words, 10);
    assert_eq!((heard(&line), heard(&narrow)), (with_tag.clone(), with_tag));

    let words = frame(255, 2, b"of the line in 10");
    line.send(&tagged(&words, 0xe00a));
    for end in [&red, &rose, &weak] {
        assert_eq!(heard(end), words);
    }
    assert_eq!(heard(&narrow), tagged(&words, 0xe00a));

    let words = frame(255, 3, b"of the line");
    line.send(&words);
    assert_eq!(heard(&blue), words);
    assert_eq!(heard(&narrow), tagged(&words, 20));
    line.send(&tagged(&words, 30));
    // What came before has arrived by then.
    line.send(&words);
    heard(&blue);
    assert!([&red, &rose, &weak].into_iter().all(is_empty));
    eventually("the foreign tag alone is counted", || {
        let counted = site.switch.counters(line_port).unwrap();
        let foreign = counted.dropped(DropReason::VlanForeign);
        (foreign, counted.drop_reasons().count()) == (1, 1)
    });
}

/// A datagram for 239.1.1.1, or an IGMPv2 report of it.
fn about_a_group(is_report: bool) -> Vec<u8> {
    let mut message = match is_report {
        true => vec![0x16, 0, 0, 0, 239, 1, 1, 1],
        false => vec![0x0f, 0xa0, 0x0f, 0xa1, 0, 12, 0, 0, 1, 2, 3, 4],
    };
    if is_report {
        let sum = !internet_sum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let (protocol, total) = if is_report { (2, 28) } else { (17, 32) };
    let mut bytes = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    bytes.extend([0x45, 0, 0, total, 0, 0, 0, 0, 1, protocol, 0, 0]);
    bytes.extend([10, 0, 0, 9, 239, 1, 1, 1]);
    bytes.extend(message);
    bytes
}

fn a_group_reaches_those_who_asked_in_their_form(engine: EngineChoice) {
    let site = Site::that_snoops(engine, Some(SnoopingConfig::default()));
    let (_, source) = site.attach(access(10), Capabilities::ALL);
    let (_, rose) = site.attach(access(10), Capabilities::ALL);
    let (_, deaf) = site.attach(access(10), Capabilities::ALL);
    let (_, blue) = site.attach(access(20), Capabilities::ALL);
    let (_, line) = site.attach(trunk(Some(20), "10"), Capabilities::NONE);
    let ends = [&source, &rose, &deaf, &blue, &line];
    // Each is asked in its form, and has answered when data comes to it no more.
    let asked = heard(&line);
    assert_eq!(asked[12..16], [0x81, 0, 0xc0, 10], "{asked:?}");
    let data = about_a_group(false);
    eventually("nobody gets what nobody asked for", || {
        ends.iter().for_each(|end| while end.try_recv().is_ok() {});
        source.send(&data);
        std::thread::sleep(Duration::from_millis(100));
        [&rose, &deaf, &line].into_iter().all(is_empty)
    });
    let report = about_a_group(true);
    rose.send(&report);
    blue.send(&report);
    line.send(&tagged(&report, 10));
    std::thread::sleep(Duration::from_millis(100));
    source.send(&data);
    assert_eq!(heard(&rose), data);
    assert_eq!(heard(&line), tagged(&data, 10));
    line.send(&data);
    assert_eq!(heard(&blue), data, "in the line's native VLAN");
    line.send(&tagged(&data, 0xa00a));
    assert_eq!(heard(&rose), data);
    assert!(ends.iter().all(|end| is_empty(end)));
}

fn a_superframe_gets_its_tag_and_loses_it(engine: EngineChoice) {
    let site = Site::new(engine);
    let (red_port, red) = site.attach(access(10), Capabilities::ALL);
    let (line_port, line) = site.attach(trunk(None, "10"), Capabilities::ALL);
    // Each is heard of where it will be sent to.
    line.send(&tagged(&frame(255, 2, b"here"), 10));
    heard(&red);

    let (header, bytes) = superframe(5000, 1000);
    red.send_with(&header, &bytes);
    let received = line.recv_timeout(WAIT).unwrap();
    let with_tag = tagged(&bytes, 10);
    assert_eq!(received.frame(), with_tag);
    let frame = Frame::parse(received.frame()).unwrap();
    let vnet = VnetHeader::validate(received.vnet(), &frame).unwrap();
    assert_eq!(
        vnet.gso(),
        Gso::TcpV4 {
            size: 1000,
            ecn: false
        }
    );
    assert_eq!(
        (vnet.header_len(), vnet.open_checksum().unwrap().start),
        (58, 38)
    );
    let sent = u64::try_from(with_tag.len()).unwrap();
    eventually("the tag is counted", || {
        site.switch.counters(line_port).unwrap().tx_bytes == sent
    });

    // Back, with the stations changed.
    let mut back = bytes.clone();
    back[..12].rotate_left(6);
    let raw = vnet.to_bytes();
    line.send_with(&raw, &tagged(&back, 0x600a));
    let received = red.recv_timeout(WAIT).unwrap();
    assert_eq!(
        (received.frame(), received.vnet()),
        (&back[..], &header[..])
    );

    // To a port that takes none, in segments, each with the tag.
    site.switch.remove_port(line_port);
    let (_, narrow) = site.attach(trunk(None, "10"), Capabilities::NONE);
    red.send_with(&header, &bytes);
    for number in 0..5_u8 {
        let segment = heard(&narrow);
        assert_eq!(segment[12..18], [0x81, 0, 0, 10, 8, 0]);
        assert_eq!(segment.len(), 58 + 1000, "{number}");
    }
    assert_eq!(
        site.switch
            .counters(red_port)
            .unwrap()
            .drop_reasons()
            .count(),
        0
    );
}

fn a_mirror_shows_a_frame_as_it_came_and_as_it_leaves(engine: EngineChoice) {
    let site = Site::new(engine);
    let (red_port, red) = site.attach(access(10), Capabilities::ALL);
    let (line_port, line) = site.attach(trunk(None, "10"), Capabilities::ALL);
    let (watch_port, watch) = site.attach(access(4000), Capabilities::ALL);
    line.send(&tagged(&frame(255, 2, b"here"), 10));
    heard(&red);
    for port in [red_port, line_port] {
        let dressed = site.switch.dress(port, Layer::Mirror(watch_port));
        dressed.unwrap();
    }
    let words = frame(2, 1, b"for the line");
    red.send(&words);
    assert_eq!(heard(&line), tagged(&words, 10));
    assert_eq!(heard(&watch), words);
    assert_eq!(heard(&watch), tagged(&words, 10));
}

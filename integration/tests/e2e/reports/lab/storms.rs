//! The budget for broadcast, multicast and unknown unicast.

use std::net::{Ipv4Addr, UdpSocket};

use switch_core::Mac;

use super::{STEP, with_network};
use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{PLAIN, ethernet};

#[test]
fn the_budget_for_broadcasts_is_the_networks_choice() {
    for (options, is_limited) in [(&["-o", "bum=100"][..], true), (&["-o", "bum=off"], false)] {
        let host = with_network(options);
        let [sender, _other] = ["sender", "other"].map(|name| host.endpoint("lab", name));
        let dropped = storm(&sender, Mac::BROADCAST, 1000);
        assert_eq!(dropped > 0, is_limited, "{options:?}: {dropped}");
    }
    let host = Host::start();
    let refused = host.tapestry(&["network", "create", "-o", "bum=lots", "lab"]);
    let said = refused.refused(1);
    assert!(said.contains("frames a second, or off"), "{said}");
}

#[test]
fn multicast_that_somebody_listens_to_is_no_storm() {
    let host = with_network(&["-o", "bum=100"]);
    let [sender, listener] = ["sender", "listener"].map(|name| host.endpoint("lab", name));
    let v4 = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    let v6 = Mac::new([0x33, 0x33, 0, 1, 2, 3]);
    for group in [v4, v6] {
        assert!(storm(&sender, group, 1000) > 0, "nobody listens to {group}");
    }
    let index = format!("ip -o link show dev {} | cut -d: -f1", listener.detail.link);
    let index = listener.netns.sh(&index);
    let index: u32 = index.trim().parse().unwrap();
    let sockets = listener.netns.enter(|| {
        let v4 = UdpSocket::bind("0.0.0.0:0").unwrap();
        v4.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &listener.ipv4())
            .unwrap();
        let v6 = UdpSocket::bind("[::]:0").unwrap();
        v6.join_multicast_v6(&"ff05::1:203".parse().unwrap(), index)
            .unwrap();
        (v4, v6)
    });
    for group in [v4, v6] {
        eventually(STEP, "its frames are not counted as a storm", || {
            (storm(&sender, group, 1000) == 0).then_some(())
        });
    }
    assert!(storm(&sender, Mac::BROADCAST, 1000) > 0, "broadcasts are");
    drop(sockets);
    for group in [v4, v6] {
        eventually(STEP, "nobody listens any more", || {
            (storm(&sender, group, 1000) > 0).then_some(())
        });
    }
}

/// Sends `count` frames to `group`; how many of them were dropped as a storm.
fn storm(sender: &Endpoint<'_>, group: Mac, count: u64) -> u64 {
    let (before, wire) = (sender.drops("bum_rate"), sender.wire());
    let frame = ethernet(group, sender.mac(), 0x88b5, &[0; 46]);
    for _ in 0..count {
        // A full queue is the sender's loss.
        let _ = wire.send(&PLAIN, &frame);
    }
    // What is sent after them is counted after them.
    let marks = sender.drops("link_local_control");
    let mark = ethernet(
        Mac::new([1, 0x80, 0xc2, 0, 0, 2]),
        sender.mac(),
        0x88b5,
        &[0; 46],
    );
    eventually(STEP, "they are through", || {
        let _ = wire.send(&PLAIN, &mark);
        (sender.drops("link_local_control") > marks).then_some(())
    });
    sender.drops("bum_rate") - before
}

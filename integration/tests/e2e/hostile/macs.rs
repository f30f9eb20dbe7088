//! A container that invents MACs.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use switch_core::Mac;

use crate::harness::Host;
use crate::packets::{PLAIN, contains, ethernet, receive_within};

#[test]
fn invented_macs_cost_the_others_no_packet_and_show_them_to_nobody() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, other, third, liar] =
        ["one", "other", "third", "liar"].map(|name| host.endpoint("lab", name));
    let sender = one.netns.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let receiver = other.netns.enter(|| UdpSocket::bind("0.0.0.0:9").unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let ear = third.wire();
    let over = AtomicBool::new(false);
    let mut bytes = [0; 64];
    let arrived = std::thread::scope(|scope| {
        scope.spawn(|| {
            let wire = liar.wire();
            for number in 0_u32..100_000 {
                let [a, b, c, d] = number.to_be_bytes();
                let frame = ethernet(
                    liar.mac(),
                    Mac::new([2, 0xbb, a, b, c, d]),
                    0x88b5,
                    &[0; 46],
                );
                // A full queue is the sender's loss.
                let _ = wire.send(&PLAIN, &frame);
                if number > 20_000 && over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let arrived = (0..1000).filter(|_| {
            sender.send_to(b"to the other", (other.ipv4(), 9)).unwrap();
            receiver.recv(&mut bytes).is_ok()
        });
        let arrived = arrived.count();
        over.store(true, Ordering::Relaxed);
        arrived
    });
    assert_eq!(arrived, 1000);
    let seen = receive_within(&ear, Duration::from_millis(200), |frame| {
        contains(frame, b"to the other")
    });
    assert!(seen.is_none(), "a third container saw what was not for it");
    let stations = host.network("lab").stations.unwrap();
    assert!(stations.port_full > 0, "{stations:?}");
    assert!(stations.learned <= 4200, "{stations:?}");
}

//! VXLAN while another agent takes an agent's place: both have the same socket.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{STEP, Underlay, cluster, create_shared};
use crate::guardian::newcomer_dies;
use crate::harness::{Endpoint, eventually};

fn pair() -> Underlay {
    let lab = cluster(2);
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(&lab, "far", &options);
    lab
}

/// Ends with a reader that has them all, in the order of their arrival.
fn numbers_between(from: &Endpoint<'_>, to: &Endpoint<'_>, meanwhile: impl FnOnce()) -> Vec<u64> {
    let at = (to.ipv4(), 7000);
    let receiver = to.netns.enter(|| UdpSocket::bind(at)).unwrap();
    receiver.set_read_timeout(Some(QUIET)).unwrap();
    let sender = from
        .netns
        .enter(|| UdpSocket::bind((from.ipv4(), 7000)))
        .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let received = scope.spawn(|| {
            let (mut numbers, mut bytes) = (Vec::new(), [0; 8]);
            loop {
                match receiver.recv(&mut bytes) {
                    Ok(_) => numbers.push(u64::from_be_bytes(bytes)),
                    Err(_) if is_over.load(Ordering::Relaxed) => return numbers,
                    Err(_) => {}
                }
            }
        });
        scope.spawn(|| {
            let mut numbers = 0_u64..;
            while !is_over.load(Ordering::Relaxed) {
                for number in numbers.by_ref().take(BURST) {
                    // What a queue has no room for is lost; the order of the others counts.
                    let _ = sender.send_to(&number.to_be_bytes(), at);
                }
                std::thread::sleep(PAUSE);
            }
        });
        meanwhile();
        is_over.store(true, Ordering::Relaxed);
        received.join().unwrap()
    })
}

/// An endpoint on each host, once they reach each other.
fn ends(lab: &Underlay) -> [Endpoint<'_>; 2] {
    let [a, b] = [("a", 0), ("b", 1)].map(|(name, host)| lab.hosts[host].endpoint("far", name));
    eventually(STEP * 2, "a reaches b", || {
        a.netns.pings(b.ipv4()).then_some(())
    });
    [a, b]
}

#[test]
fn datagrams_keep_their_order_while_an_agent_is_replaced() {
    let lab = pair();
    let [a, b] = ends(&lab);
    let numbers = numbers_between(&a, &b, || {
        for _ in 0..REPLACED {
            lab.hosts[1].tapestry(&["agent", "--replace"]).ok();
        }
    });
    assert!(numbers.len() > 1000, "{}", numbers.len());
    let overtaken = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(overtaken, 0, "of {}", numbers.len());
}

/// It has stopped receiving by then, and receives again.
#[test]
fn a_newcomer_that_dies_leaves_the_socket_to_the_agent_before() {
    let lab = pair();
    let [a, b] = ends(&lab);
    eventually(STEP * 12, "one dies after it had the links", || {
        let had_the_links = newcomer_dies(&lab.hosts[1], None, || {
            assert!(a.netns.pings(b.ipv4()) && b.netns.pings(a.ipv4()));
        });
        had_the_links.then_some(())
    });
}

const REPLACED: usize = 6;
const BURST: usize = 10;
const PAUSE: Duration = Duration::from_micros(200);
const QUIET: Duration = Duration::from_millis(500);

//! Forgetting connections, against the kernel's own table.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use agent_host::conntrack::forget_addresses;

use super::{ip, netns, run, within};

const GONE: [&str; 2] = ["127.0.0.2", "fd00:9::2"];

/// The namespace tracks connections, and has some addresses on `lo`.
fn track() {
    run("nft add table inet theirs");
    run("nft add chain inet theirs input { type filter hook input priority 0 ; }");
    run("nft add rule inet theirs input ct state established accept");
    for address in ["fd00:9::2", "fd00:9::3", "fd00:9::4"] {
        run(&format!("ip address add {address}/128 dev lo nodad"));
    }
}

fn tracked() -> usize {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    count.trim().parse().unwrap()
}

/// A datagram between two addresses, which the kernel remembers.
fn speak(from: &str, to: &str) {
    let receiver = UdpSocket::bind((ip(to), 0)).unwrap();
    let sender = UdpSocket::bind((ip(from), 0)).unwrap();
    sender
        .send_to(b"x", receiver.local_addr().unwrap())
        .unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let heard = receiver.recv(&mut [0; 1]);
    assert!(heard.is_ok(), "{from} to {to}: {heard:?}");
}

/// Addresses that nobody had.
fn strangers(number: u8) -> impl Iterator<Item = IpAddr> {
    (1..=number).map(|last| Ipv4Addr::new(10, 9, 8, last).into())
}

#[test]
fn addresses_take_along_what_they_began_and_answered_and_nothing_else() {
    for others in [0, 100] {
        within(&netns(), || {
            track();
            for (gone, a, b) in [
                ("127.0.0.2", "127.0.0.3", "127.0.0.4"),
                ("fd00:9::2", "fd00:9::3", "fd00:9::4"),
            ] {
                speak(gone, a);
                speak(a, gone);
                speak(a, b);
                speak(b, a);
            }
            assert_eq!(tracked(), 8);
            let gone = GONE.map(ip).into_iter();
            let addresses: Vec<IpAddr> = gone.chain(strangers(others)).collect();
            forget_addresses(&addresses[..1]).unwrap();
            assert_eq!(tracked(), 6, "with {others} others");
            forget_addresses(&addresses).unwrap();
            assert_eq!(tracked(), 4, "with {others} others");
            forget_addresses(&[]).unwrap();
            assert_eq!(tracked(), 4);
        });
    }
}

/// Prints what forgetting costs. A list of all connections is what more addresses than four take.
#[test]
#[ignore = "prints figures, and proves nothing"]
fn what_forgetting_costs() {
    within(&netns(), || {
        track();
        for entries in [1_u16, 1_000, 20_000] {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            for port in 1..=entries {
                // Nobody listens, and the answer that says so belongs to the connection.
                let _ = sender.send_to(b"x", (Ipv4Addr::LOCALHOST, port));
            }
            for number in [1, 4, 5, 100] {
                let addresses: Vec<IpAddr> = strangers(number).collect();
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    forget_addresses(&addresses).unwrap();
                }
                let each: Duration = start.elapsed() / ROUNDS;
                println!("{} tracked, {number} addresses: {each:?}", tracked());
            }
        }
    });
}

const ROUNDS: u32 = 20;

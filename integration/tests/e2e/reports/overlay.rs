//! Between hosts.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::cluster::pair;
use crate::harness::enter;

#[test]
fn a_lost_datagram_between_hosts_puts_no_other_of_its_flow_out_of_order() {
    let lab = pair();
    let [from, to] = [&lab.hosts[0], &lab.hosts[1]];
    from.netns
        .sh("ethtool -K under0 tso off gso off gro off tx off");
    to.netns.sh("nft add table inet loss
         nft 'add chain inet loss in { type filter hook prerouting priority -300; }'
         nft add rule inet loss in udp dport 4790 numgen random mod 100 '<' 1 drop");
    let to_address = SocketAddr::new(to.ipv4("b"), UDP_PORT);
    let receiver = enter(&to.sandbox("b"), || UdpSocket::bind(to_address).unwrap());
    let pause = Duration::from_millis(500);
    receiver.set_read_timeout(Some(pause)).unwrap();
    let from_address = SocketAddr::new(from.ipv4("a"), UDP_PORT);
    let sender = enter(&from.sandbox("a"), || {
        UdpSocket::bind(from_address).unwrap()
    });
    let reader = std::thread::spawn(move || {
        let mut numbers = Vec::new();
        let mut bytes = [0; 2048];
        while receiver.recv(&mut bytes).is_ok() {
            numbers.push(u32::from_be_bytes(*bytes.first_chunk().unwrap()));
        }
        numbers
    });
    for number in 0..COUNT {
        // Some fit into one datagram of the tunnel, some do not.
        let mut datagram = vec![7; 1300 + number as usize * 37 % 173];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        sender.send_to(&datagram, to_address).unwrap();
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    let numbers = reader.join().unwrap();
    let late = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert_eq!(late, 0, "of {}", numbers.len());
    assert!(numbers.len() < COUNT as usize, "nothing was lost");
    assert!(numbers.len() > COUNT as usize * 9 / 10, "{}", numbers.len());
}

const UDP_PORT: u16 = 4000;
const COUNT: u32 = 10_000;

//! Containers on the host's own LAN.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use agent_api::NetworkDetail;
use rustix::process::Signal;
use switch_io::packet::PacketSocket;

use super::{create, mac, nic, reaches_everybody, sources};
use crate::harness::{Host, OUTSIDE_IP, eventually};
use crate::packets::receive_within;

#[test]
fn containers_with_macs_of_their_own_reach_the_lan_and_the_host_and_leave_the_nic_as_it_was() {
    let host = Host::start();
    let before = nic(&host);
    create(&host, "macvlan", &["-o", "parent=up0"], "lan");
    host.idle("a", "lan", &[]);
    host.idle("b", "lan", &[]);
    reaches_everybody(&host, "a");
    let b = host.ipv4("b").to_string();
    host.exec("a", &format!("ping -n -c1 -W2 {b}")).ok();
    let known = host.outside.sh("ip neigh show dev up0");
    let own = host.exec("a", "cat /sys/class/net/eth0/address").ok();
    assert!(known.contains(own.trim()), "{known}");
    let shown: NetworkDetail = host.network("lan");
    let uplink = shown.uplink.unwrap();
    assert!(uplink.up && !uplink.translates);
    assert_eq!(
        (uplink.link.as_deref(), uplink.mtu),
        (Some("up0"), Some(1500))
    );
    // Of what is the LAN's the agent has nothing.
    assert!(shown.dhcp.is_none_or(|dhcp| dhcp.replies == 0));
    let routes = host.exec("a", "ip route").ok();
    assert!(
        routes.contains(&format!("default via {OUTSIDE_IP}")),
        "{routes}"
    );
    host.tapestry(&["rm", "-f", "a", "b"]).ok();
    host.tapestry(&["network", "rm", "lan"]).ok();
    assert_eq!(nic(&host), before);
}

#[test]
fn with_translation_one_mac_is_on_the_wire_and_superframes_cross() {
    let host = Host::start();
    create(&host, "ipvlan", &["-o", "parent=up0"], "lan");
    let wire = host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    host.idle("a", "lan", &[]);
    host.idle("b", "lan", &[]);
    reaches_everybody(&host, "a");
    reaches_everybody(&host, "b");
    let nic = mac(&host.netns, "up0");
    assert_eq!(sources(&wire), [nic.octets()].into());
    // The LAN knows no other either.
    let known = host.outside.sh("ip neigh show dev up0");
    let known = known.lines().filter(|line| line.contains("lladdr"));
    assert!(known.clone().count() >= 5);
    assert!(known.clone().all(|line| line.contains(&nic.to_string())));
    let traced = host
        .tapestry(&[
            "trace",
            "lan",
            "--from",
            "a",
            "--to",
            &OUTSIDE_IP.to_string(),
        ])
        .ok();
    // Lines are wrapped.
    let traced = traced.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(traced.contains(&format!("the LAN sees {nic}")), "{traced}");
    let server = "socat -u TCP-LISTEN:7000,reuseaddr STDOUT | wc -c";
    let (sent, seen) = std::thread::scope(|scope| {
        let received = scope.spawn(|| host.outside.sh(server));
        let seen = scope.spawn(|| {
            receive_within(&wire, Duration::from_secs(5), |frame| frame.len() > 20_000).is_some()
        });
        let script = format!(
            "head -c 4000000 /dev/zero | socat -u STDIN TCP:{OUTSIDE_IP}:7000,retry=20,interval=0.1"
        );
        host.exec("a", &script).ok();
        (received.join().unwrap(), seen.join().unwrap())
    });
    assert_eq!(sent.trim(), "4000000");
    assert!(seen, "a superframe crosses as it is");
}

#[test]
fn a_nic_that_comes_and_goes_and_an_agent_that_dies_lose_nothing() {
    let host = Host::start();
    create(&host, "macvlan", &["-o", "parent=up0"], "own");
    host.idle("own", "own", &[]);
    let own = host.ipv4("own");
    let is_well = |what: &str| {
        eventually(Duration::from_secs(5), what, || {
            (host.outside.pings(own) && host.netns.pings(own)).then_some(())
        });
    };
    is_well("at first");
    host.kill_agent_proper();
    is_well("after the agent's death");
    host.stop_agent(Signal::KILL);
    host.launch();
    is_well("after another start");
    host.netns.sh("ip link set up0 down");
    eventually(Duration::from_secs(5), "it is told", || {
        let uplink = host.network("own").uplink?;
        uplink.why.filter(|why| why.contains("up0 is down"))
    });
    host.netns
        .sh("ip link set up0 up; ip route replace default via 198.51.100.2");
    is_well("after the NIC was down");
    host.netns.sh("ip link set up0 mtu 1400");
    eventually(Duration::from_secs(5), "the MTU is followed", || {
        (host.network("own").uplink?.mtu == Some(1400)).then_some(())
    });
    is_well("with another MTU");
    let address = mac(&host.netns, "up0");
    host.netns.sh("ip link set up0 address 02:00:00:00:00:77");
    is_well("with another MAC");
    host.netns.sh(&format!("ip link set up0 address {address}"));
    let router = mac(&host.outside, "up0");
    // Pulled out, and another one put in under its name.
    host.netns.sh("ip link del up0");
    eventually(Duration::from_secs(5), "it is told", || {
        let uplink = host.network("own").uplink?;
        uplink.why.filter(|why| why.contains("no link up0"))
    });
    let outside = host.outside.name();
    host.netns.sh(&format!(
        "ip link add up0 type veth peer name up0 netns {outside}; ip addr add 198.51.100.1/24 dev up0; ip link set up0 up"
    ));
    host.outside.sh(&format!(
        "ip link set up0 address {router}; ip addr add 198.51.100.2/24 dev up0; ip link set up0 up"
    ));
    is_well("after it was put back");
}

#[test]
fn addresses_are_leased_from_the_lans_server_kept_and_given_back() {
    let host = Host::start();
    let leases = host.dir().join("leases");
    let server = Server::start(&host, &leases);
    let held = |mac: &str| {
        let leases = std::fs::read_to_string(&leases).unwrap_or_default();
        leases
            .lines()
            .find(|line| line.contains(mac))
            .map(str::to_owned)
    };
    for driver in ["macvlan", "ipvlan"] {
        create(&host, driver, &["-o", "parent=up0"], "lan");
        host.idle("web", "lan", &["--ip", "dhcp"]);
        let (own, address) = {
            let link = host.exec("web", "cat /sys/class/net/eth0/address").ok();
            (link.trim().to_owned(), host.ipv4("web"))
        };
        assert!(address.to_string().starts_with("198.51.100.2"), "{address}");
        let lease = held(&own).unwrap();
        assert!(
            lease.contains(&address.to_string()) && lease.contains("web"),
            "{lease}"
        );
        assert!(host.outside.pings(address) && host.netns.pings(address));
        // An agent that comes again asks for it again: the lease ends later than before, by the seconds that it is told in.
        let until = |lease: &str| lease.split(' ').next().unwrap().parse::<u64>().unwrap();
        let leased = second();
        eventually(Duration::from_secs(3), "a second has passed", || {
            (second() > leased + 1).then_some(())
        });
        std::fs::write(&leases, "").unwrap();
        host.kill_agent_proper();
        eventually(Duration::from_secs(8), "it is confirmed", || {
            held(&own).filter(|now| until(now) > until(&lease))
        });
        host.tapestry(&["rm", "-f", "web"]).ok();
        eventually(Duration::from_secs(5), "it is given back", || {
            held(&own).is_none().then_some(())
        });
        // A container of that name has it again.
        host.idle("web", "lan", &["--ip", "dhcp"]);
        assert_eq!(host.ipv4("web"), address);
        host.tapestry(&["rm", "-f", "web"]).ok();
        host.tapestry(&["network", "rm", "lan"]).ok();
    }
    drop(server);
    host.tapestry(&["network", "create", "plain"]).ok();
    let told = host
        .tapestry(&["run", "--network", "plain", "--ip", "dhcp", "--", "true"])
        .refused(125);
    assert!(told.contains("has no LAN with a DHCP server"), "{told}");
}

fn second() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The DHCP server of the LAN.
struct Server(Child);

impl Server {
    fn start(host: &Host, leases: &Path) -> Self {
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--interface=up0",
                "--bind-interfaces",
                "--dhcp-range=198.51.100.200,198.51.100.220,255.255.255.0,1h",
                "--dhcp-authoritative",
                "--no-ping",
            ])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(host.outside.enter(|| command.spawn()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Hosts and containers as network namespaces, for the tests of the tunnels and for measuring them. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::new_without_default,
    reason = "in a test, a panic is the report"
)]

pub mod quic_pair;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use overlay_core::{Epoch, HostId, Timing};
use overlay_io::{Credentials, QuicConfig};
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use switch_core::{Bridge, BridgeConfig, PortConfig, PortId, PortKind, Vni};
use switch_io::packet::PacketSocket;
use switch_io::{
    Capabilities, ChannelEnd, EngineChoice, FramePort, OffloadTap, Switch, SwitchConfig,
};

pub use switch_lab::{Process, Station, eventually};

/// Gbit/s of one TCP stream for `seconds` from there to `server`, which runs `iperf3 -s`.
pub fn iperf(from: &Station, server: &str, seconds: u32, options: &str) -> f64 {
    let report = from.sh(&format!("iperf3 -J -c {server} -t {seconds} {options}"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let retransmits = report["end"]["sum_sent"]["retransmits"].as_u64();
    if let Some(count @ 1..) = retransmits {
        eprintln!("{count} retransmits");
    }
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap()
        / 1e9
}

/// Two hosts with a veth pair as underlay: `eth0` in each, 192.0.2.1 and 192.0.2.2, 2001:db8::1 and ::2.
pub struct Underlay {
    pub hosts: [Station; 2],
}

impl Underlay {
    pub fn new() -> Self {
        let hosts = [Station::new(), Station::new()];
        hosts[0].ip("link add name eth0 type veth peer name peer");
        hosts[0].give("peer", &hosts[1], "eth0");
        hosts[0].ip("link set eth0 up");
        hosts[0].address(&["192.0.2.1/24", "2001:db8::1/64"]);
        hosts[1].address(&["192.0.2.2/24", "2001:db8::2/64"]);
        Self { hosts }
    }

    /// Every packet walks alone, as on a wire.
    pub fn segment(&self) {
        for host in &self.hosts {
            host.sh("ethtool -K eth0 tso off gso off gro off tx off");
        }
    }

    pub fn mtu(&self, mtu: u32) {
        for host in &self.hosts {
            host.ip(&format!("link set eth0 mtu {mtu}"));
        }
    }
}

/// A host whose switch has one network.
pub struct Network {
    pub switch: Switch,
    pub bridge: Arc<Bridge>,
    pub mtu: u32,
    trunk: Option<PortId>,
}

impl Network {
    pub fn new(engine: EngineChoice, mtu: u32) -> Self {
        let switch = Switch::start(SwitchConfig {
            engine,
            // Two workers meet in the tunnel's ports.
            workers: if engine == EngineChoice::Epoll { 2 } else { 1 },
            ..SwitchConfig::default()
        })
        .unwrap();
        Self {
            switch,
            bridge: Arc::new(Bridge::new(BridgeConfig::default())),
            mtu,
            trunk: None,
        }
    }

    pub fn trunk(&mut self, trunk: impl FramePort + 'static) -> PortId {
        let id = self.switch.add_trunk(Box::new(trunk)).unwrap();
        self.trunk = Some(id);
        id
    }

    pub fn tunnel(&self, port: impl FramePort + 'static) -> PortId {
        let config = PortConfig::new(PortKind::Tunnel, self.mtu);
        self.switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap()
    }

    /// A container inside this process.
    pub fn station(&self) -> (PortId, ChannelEnd) {
        let (port, end) = switch_io::channel(1024, Capabilities::ALL).unwrap();
        let config = PortConfig {
            bum_limit: None,
            ..PortConfig::new(PortKind::Tap, self.mtu)
        };
        let id = self
            .switch
            .add_port(&self.bridge, Box::new(port), config)
            .unwrap();
        (id, end)
    }

    /// A container: a TAP made in `host`, with `addresses` inside.
    pub fn container(&self, host: &Station, addresses: &[&str]) -> (PortId, Station) {
        let name = "tap-lab";
        let tap = host.run(move || OffloadTap::create(name).unwrap());
        let config = PortConfig {
            bum_limit: None,
            ..PortConfig::new(PortKind::Tap, self.mtu)
        };
        let port = self
            .switch
            .add_port(&self.bridge, Box::new(tap), config)
            .unwrap();
        let station = Station::new();
        host.give(name, &station, "eth0");
        station.ip(&format!("link set eth0 mtu {}", self.mtu));
        station.address(addresses);
        (port, station)
    }
}

/// The kernel's own VXLAN device and bridge in `host`, and a container behind them.
pub fn kernel_container(
    host: &Station,
    vxlan: &str,
    mtu: u32,
    addresses: &[&str],
) -> Station {
    host.ip(&format!("link add vx type vxlan dstport 4789 {vxlan}"));
    host.ip("link add name br0 type bridge");
    host.ip("link add name veth0 type veth peer name inner");
    for link in ["vx", "veth0"] {
        host.ip(&format!("link set {link} master br0 mtu {mtu}"));
    }
    for link in ["vx", "veth0", "br0"] {
        host.ip(&format!("link set {link} up"));
    }
    let station = Station::new();
    host.give("inner", &station, "eth0");
    station.ip(&format!("link set eth0 mtu {mtu}"));
    station.address(addresses);
    station
}

pub fn vni(value: u32) -> Vni {
    Vni::new(value).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends `len` bytes by TCP and checks every one.
pub fn transfer(from: &Station, to: &Station, address: &str, len: usize) {
    let address = (ip(address), 9);
    let listener = to.run(move || TcpListener::bind(address).unwrap());
    let receiver = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let data: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut stream = from.run(move || TcpStream::connect(address).unwrap());
    stream
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(&data).unwrap();
    drop(stream);
    assert!(
        receiver.join().unwrap() == data,
        "the data changed on the way"
    );
}

/// Sends bursts of datagrams and checks that each arrives, in order, as the packet it was sent as.
pub fn datagrams_stay_as_they_were_sent(from: &Station, to: &Station, address: &str) {
    to.sh(
        "nft 'add table ip watch; add chain ip watch i { type filter hook input priority 0; };
           add rule ip watch i udp dport 19 udp length != 108 counter'",
    );
    let address = SocketAddr::new(ip(address), 19);
    let receiver = to.run(move || UdpSocket::bind(address).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sender = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    sender.connect(address).unwrap();
    for round in 0..50 {
        for n in 0..40 {
            sender.send(&[round ^ n; 100]).unwrap();
        }
        for n in 0..40 {
            let mut datagram = [0; 200];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), 100);
            assert_eq!(datagram[0], round ^ n, "round {round}");
        }
    }
    let rules = to.sh("nft list table ip watch");
    assert!(rules.contains("counter packets 0 "), "{rules}");
}

/// A certificate authority.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    /// Credentials of host `name`, which `change` may spoil.
    pub fn host(
        &self,
        name: &str,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Credentials {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(serial(name));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            roots: vec![self.certificate.der().clone()],
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            revoked: Vec::new(),
            key_log: std::env::var_os("SSLKEYLOGFILE").is_some(),
        }
    }
}

impl Authority {
    /// A list that revokes the certificates of host `name`.
    pub fn revoke(&self, name: &str) -> CertificateRevocationListDer<'static> {
        let (then, later) = (
            rcgen::date_time_ymd(2020, 1, 1),
            rcgen::date_time_ymd(2200, 1, 1),
        );
        let list = rcgen::CertificateRevocationListParams {
            this_update: then,
            next_update: later,
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: serial(name),
                revocation_time: then,
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().clone()
    }
}

fn serial(name: &str) -> rcgen::SerialNumber {
    name.as_bytes().to_vec().into()
}

pub fn quic_config(name: &str, local: SocketAddr, credentials: Credentials) -> QuicConfig {
    QuicConfig {
        local,
        host: host(name),
        epoch: Epoch(1),
        credentials,
        reset_key: [name.as_bytes()[0]; 32],
        udp_payload_max: 1472,
        timing: Timing::default(),
        seed: u64::from(name.as_bytes()[0]),
    }
}

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

/// Unicast, broadcast, IPv6, superframes and tagged frames, both ways.
pub fn everything_crosses(a: &Station, b: &Station) {
    assert!(a.pings("10.9.0.2"));
    assert!(b.pings("fd09::1"));
    transfer(a, b, "10.9.0.2", TRANSFER);
    transfer(b, a, "10.9.0.1", TRANSFER);
    transfer(a, b, "fd09::2", TRANSFER);
    transfer(b, a, "fd09::1", TRANSFER);
    tagged_frames_cross(a, b);
    tagged_frames_cross(b, a);
}

/// Broadcast and with two VLAN tags.
fn tagged_frames_cross(from: &Station, to: &Station) {
    let mut frame = vec![0xff; 6];
    frame.extend([
        2, 0, 0, 0, 0, 0x77, 0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 9, 0x88, 0xb5,
    ]);
    frame.extend([5; 60]);
    let receiver = to.run(|| PacketSocket::open("eth0").unwrap());
    let sent = frame.clone();
    from.run(move || {
        PacketSocket::open("eth0")
            .unwrap()
            .send(&[0; 10], &sent)
            .unwrap()
    });
    while let Some(received) = receiver.receive(Duration::from_secs(5)).unwrap() {
        if received.frame == frame {
            return;
        }
    }
    panic!("the tagged frame did not arrive");
}

pub const TRANSFER: usize = 8 << 20;

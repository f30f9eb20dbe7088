//! A host: what the agent and overlay-io wire together, without their sockets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use overlay_core::{
    DatagramHeader, Datagrams, Directory, DirectoryConfig, DirectoryEvent, Epoch, FrameIds, Hello,
    HostId, NetworkId, Peer, PeerConfig, PeerEvent, ReassembleConfig, Reassembler, Record,
    RecordFlags, Role, Sequence, Timing, Withdrawal,
};
use switch_core::{
    Bridge, BridgeConfig, Frame, Mac, PortConfig, PortId, PortKind, Time, Verdict, VnetHeader, Vni,
};

/// A frame that came out of a TAP: network, station behind the TAP, bytes.
pub(crate) type Delivery = (Vni, Mac, Vec<u8>);

pub(crate) struct Host {
    pub(crate) name: HostId,
    pub(crate) directory: Directory,
    pub(crate) links: BTreeMap<usize, Link>,
    networks: BTreeMap<Vni, Network>,
    names: Vec<HostId>,
    ports: u32,
    pub(crate) deliveries: Vec<Delivery>,
    /// Frames that were flooded, and ARP replies given.
    pub(crate) floods: u64,
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) outbox: Vec<(usize, u64, Vec<u8>)>,
    /// This host's clock against the world's: started earlier, and runs faster or slower.
    offset: u64,
    drift_ppm: u64,
}

/// The connection to one other host.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    /// Number of the connection, if there is one.
    pub(crate) connection: Option<u64>,
    ids: FrameIds,
    reassembler: Reassembler,
}

struct Network {
    bridge: Bridge,
    taps: BTreeMap<PortId, Mac>,
    tunnels: HashMap<HostId, PortId>,
}

impl Host {
    pub(crate) fn new(names: &[HostId], index: usize, epoch: Epoch, now: u64, skew: u64) -> Self {
        let name = names[index].clone();
        let mut host = Self {
            directory: Directory::new(DirectoryConfig::new(name.clone(), epoch)),
            name,
            links: BTreeMap::new(),
            networks: BTreeMap::new(),
            names: names.to_vec(),
            ports: 0,
            deliveries: Vec::new(),
            floods: 0,
            reply: None,
            outbox: Vec::new(),
            offset: skew % 100_000_000,
            drift_ppm: skew % 2000,
        };
        for (other, remote) in names.iter().enumerate() {
            if other != index {
                let peer = PeerConfig {
                    hello: Hello::new(host.name.clone(), epoch),
                    remote: remote.clone(),
                    role: Role::between(&host.name, remote),
                    is_needed: true,
                    timing: Timing::default(),
                    seed: skew ^ u64::try_from(other).unwrap(),
                };
                let link = Link {
                    peer: Peer::new(peer, host.clock(now)),
                    connection: None,
                    ids: FrameIds::new(),
                    reassembler: Reassembler::new(ReassembleConfig::default()),
                };
                host.links.insert(other, link);
            }
        }
        host
    }

    /// This host's time.
    pub(crate) fn clock(&self, now: u64) -> Time {
        Time::from_millis(now + self.offset + now * self.drift_ppm / 1_000_000)
    }

    pub(crate) fn attach(
        &mut self,
        now: u64,
        (vni, mac): (Vni, Mac),
        address: IpAddr,
        floor: u32,
    ) -> Record {
        self.directory.attach_network(id_of(vni));
        self.ports += 1;
        let port = PortId(self.ports);
        let network = self.networks.entry(vni).or_insert_with(Network::new);
        network
            .bridge
            .add_port(port, PortConfig::new(PortKind::Tap, 1500));
        network.bridge.register_endpoint(port, mac, &[address]);
        network.taps.insert(port, mac);
        let flags = RecordFlags {
            sticky: true,
            gateway: false,
        };
        let record = self
            .directory
            .announce(
                self.clock(now),
                (id_of(vni), mac),
                &[address],
                flags,
                Sequence(floor),
            )
            .unwrap();
        self.follow_directory();
        record
    }

    pub(crate) fn detach(&mut self, now: u64, vni: Vni, mac: Mac) -> Option<Withdrawal> {
        let withdrawal = self.directory.withdraw(self.clock(now), id_of(vni), mac);
        let network = self.networks.get_mut(&vni).unwrap();
        let port = *network.taps.iter().find(|(_, at)| **at == mac).unwrap().0;
        network.taps.remove(&port);
        network.bridge.remove_port(port);
        if network.taps.is_empty() {
            self.networks.remove(&vni);
            self.directory.detach_network(id_of(vni));
        }
        self.follow_directory();
        withdrawal
    }

    /// Tells the bridges what the directory says.
    pub(crate) fn follow_directory(&mut self) {
        while let Some(event) = self.directory.poll_event() {
            match event {
                DirectoryEvent::FloodJoin { network, host } => {
                    self.ports += 1;
                    let port = PortId(self.ports);
                    let network = self.network(network);
                    network
                        .bridge
                        .add_port(port, PortConfig::new(PortKind::Tunnel, 1500));
                    network.tunnels.insert(host, port);
                }
                DirectoryEvent::FloodLeave { network, host } => {
                    let network = self.network(network);
                    let port = network.tunnels.remove(&host).unwrap();
                    network.bridge.remove_port(port);
                }
                DirectoryEvent::Endpoint {
                    network,
                    mac,
                    endpoint,
                } => {
                    let is_here = endpoint.host == self.name;
                    let network = self.network(network);
                    let port = match is_here {
                        true => network.tap(mac),
                        false => network.tunnels.get(&endpoint.host).copied(),
                    };
                    let bridge = &network.bridge;
                    bridge.register_endpoint(port.unwrap(), mac, &endpoint.addresses);
                }
                DirectoryEvent::EndpointGone { network, mac } => {
                    let network = self.network(network);
                    network.bridge.unregister_endpoint(mac);
                }
            }
        }
    }

    /// How much it holds, as the length of all of it written down.
    pub(crate) fn held(&self) -> usize {
        let links = self.links.values();
        let of_links = links.map(|link| format!("{:?}{:?}", link.peer, link.reassembler).len());
        let networks = self.networks.values();
        let of_networks = networks.map(|network| format!("{:?}", network.bridge).len());
        let of_directory = format!("{:?}", self.directory).len();
        of_directory + of_links.sum::<usize>() + of_networks.sum::<usize>()
    }

    /// A sandbox sends a frame.
    fn network(&mut self, id: NetworkId) -> &mut Network {
        let mut networks = self.networks.iter_mut();
        let (_, network) = networks.find(|(vni, _)| id_of(**vni) == id).unwrap();
        network
    }

    pub(crate) fn send(&mut self, now: u64, vni: Vni, from: Mac, bytes: &[u8]) {
        let port = self.networks[&vni].tap(from).unwrap();
        self.switch(now, vni, port, bytes);
    }

    /// A datagram came from another host.
    pub(crate) fn receive(&mut self, now: u64, from: usize, datagram: &[u8]) {
        let clock = self.clock(now);
        let link = self.links.get_mut(&from).unwrap();
        let Some(connection) = link.connection else {
            return;
        };
        if datagram == ACKNOWLEDGMENT {
            return link.peer.handle_sign(clock);
        }
        self.outbox
            .push((from, connection, ACKNOWLEDGMENT.to_vec()));
        let (header, body) = DatagramHeader::parse(datagram).unwrap();
        match header {
            DatagramHeader::Control => link.peer.handle_input(clock, body),
            DatagramHeader::Frame { vni } => {
                link.peer.handle_traffic(clock);
                self.receive_frame(now, vni, from, body);
            }
            _ => {
                link.peer.handle_traffic(clock);
                link.reassembler.push(clock, &header, body);
                self.take_rebuilt(now, from);
            }
        }
    }

    pub(crate) fn handle_timeouts(&mut self, now: u64) {
        let clock = self.clock(now);
        let others: Vec<usize> = self.links.keys().copied().collect();
        for other in others {
            let link = self.links.get_mut(&other).unwrap();
            if link.peer.poll_timeout().is_some_and(|due| due <= clock) {
                link.peer.handle_timeout(clock);
            }
            if link
                .reassembler
                .poll_timeout()
                .is_some_and(|due| due <= clock)
            {
                link.reassembler.handle_timeout(clock);
                self.take_rebuilt(now, other);
            }
            self.flush_messages(other);
        }
        self.directory.handle_timeout(clock);
    }

    pub(crate) fn flush_messages(&mut self, other: usize) {
        let link = self.links.get_mut(&other).unwrap();
        while let Some(datagram) = link.peer.poll_transmit() {
            if let Some(connection) = link.connection {
                self.outbox.push((other, connection, datagram));
            }
        }
    }

    pub(crate) fn connected(&mut self, now: u64, other: usize, connection: u64) {
        let clock = self.clock(now);
        let identity = self.names[other].clone();
        let link = self.links.get_mut(&other).unwrap();
        link.connection = Some(connection);
        link.ids = FrameIds::new();
        link.reassembler = Reassembler::new(ReassembleConfig::default());
        link.peer.handle_connected(clock, identity.as_str());
        self.flush_messages(other);
    }

    pub(crate) fn next_peer_event(&mut self) -> Option<(usize, PeerEvent)> {
        let mut links = self.links.iter_mut();
        links.find_map(|(other, link)| Some((*other, link.peer.poll_event()?)))
    }

    fn take_rebuilt(&mut self, now: u64, from: usize) {
        let link = self.links.get_mut(&from).unwrap();
        let mut frames = Vec::new();
        while let Some(rebuilt) = link.reassembler.poll_frame() {
            frames.push((rebuilt.vni, rebuilt.frame.to_vec()));
        }
        for (vni, bytes) in frames {
            self.receive_frame(now, vni, from, &bytes);
        }
    }

    fn receive_frame(&mut self, now: u64, vni: Vni, from: usize, bytes: &[u8]) {
        let name = &self.names[from];
        if !self.directory.is_member(id_of(vni), name) {
            return;
        }
        // No bridge here, or it has not heard of the other host yet.
        let tunnel = self
            .networks
            .get(&vni)
            .and_then(|network| network.tunnels.get(name));
        if let Some(port) = tunnel.copied() {
            self.switch(now, vni, port, bytes);
        }
    }

    fn switch(&mut self, now: u64, vni: Vni, ingress: PortId, bytes: &[u8]) {
        let clock = self.clock(now);
        let network = &self.networks[&vni];
        let frame = Frame::parse(bytes).unwrap();
        let egress: Vec<PortId> = match network.bridge.forward(clock, ingress, &frame) {
            Verdict::Unicast(port) => vec![port],
            Verdict::Flood => {
                self.floods += 1;
                let list = network.bridge.flood_list(ingress);
                list.iter()
                    .copied()
                    .filter(|port| *port != ingress)
                    .collect()
            }
            Verdict::Reply => {
                let mut out = vec![0; Bridge::REPLY_LEN_MAX];
                let len = network.bridge.reply(ingress, &frame, &mut out);
                self.reply = Some(out[..len].to_vec());
                return;
            }
            Verdict::Group(list) => {
                let list = network.bridge.group_list(ingress, (list, None), &frame);
                list.egresses().collect()
            }
            Verdict::Probe | Verdict::Taken | Verdict::Drop(_) => return,
        };
        let came_by_tunnel = !network.taps.contains_key(&ingress);
        for port in egress {
            if let Some(mac) = self.networks[&vni].taps.get(&port) {
                self.deliveries.push((vni, *mac, bytes.to_vec()));
                continue;
            }
            assert!(!came_by_tunnel, "a frame went from tunnel to tunnel");
            self.send_frame(now, vni, port, &frame);
        }
    }

    fn send_frame(&mut self, now: u64, vni: Vni, port: PortId, frame: &Frame<'_>) {
        let clock = self.clock(now);
        let tunnels = &self.networks[&vni].tunnels;
        let name = tunnels.iter().find(|(_, at)| **at == port).unwrap().0;
        let other = self.names.iter().position(|other| other == name).unwrap();
        let link = self.links.get_mut(&other).unwrap();
        let (true, Some(connection)) = (link.peer.is_up(), link.connection) else {
            return;
        };
        link.peer.handle_sent(clock);
        let mut datagrams =
            Datagrams::new(vni, &VnetHeader::NONE, frame, &mut link.ids, DATAGRAM_LEN).unwrap();
        let mut out = vec![0; DATAGRAM_LEN];
        while let Some(len) = datagrams.write_next(&mut out) {
            self.outbox.push((other, connection, out[..len].to_vec()));
        }
    }
}

impl Network {
    fn new() -> Self {
        Self {
            bridge: Bridge::new(BridgeConfig::default()),
            taps: BTreeMap::new(),
            tunnels: HashMap::new(),
        }
    }

    fn tap(&self, mac: Mac) -> Option<PortId> {
        let mut taps = self.taps.iter();
        taps.find(|(_, at)| **at == mac).map(|(port, _)| *port)
    }
}

/// What QUIC sends for every datagram, in this world.
const ACKNOWLEDGMENT: &[u8] = &[];
/// Shorter than the longest frames of the simulation, so that they are cut.
const DATAGRAM_LEN: usize = 700;

/// The id of the network that has the VNI.
pub(crate) fn id_of(vni: Vni) -> NetworkId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&vni.value().to_be_bytes());
    NetworkId::new(bytes)
}

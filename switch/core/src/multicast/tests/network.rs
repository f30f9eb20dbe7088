//! A network of a few ports that snoops.

use std::time::Duration;

use super::super::address::{Address, Family};
use super::super::{FilterMode, SnoopingConfig};
use super::wire::{self, address};
use crate::{
    Bridge, BridgeConfig, Frame, Mac, MulticastView, PortConfig, PortId, PortKind, RecordView,
    Time, Verdict,
};

pub(super) const SENDER: PortId = PortId(1);
pub(super) const ONE: PortId = PortId(2);
pub(super) const TWO: PortId = PortId(3);
pub(super) const ROUTER: PortId = PortId(4);
pub(super) const FAR: PortId = PortId(8);
pub(super) const OTHER_FAR: PortId = PortId(9);
pub(super) const GATEWAY: Mac = Mac::new([2, 0x42, 10, 0, 0, 1]);

/// A bridge and its clock.
pub(super) struct Network {
    pub(super) bridge: Bridge,
    pub(super) now: Time,
}

impl Network {
    /// Three sandboxes that have had time to answer.
    pub(super) fn new() -> Self {
        Self::with(SnoopingConfig::default(), &[])
    }

    pub(super) fn with(config: SnoopingConfig, tunnels: &[PortId]) -> Self {
        let mut network = Self::unasked(config, tunnels);
        network.pass(Duration::from_secs(20));
        network
    }

    /// The same, of which nobody was asked yet.
    pub(super) fn unasked(config: SnoopingConfig, tunnels: &[PortId]) -> Self {
        let bridge = Bridge::new(BridgeConfig {
            snooping: Some(config),
            ..BridgeConfig::default()
        });
        bridge.set_gateway(GATEWAY, &["10.0.0.1".parse().unwrap()]);
        for port in [SENDER, ONE, TWO] {
            bridge.add_port(port, PortConfig::new(PortKind::Tap, 1500));
        }
        for port in tunnels {
            bridge.add_port(*port, PortConfig::new(PortKind::Tunnel, 1500));
        }
        Self {
            bridge,
            now: Time::from_millis(100_000),
        }
    }

    /// Does what is due in that time, and gives what was asked, when and where.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<(Time, PortId, Vec<u8>)> {
        let end = self.now + time;
        let mut asked = Vec::new();
        while let Some(due) = self.bridge.queries_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let queries = self.bridge.take_queries(self.now);
            asked.extend(
                queries
                    .into_iter()
                    .map(|(port, frame)| (self.now, port, frame)),
            );
        }
        self.now = end;
        asked
    }

    pub(super) fn send(&self, port: PortId, bytes: &[u8]) -> Verdict {
        self.bridge
            .forward(self.now, port, &Frame::parse(bytes).unwrap())
    }

    pub(super) fn report(&self, port: PortId, kind: u8, group: Address, sources: &[Address]) {
        let record = (kind, group, sources.to_vec());
        self.send(port, &wire::report(group.family(), &[record]));
    }

    /// Who gets these bytes.
    pub(super) fn egresses(&self, ingress: PortId, bytes: &[u8]) -> Vec<PortId> {
        let frame = Frame::parse(bytes).unwrap();
        match self.bridge.forward(self.now, ingress, &frame) {
            Verdict::Group(list) => {
                let list = self.bridge.group_list(ingress, (list, None), &frame);
                list.egresses().collect()
            }
            Verdict::Flood => {
                let list = self.bridge.flood_list(ingress);
                list.iter()
                    .copied()
                    .filter(|port| *port != ingress)
                    .collect()
            }
            Verdict::Unicast(port) => vec![port],
            _ => Vec::new(),
        }
    }

    /// Who gets a datagram for the group.
    pub(super) fn reached(&self, group: Address, from: Address) -> Vec<PortId> {
        self.egresses(SENDER, &wire::data(group, from))
    }

    pub(super) fn view(&self) -> MulticastView {
        let mut views = self.bridge.multicast(self.now).unwrap();
        views.pop().expect("it snoops")
    }

    pub(super) fn record(&self, group: Address, port: PortId) -> Option<RecordView> {
        let view = self.view();
        let mut records = view.records.into_iter();
        records.find(|record| record.group == group.ip() && record.port == port)
    }

    /// Mode, those that are wanted, and those that are blocked; by their last numbers.
    pub(super) fn filter(
        &self,
        group: Address,
        port: PortId,
    ) -> Option<(FilterMode, Vec<u8>, Vec<u8>)> {
        let record = self.record(group, port)?;
        let number = |address: &std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.octets()[3],
            std::net::IpAddr::V6(address) => address.octets()[15],
        };
        let of = |is_wanted: bool| {
            let sources = record.sources.iter();
            let sources = sources.filter(|(_, left)| left.is_some() == is_wanted);
            sources.map(|(source, _)| number(source)).collect()
        };
        Some((record.mode, of(true), of(false)))
    }
}

/// The kernel's tests' group.
pub(super) fn group(family: Family) -> Address {
    address(match family {
        Family::V4 => "239.10.10.10",
        Family::V6 => "ff02::cc",
    })
}

pub(super) fn source(family: Family, number: u8) -> Address {
    match family {
        Family::V4 => address(&format!("192.0.2.{number}")),
        Family::V6 => address(&format!("2001:db8:1::{number:x}")),
    }
}

pub(super) fn sources(family: Family, numbers: &[u8]) -> Vec<Address> {
    numbers
        .iter()
        .map(|number| source(family, *number))
        .collect()
}

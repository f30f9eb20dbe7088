//! Flows as they are shown: the largest first, with names.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use agent_api::{FlowEnd, FlowReport, FlowView, TraceResult};
use switch_core::{Mac, PortId, Verdict, ethertype};

use super::{Flow, FlowKey, FlowTable};

/// Who is who on a network.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Who is behind a port, and whether that is one station only.
    pub ports: BTreeMap<PortId, (String, bool)>,
    pub addresses: BTreeMap<IpAddr, String>,
    pub macs: BTreeMap<Mac, String>,
}

/// A table, and how it came about.
#[derive(Clone, Debug)]
pub struct Looked<'t> {
    pub network: &'t str,
    pub table: &'t FlowTable,
    pub took: Duration,
    pub every: u32,
    pub lost: u64,
    /// What the network's ports dropped meanwhile.
    pub drops: BTreeMap<String, u64>,
}

/// The `top` largest flows; those with drops only, and by these, where that is wished for.
pub fn report(looked: Looked<'_>, names: &Names, top: usize, drops_only: bool) -> FlowReport {
    let flows = looked.table.flows();
    let mut flows: Vec<_> = flows
        .filter(|(_, flow)| !drops_only || flow.dropped() > 0)
        .collect();
    flows.sort_by_key(|(key, flow)| match drops_only {
        true => (Reverse(flow.dropped()), Reverse(0), *key),
        false => (Reverse(flow.bytes), Reverse(flow.dropped()), *key),
    });
    let more = flows.len().saturating_sub(top);
    let shown = flows.into_iter().take(top);
    FlowReport {
        network: looked.network.to_owned(),
        took_ms: u64::try_from(looked.took.as_millis()).unwrap_or(u64::MAX),
        every: looked.every,
        samples: looked.table.samples,
        lost: looked.lost,
        flows: shown.map(|(key, flow)| names.view(key, flow)).collect(),
        more: u64::try_from(more).unwrap_or(u64::MAX),
        evicted: looked.table.evicted,
        drops: looked.drops,
    }
}

impl Names {
    fn view(&self, key: &FlowKey, flow: &Flow) -> FlowView {
        let behind = self.ports.get(&key.ingress);
        let sole = behind.filter(|(_, is_sole)| *is_sole);
        let (from, to) = key.addresses.unzip();
        let (from_port, to_port) = key.ports.unzip();
        FlowView {
            from: FlowEnd {
                name: sole.map_or_else(|| self.name(from, key.src), |(name, _)| Some(name.clone())),
                mac: key.src.to_string(),
                address: from,
                transport_port: from_port,
            },
            to: FlowEnd {
                name: self.name(to, key.dst),
                mac: key.dst.to_string(),
                address: to,
                transport_port: to_port,
            },
            protocol: protocol(key),
            vlan: key.vid,
            port: behind.map_or_else(|| key.ingress.to_string(), |(name, _)| name.clone()),
            result: match flow.verdict {
                Some(Verdict::Unicast(_)) => TraceResult::Sent,
                Some(Verdict::Flood) => TraceResult::Flooded,
                Some(Verdict::Group(_)) => TraceResult::Multicast,
                Some(Verdict::Taken) => TraceResult::Taken,
                Some(Verdict::Reply) => TraceResult::Answered,
                Some(Verdict::Probe) => TraceResult::Probe,
                Some(Verdict::Drop(_)) | None => TraceResult::Dropped,
            },
            frames: flow.frames,
            bytes: flow.bytes,
            samples: flow.samples,
            drops: flow
                .drops
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
        }
    }

    /// Behind the gateway's MAC is everybody: an address that nobody has here has no name.
    fn name(&self, address: Option<IpAddr>, mac: Mac) -> Option<String> {
        let name = match address {
            Some(address) => self.addresses.get(&address),
            None => self.macs.get(&mac),
        };
        name.cloned()
    }
}

fn protocol(key: &FlowKey) -> String {
    match (key.ethertype, key.protocol) {
        (ethertype::ARP, _) => "arp".to_owned(),
        (_, Some(1)) => "icmp".to_owned(),
        (_, Some(2)) => "igmp".to_owned(),
        (_, Some(6)) => "tcp".to_owned(),
        (_, Some(17)) => "udp".to_owned(),
        (_, Some(58)) => "icmp6".to_owned(),
        (_, Some(number)) => format!("ip-{number}"),
        (number, None) => format!("0x{number:04x}"),
    }
}

#[cfg(test)]
mod tests {
    use switch_core::{DropReason, Time};

    use super::super::Sighting;
    use super::*;

    const WEB: PortId = PortId(3);
    const HOST: PortId = PortId(2);

    fn key(ingress: PortId, from: [u8; 4], to: [u8; 4]) -> FlowKey {
        FlowKey {
            ingress,
            src: Mac::new([2, 0, 0, 0, 0, 3]),
            dst: Mac::new([2, 0, 0, 0, 0, 1]),
            vid: None,
            ethertype: ethertype::IPV4,
            addresses: Some((from.into(), to.into())),
            protocol: Some(6),
            ports: Some((40_000, 443)),
        }
    }

    fn seen(verdict: Verdict, frames: u64) -> Sighting {
        Sighting {
            verdict,
            frames,
            bytes: frames * 100,
        }
    }

    fn names() -> Names {
        Names {
            ports: [
                (WEB, ("web".to_owned(), true)),
                (HOST, ("host".to_owned(), false)),
            ]
            .into(),
            addresses: [([172, 17, 0, 3].into(), "web".to_owned())].into(),
            macs: [(Mac::new([2, 0, 0, 0, 0, 1]), "gateway".to_owned())].into(),
        }
    }

    fn shown(table: &FlowTable, top: usize, drops_only: bool) -> FlowReport {
        let looked = Looked {
            network: "lab",
            table,
            took: Duration::from_secs(3),
            every: 10,
            lost: 0,
            drops: BTreeMap::new(),
        };
        report(looked, &names(), top, drops_only)
    }

    #[test]
    fn the_largest_come_first_with_names_where_there_are_any() {
        let mut table = FlowTable::new(9);
        let now = Time::from_millis(0);
        let out = key(WEB, [172, 17, 0, 3], [192, 0, 2, 1]);
        let back = key(HOST, [192, 0, 2, 1], [172, 17, 0, 3]);
        table.add(now, &out, &seen(Verdict::Unicast(HOST), 10));
        table.add(now, &back, &seen(Verdict::Unicast(WEB), 90));
        let whole = shown(&table, 9, false);
        let ends = |flow: &FlowView| (flow.from.name.clone(), flow.to.name.clone());
        let web = || Some("web".to_owned());
        assert_eq!(ends(&whole.flows[0]), (None, web()));
        assert_eq!(ends(&whole.flows[1]), (web(), None), "beyond the gateway");
        assert_eq!(whole.flows[0].port, "host");
        assert_eq!(whole.flows[0].protocol, "tcp");
        assert_eq!((whole.samples, whole.more), (2, 0));
        let first = shown(&table, 1, false);
        assert_eq!((first.flows.len(), first.more), (1, 1));
        assert!(shown(&table, 9, true).flows.is_empty());
    }

    #[test]
    fn who_sends_with_anothers_address_is_named_by_its_port() {
        let mut table = FlowTable::new(9);
        let forged = key(WEB, [172, 17, 0, 9], [172, 17, 0, 3]);
        let dropped = Verdict::Drop(DropReason::Hairpin);
        table.add(Time::from_millis(0), &forged, &seen(dropped, 1));
        let report = shown(&table, 9, true);
        let flow = &report.flows[0];
        assert_eq!(flow.from.name.as_deref(), Some("web"));
        assert_eq!((flow.result, flow.frames), (TraceResult::Dropped, 0));
        assert_eq!(flow.drops, BTreeMap::from([("hairpin".to_owned(), 1)]));
    }
}

//! What becomes of frames in a network, without sending them.
//!
//! # Theory of operation
//!
//! The bridge decides on a copy of itself ([`switch_core::Rehearsal`]). What a frame meets behind its port is added from what
//! the agent knows: of a tunnel, the host at its other end; of the host port, the way that the kernel has for the packet, and the
//! rules of the packet filter on it ([`beyond`]). Frames that do pass are followed in [`live`], on other hosts too in [`everywhere`].

mod beyond;
mod everywhere;
mod live;
mod shown;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use agent_api::{
    ApiError, ByteSize, ErrorKind, FrameTrace, Rate, TracePort, TraceReport, TraceRequest,
    TraceResult, TraceStep,
};
use agent_core::hex;
use agent_core::trace::{self, Planned, Sender, Surroundings, Target, Who};
use switch_core::{Bridge, Frame, Mac, ParseFilter, PortId, PortKind, Rehearsal, Summary, Trace};

pub(crate) use self::everywhere::Followers;
pub(crate) use self::live::Wish;
pub(crate) use self::shown::Shown;
use super::Networks;
use super::segment::Segment;
use super::view::Seen;

/// What stands in the way of a trace.
#[derive(Debug, thiserror::Error)]
enum TraceFrames {
    #[error("network {0:?} has no switch: its driver leaves all to the host")]
    NoSwitch(String),
    #[error(
        "nobody on network {network:?} is called {from:?}; `tapestry port ls {network}` lists its ports"
    )]
    NoPort { network: String, from: String },
    #[error(
        "{0:?} is not plugged in, so that no frame comes from it; `tapestry port up` plugs it in"
    )]
    Unplugged(String),
    #[error("{0:?} is no MAC, no address and no name that network {1:?} knows; give an address")]
    NoTarget(String, String),
    #[error("say to whom the frame goes, with --to, or give the frame itself")]
    NoFrame,
    #[error("the frame cannot be both made up and given; use --to or --frame")]
    TwoFrames,
    #[error("frame {0} is not written in pairs of hexadecimal digits, 65550 bytes at most")]
    NotHex(usize),
    #[error(transparent)]
    Filter(#[from] ParseFilter),
    #[error("{0} frames are too many at once; give {max} at most", max = TraceRequest::FRAMES_MAX)]
    TooMany(usize),
}

impl From<TraceFrames> for ApiError {
    fn from(error: TraceFrames) -> Self {
        let kind = match error {
            TraceFrames::NoPort { .. } => ErrorKind::NotFound,
            TraceFrames::NoSwitch(_) | TraceFrames::Unplugged(_) => ErrorKind::Conflict,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// The frames of a request.
struct Wanted {
    frames: Vec<Vec<u8>>,
    /// What is to be said before the first step.
    preface: Option<TraceStep>,
}

impl Networks {
    /// Runs the request's frames through a copy of the network's switch.
    pub(crate) fn trace(
        &self,
        called: &str,
        request: &TraceRequest,
    ) -> Result<TraceReport, ApiError> {
        let seen = self.see(called)?;
        let network = seen.place.record.name.clone();
        let Some(segment) = seen.place.segment.clone() else {
            return Err(TraceFrames::NoSwitch(network).into());
        };
        let ports = self.ports_of(&seen, &segment.bridge);
        let ingress = ingress(&seen, &segment, &request.from)?;
        let wanted = wanted(&seen, &segment, ingress, request)?;
        let rehearsal = segment.bridge.rehearse();
        let frames = wanted.frames.iter().map(|bytes| {
            let mut traced = self.trace_one(&seen, &ports, &rehearsal, (ingress, bytes));
            traced.steps.splice(0..0, wanted.preface.iter().cloned());
            traced
        });
        Ok(TraceReport {
            frames: frames.collect(),
            from: ports.port(ingress),
            network,
        })
    }

    fn ports_of(&self, seen: &Seen, bridge: &Bridge) -> Ports {
        let rules = self.rule_texts(&seen.place.record.id);
        Ports::of(seen, bridge, rules)
    }

    fn trace_one(
        &self,
        seen: &Seen,
        ports: &Ports,
        rehearsal: &Rehearsal,
        (ingress, bytes): (PortId, &Vec<u8>),
    ) -> FrameTrace {
        let traced = rehearsal.trace(self.ground.switch.now(), ingress, bytes);
        let mut verdict = trace::verdict(&traced, ports);
        let steps = traced.steps.iter();
        let mut steps: Vec<_> = steps
            .map(|step| trace::step(step, ingress, ports))
            .collect();
        let summary = Frame::parse(bytes).ok().map(|frame| Summary::of(&frame));
        add_rates(seen, ingress, &traced, &mut steps);
        let dropped = self.go_on(seen, (&traced, bytes), summary.as_ref(), &mut steps);
        if let Some(reason) = dropped {
            verdict.result = TraceResult::Dropped;
            verdict.reason = Some(reason.name().to_owned());
        }
        FrameTrace {
            frame: hex::encode(bytes),
            link: match &summary {
                Some(summary) => summary.link(),
                None => format!("{} bytes", bytes.len()),
            },
            packet: summary.and_then(|summary| summary.packet()),
            steps,
            verdict,
        }
    }

    /// What a frame meets beyond the ports by which it leaves; the reason, where the packet filter drops it.
    fn go_on(
        &self,
        seen: &Seen,
        (traced, bytes): (&Trace, &[u8]),
        summary: Option<&Summary>,
        steps: &mut Vec<TraceStep>,
    ) -> Option<agent_core::firewall::FilterDrop> {
        if traced.dropped().is_some() {
            return None;
        }
        let mut egresses = traced.egresses.iter();
        steps.extend(egresses.find_map(|egress| beyond::uplink(seen, *egress, bytes)));
        let switch_core::Verdict::Unicast(egress) = traced.verdict else {
            return None;
        };
        steps.extend(self.far_end(seen, egress));
        let host = seen.ways.host.as_ref().filter(|host| host.port == egress)?;
        self.beyond_host(&host.link, summary?, steps)
    }
}

/// At which rates the frame comes and leaves, where its ports have such.
fn add_rates(seen: &Seen, ingress: PortId, traced: &Trace, steps: &mut Vec<TraceStep>) {
    let told = |says: &str, (rate, burst): (Rate, Option<ByteSize>)| {
        let burst = burst.map_or_else(String::new, |burst| format!(", {burst} at once"));
        let detail = format!("{says} {rate}{burst}; what is over that waits");
        beyond::step("rate", "pass", detail)
    };
    let sends = seen.rates(ingress).and_then(|rates| rates.egress());
    steps.splice(0..0, sends.map(|limit| told("its sender may send", limit)));
    if traced.dropped().is_some() {
        return;
    }
    for egress in &traced.egresses {
        let gets = seen.rates(*egress).and_then(|rates| rates.ingress());
        steps.extend(gets.map(|limit| told("its receiver may get", limit)));
    }
}

/// The ports of a network, by number.
struct Ports {
    ports: HashMap<PortId, TracePort>,
    /// Of the access list, by priority.
    rules: BTreeMap<u32, String>,
}

impl Ports {
    fn of(seen: &Seen, bridge: &Bridge, rules: BTreeMap<u32, String>) -> Self {
        let owners = seen.owners().into_iter();
        let ports = owners.map(|(id, owner)| {
            let kind = bridge
                .port_config(id)
                .map_or(PortKind::Tap, |port| port.kind);
            let port = TracePort {
                port: id.0,
                kind: kind.name().to_owned(),
                owner,
            };
            (id, port)
        });
        Self {
            ports: ports.collect(),
            rules,
        }
    }
}

impl Who for Ports {
    fn port(&self, id: PortId) -> TracePort {
        let known = self.ports.get(&id).cloned();
        known.unwrap_or_else(|| TracePort {
            port: id.0,
            kind: String::new(),
            owner: String::new(),
        })
    }

    fn rule(&self, priority: u32) -> Option<String> {
        self.rules.get(&priority).cloned()
    }
}

/// The port that somebody names.
fn ingress(seen: &Seen, segment: &Segment, from: &str) -> Result<PortId, TraceFrames> {
    let number = from.parse().ok().map(PortId);
    if let Some(id) = number.filter(|id| seen.owners().contains_key(id)) {
        return Ok(id);
    }
    let mut attached = seen.attached.iter();
    let endpoint = attached.find(|attached| {
        let record = &attached.record;
        let mac = Mac::new(record.mac).to_string();
        let owner = match &record.owner {
            agent_core::record::Owner::Container(id) => Some(id),
            _ => None,
        };
        record.name == from
            || record.id == from
            || mac == from
            || owner.is_some_and(|id| id == from)
    });
    match (endpoint, from) {
        (Some(endpoint), _) => {
            let port = endpoint.plug.port.filter(|_| !endpoint.record.down);
            port.ok_or_else(|| TraceFrames::Unplugged(from.to_owned()))
        }
        (None, "gateway") if !seen.place.record.is_lan() => Ok(segment.edge_port),
        (None, "uplink") if seen.ways.uplink.is_some() => {
            let uplink = seen.ways.uplink.as_ref();
            Ok(uplink.map_or(segment.edge_port, |uplink| uplink.port))
        }
        (None, "host") if seen.ways.host.is_some() => {
            let host = seen.ways.host.as_ref();
            Ok(host.map_or(segment.edge_port, |host| host.port))
        }
        (None, _) => Err(TraceFrames::NoPort {
            network: seen.place.record.name.clone(),
            from: from.to_owned(),
        }),
    }
}

fn wanted(
    seen: &Seen,
    segment: &Segment,
    ingress: PortId,
    request: &TraceRequest,
) -> Result<Wanted, ApiError> {
    match (&request.to, request.frames.is_empty()) {
        (Some(_), false) => Err(TraceFrames::TwoFrames.into()),
        (None, true) => Err(TraceFrames::NoFrame.into()),
        (None, false) => Ok(given(&request.frames)?),
        (Some(to), true) => {
            let planned = made_up(seen, segment, ingress, (to, request))?;
            Ok(Wanted {
                frames: vec![planned.sample.to_bytes()],
                preface: planned.asks_first.map(asks_first),
            })
        }
    }
}

fn given(frames: &[String]) -> Result<Wanted, TraceFrames> {
    if frames.len() > TraceRequest::FRAMES_MAX {
        return Err(TraceFrames::TooMany(frames.len()));
    }
    let frames = (1..).zip(frames);
    let frames = frames.map(|(number, text)| unhex(text).ok_or(TraceFrames::NotHex(number)));
    Ok(Wanted {
        frames: frames.collect::<Result<_, _>>()?,
        preface: None,
    })
}

/// A frame as the port's owner would send it.
fn made_up(
    seen: &Seen,
    segment: &Segment,
    ingress: PortId,
    (to, request): (&str, &TraceRequest),
) -> Result<Planned, ApiError> {
    let record = &seen.place.record;
    let sender = sender(seen, segment, ingress, &request.from)?;
    let gateways = || record.gateway_addresses();
    let target = target(segment, ingress, to)
        .or_else(|| (to == "gateway").then(|| Target::Addresses(gateways())))
        .ok_or_else(|| TraceFrames::NoTarget(to.to_owned(), record.name.clone()))?;
    let neighbors = segment.bridge.neighbors();
    let around = Surroundings {
        gateway_mac: segment.gateway_mac,
        subnets: record.subnets.iter().map(|subnet| subnet.net).collect(),
        mac_of: &|address| neighbors.lookup(address).map(|owner| owner.mac),
        addresses_of: &|mac| match mac == segment.gateway_mac {
            true => record.gateway_addresses(),
            false => addresses_of(seen, mac),
        },
    };
    Ok(trace::plan(&sender, &target, request.payload, &around)?)
}

fn sender(seen: &Seen, segment: &Segment, ingress: PortId, from: &str) -> Result<Sender, ApiError> {
    let mut attached = seen.attached.iter();
    let behind = attached.find(|attached| attached.plug.port == Some(ingress));
    let is_hosts = seen
        .ways
        .host
        .as_ref()
        .is_some_and(|host| host.port == ingress);
    if let Some(attached) = behind {
        return Ok(Sender {
            name: attached.record.name.clone(),
            mac: Mac::new(attached.record.mac),
            addresses: attached.record.addresses(),
        });
    }
    if is_hosts || ingress == segment.edge_port {
        return Ok(Sender {
            name: from.to_owned(),
            mac: segment.gateway_mac,
            addresses: seen.place.record.gateway_addresses(),
        });
    }
    Err(trace::TracePlan::NoSender(from.to_owned()).into())
}

fn target(segment: &Segment, ingress: PortId, to: &str) -> Option<Target> {
    if let Ok(mac) = to.parse() {
        return Some(Target::Mac(mac));
    }
    if let Ok(address) = to.parse() {
        return Some(Target::Addresses(vec![address]));
    }
    let name = to.strip_suffix('.').unwrap_or(to);
    let addresses = segment.edge.peek(ingress, name);
    (!addresses.is_empty()).then_some(Target::Addresses(addresses))
}

fn addresses_of(seen: &Seen, mac: Mac) -> Vec<IpAddr> {
    let mut attached = seen.attached.iter();
    let of = attached.find(|attached| Mac::new(attached.record.mac) == mac);
    of.map_or_else(Vec::new, |attached| attached.record.addresses())
}

fn asks_first(address: IpAddr) -> TraceStep {
    let detail = format!("nobody has {address} on record: the sender asks for it first");
    beyond::step("neighbors", "ask", detail)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * FRAME_LEN_MAX || !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    // A sign is no digit.
    bytes.collect::<Option<_>>().filter(|_| !text.contains('+'))
}

/// An Ethernet header, and the longest IP packet.
const FRAME_LEN_MAX: usize = 65_550;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_in_hexadecimal_digits() {
        assert_eq!(unhex("02fF"), Some(vec![2, 255]));
        assert_eq!(hex::encode(&[2, 255]), "02ff");
        for wrong in ["0", "0g", "+1+1", "äö"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        assert_eq!(unhex(&"00".repeat(FRAME_LEN_MAX + 1)), None);
    }
}

//! Samples and counters on their way to a collector.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use switch_core::sflow::{Exporter, FlowRecord, PortRecord};
use switch_io::{FlowSample, FlowSamples};

use super::Flows;

/// The collector's part of the thread.
#[derive(Default)]
pub(super) struct Export {
    line: Option<Line>,
    /// When the collector could not be reached.
    failed: Option<Instant>,
}

/// A socket, and what writes for it.
struct Line {
    socket: UdpSocket,
    exporter: Exporter,
    began: Instant,
    /// When ports were told of last.
    told: Option<Instant>,
}

impl Export {
    /// Sends what a collector wants of it.
    pub(super) fn pass_on(&mut self, flows: &Flows, samples: &FlowSamples) {
        let Some(collector) = flows.ground.config.flows.collector else {
            return;
        };
        if self.line.is_none() {
            self.open(flows, collector);
        }
        if let Some(line) = &mut self.line {
            line.pass_on(flows, samples);
        }
    }

    fn open(&mut self, flows: &Flows, collector: SocketAddr) {
        if self
            .failed
            .is_some_and(|failed| failed.elapsed() < RETRY_AFTER)
        {
            return;
        }
        match Line::open(collector) {
            Ok(line) => {
                tracing::info!(%collector, "samples of frames go to a collector");
                self.line = Some(line);
            }
            Err(error) => {
                if self.failed.is_none() {
                    flows.ground.warn(format!(
                        "the collector of flows at {collector} cannot be reached: {error}; it is tried again, and [flows] collector says where it is"
                    ));
                }
                self.failed = Some(Instant::now());
            }
        }
    }
}

impl Line {
    fn open(collector: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match collector {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(collector)?;
        // The address by which others reach this host, as far as it knows.
        let agent = socket.local_addr()?.ip();
        Ok(Self {
            socket,
            exporter: Exporter::new(agent),
            began: Instant::now(),
            told: None,
        })
    }

    fn pass_on(&mut self, flows: &Flows, samples: &FlowSamples) {
        let uptime_ms = self.uptime_ms();
        for sample in samples.iter().filter(|sample| sample.times > 0) {
            let full = self.exporter.flow(uptime_ms, &record(sample));
            self.send(flows, full);
        }
        let pause = flows.ground.config.flows.counters;
        if self.told.is_none_or(|told| told.elapsed() >= pause) {
            self.told = Some(Instant::now());
            self.tell_ports(flows, uptime_ms);
        }
        let rest = self.exporter.flush(uptime_ms);
        self.send(flows, rest);
    }

    fn tell_ports(&mut self, flows: &Flows, uptime_ms: u32) {
        let ports = flows.networks.named_ports();
        let ids: Vec<_> = ports.iter().map(|(_, port)| port.port).collect();
        let counted = flows.ground.switch.counters_of(&ids);
        for (_, port) in &ports {
            let Some(counts) = counted.get(&port.port) else {
                continue;
            };
            let name = port.shown();
            let record = PortRecord {
                port: port.port,
                name: &name,
                is_up: true,
                counts,
            };
            let full = self.exporter.port(uptime_ms, &record);
            self.send(flows, full);
        }
        self.exporter.forget_but(|port| counted.contains_key(&port));
    }

    /// What the socket does not take now is lost, as anything on its way.
    fn send(&self, flows: &Flows, datagram: Option<Vec<u8>>) {
        let Some(datagram) = datagram else {
            return;
        };
        match self.socket.send(&datagram) {
            Ok(_) => Flows::count(&flows.counts.datagrams, 1),
            Err(_) => Flows::count(&flows.counts.unsent, 1),
        }
    }

    fn uptime_ms(&self) -> u32 {
        // It starts over after seven weeks.
        let ms = self.began.elapsed().as_millis() & u128::from(u32::MAX);
        u32::try_from(ms).unwrap_or(0)
    }
}

fn record(sample: &FlowSample) -> FlowRecord<'_> {
    FlowRecord {
        ingress: sample.ingress,
        verdict: sample.verdict,
        stands_for: u32::try_from(sample.stands_for()).unwrap_or(u32::MAX),
        len: sample.len,
        head: sample.head(),
    }
}

const RETRY_AFTER: Duration = Duration::from_secs(10);

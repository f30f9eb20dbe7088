//! What can be shown: a table of each.

use agent_api::{Forwarder, PortView, TunnelView};

use super::grid::{Cell, Grid, GridRow};
use super::sample::{NetworkSample, Rates, Sample, rate};
use crate::amount::{bits, count, per_second};

/// Which table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Networks,
    Ports,
    Drops,
    Tunnels,
    Names,
    Workers,
}

/// Two looks, of which rates are made; of all networks, or of one.
#[derive(Clone, Copy)]
pub(super) struct Looks<'s> {
    pub(super) now: &'s Sample,
    pub(super) before: Option<&'s Sample>,
    pub(super) network: Option<&'s str>,
}

impl View {
    pub(super) const ALL: [Self; 6] = [
        Self::Networks,
        Self::Ports,
        Self::Drops,
        Self::Tunnels,
        Self::Names,
        Self::Workers,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Networks => "networks",
            Self::Ports => "ports",
            Self::Drops => "drops",
            Self::Tunnels => "tunnels",
            Self::Names => "dns",
            Self::Workers => "workers",
        }
    }

    pub(super) fn grid(self, looks: Looks<'_>) -> Grid {
        let (headers, sorted_by): (&[&str], _) = match self {
            Self::Networks => (&["NETWORK", "PORTS", "IN", "OUT", "FRAMES", "DROPS"], 2),
            Self::Ports => (
                &[
                    "NETWORK", "PORT", "OWNER", "STATE", "IN", "OUT", "FRAMES", "DROPS",
                ],
                4,
            ),
            Self::Drops => (
                &["NETWORK", "PORT", "OWNER", "REASON", "FRAMES", "TOTAL"],
                4,
            ),
            Self::Tunnels => (
                &["NETWORK", "HOST", "STATE", "RTT", "IN", "OUT", "DROPS"],
                4,
            ),
            Self::Names => (
                &[
                    "NETWORK", "QUERIES", "LOCAL", "CACHED", "ASKED", "TOOK", "FAILED", "TOTAL",
                ],
                1,
            ),
            Self::Workers => (&["WORKER", "BUSY", "FRAMES", "BATCH", "PORTS"], 1),
        };
        if self == Self::Workers {
            return Grid {
                headers,
                rows: looks.worker_rows(),
                sorted_by,
            };
        }
        let rows = looks.networks().flat_map(|(name, network)| match self {
            Self::Networks => vec![looks.network_row(name, network)],
            Self::Ports => network
                .ports
                .iter()
                .map(|port| looks.port_row(name, port))
                .collect(),
            Self::Drops => network
                .ports
                .iter()
                .flat_map(|port| looks.drop_rows(name, port))
                .collect(),
            Self::Tunnels => network
                .tunnels
                .iter()
                .map(|it| looks.tunnel_row(name, it))
                .collect(),
            Self::Names => looks.names_row(name, network).into_iter().collect(),
            Self::Workers => Vec::new(),
        });
        Grid {
            headers,
            rows: rows.collect(),
            sorted_by,
        }
    }
}

impl<'s> Looks<'s> {
    fn networks(&self) -> impl Iterator<Item = (&'s str, &'s NetworkSample)> + use<'s> {
        let only = self.network;
        let all = self.now.networks.iter();
        all.map(|(name, network)| (name.as_str(), network))
            .filter(move |(name, _)| only.is_none_or(|only| only == *name))
    }

    fn seconds(&self) -> f64 {
        self.before.map_or(1.0, |before| self.now.since(before))
    }

    fn rates(&self, network: &str, port: &PortView) -> Rates {
        let before = self.before.and_then(|it| it.port(network, port.port));
        Rates::of(port, before, self.seconds())
    }

    /// Of all ports together. What goes in at one port goes out at another.
    pub(super) fn total(&self) -> Rates {
        let mut sum = Rates::default();
        for (name, network) in self.networks() {
            for port in &network.ports {
                sum.add(self.rates(name, port));
            }
        }
        sum
    }

    fn network_row(&self, name: &str, network: &NetworkSample) -> GridRow {
        let mut sum = Rates::default();
        for port in &network.ports {
            sum.add(self.rates(name, port));
        }
        let ports = u64::try_from(network.ports.len()).unwrap_or(0);
        row(
            name,
            [text(name), whole(ports)].into_iter().chain(rates(sum)),
        )
    }

    fn port_row(&self, name: &str, port: &PortView) -> GridRow {
        let cells = [
            text(name),
            whole(port.port.into()),
            text(&port.owner),
            text(&port.state),
        ];
        let rates = rates(self.rates(name, port));
        row(name, cells.into_iter().chain(rates))
    }

    fn drop_rows(&self, name: &str, port: &PortView) -> Vec<GridRow> {
        let before = self.before.and_then(|it| it.port(name, port.port));
        let rows = port.drops.iter().map(|(reason, total)| {
            let was = before.map_or(*total, |port| port.drops.get(reason).copied().unwrap_or(0));
            let per_s = rate(*total, was, self.seconds());
            let cells = [
                text(name),
                whole(port.port.into()),
                text(&port.owner),
                text(reason),
                Cell::Number(per_s, per_second(per_s)),
                whole(*total),
            ];
            row(name, cells)
        });
        rows.collect()
    }

    fn tunnel_row(&self, name: &str, tunnel: &TunnelView) -> GridRow {
        let before = self.before.and_then(|it| it.tunnel(name, tunnel.port));
        let seconds = self.seconds();
        let speed = |of: fn(&TunnelView) -> u64| {
            let was = before.map_or(of(tunnel), of);
            rate(of(tunnel), was, seconds)
        };
        let drops = speed(|tunnel| tunnel.drops.values().sum());
        let state = match tunnel.up {
            Some(true) => "up",
            Some(false) => "down",
            None => "-",
        };
        let rtt = tunnel.rtt_us.map_or_else(none, milliseconds);
        let [in_, out] = [speed(|it| it.rx_bytes), speed(|it| it.tx_bytes)];
        let cells = [
            text(name),
            text(&tunnel.address.to_string()),
            text(state),
            rtt,
            Cell::Number(in_, bits(in_)),
            Cell::Number(out, bits(out)),
            Cell::Number(drops, per_second(drops)),
        ];
        row(name, cells)
    }

    /// Workers are of all networks.
    fn worker_rows(&self) -> Vec<GridRow> {
        let workers = self.now.agent.work.iter().enumerate();
        let rows = workers.map(|(number, now)| {
            let before = self.before.and_then(|it| it.agent.work.get(number));
            let before = before.unwrap_or(now);
            let seconds = self.seconds();
            let busy = 100.0 * rate(now.busy_us, before.busy_us, seconds) / 1e6;
            let frames = rate(now.frames, before.frames, seconds);
            let batches = rate(now.batches, before.batches, seconds);
            let batch = match batches > 0.0 {
                true => Cell::Number(frames / batches, format!("{:.1}", frames / batches)),
                false => none(),
            };
            GridRow {
                leads_to: None,
                cells: vec![
                    text(&number.to_string()),
                    Cell::Number(busy, format!("{busy:.0} %")),
                    Cell::Number(frames, per_second(frames)),
                    batch,
                    whole(u64::try_from(now.ports).unwrap_or(0)),
                ],
            }
        });
        rows.collect()
    }

    fn names_row(&self, name: &str, network: &NetworkSample) -> Option<GridRow> {
        let now = network.names.as_ref()?;
        let before = self.before.and_then(|it| it.names(name)).unwrap_or(now);
        let per_s = |now: u64, before: u64| {
            let rate = rate(now, before, self.seconds());
            Cell::Number(rate, per_second(rate))
        };
        let cells = [
            text(name),
            per_s(now.queries, before.queries),
            per_s(now.local, before.local),
            per_s(now.cached, before.cached),
            per_s(now.forwarded, before.forwarded),
            took(now, before),
            per_s(now.failed, before.failed),
            whole(now.queries),
        ];
        Some(row(name, cells))
    }
}

/// How long a query takes that is forwarded, on average between the looks.
fn took(now: &Forwarder, before: &Forwarder) -> Cell {
    let asked = now.forwarded.saturating_sub(before.forwarded);
    let us = now.forwarding_us.saturating_sub(before.forwarding_us);
    us.checked_div(asked).map_or_else(none, milliseconds)
}

fn milliseconds(us: u64) -> Cell {
    #[expect(clippy::cast_precision_loss, reason = "it is sorted by")]
    Cell::Number(us as f64, format!("{}.{:02} ms", us / 1000, us % 1000 / 10))
}

/// Below all numbers.
fn none() -> Cell {
    Cell::Number(-1.0, "-".to_owned())
}

fn row(leads_to: &str, cells: impl IntoIterator<Item = Cell>) -> GridRow {
    GridRow {
        leads_to: Some(leads_to.to_owned()),
        cells: cells.into_iter().collect(),
    }
}

/// Names are others' words.
fn text(text: &str) -> Cell {
    Cell::Text(text.replace(char::is_control, " "))
}

fn whole(number: u64) -> Cell {
    #[expect(clippy::cast_precision_loss, reason = "it is sorted by")]
    Cell::Number(number as f64, count(number))
}

fn rates(of: Rates) -> [Cell; 4] {
    [
        Cell::Number(of.rx_bytes, bits(of.rx_bytes)),
        Cell::Number(of.tx_bytes, bits(of.tx_bytes)),
        Cell::Number(of.frames, per_second(of.frames)),
        Cell::Number(of.drops, per_second(of.drops)),
    ]
}

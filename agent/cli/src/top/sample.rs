//! What the agent says at one moment, and what became of it since another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agent_api::{Client, ClientError, Driver, Forwarder, Info, PortView, TunnelView};

/// One look at everything.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// By a clock that goes on.
    pub(super) at: Instant,
    pub(super) agent: Info,
    /// By name.
    pub(super) networks: BTreeMap<String, NetworkSample>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct NetworkSample {
    pub(super) ports: Vec<PortView>,
    pub(super) names: Option<Forwarder>,
    pub(super) tunnels: Vec<TunnelView>,
}

/// How many in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) rx_bytes: f64,
    pub(super) tx_bytes: f64,
    pub(super) frames: f64,
    pub(super) drops: f64,
}

impl Sample {
    pub(super) async fn take(client: &Client) -> Result<Self, ClientError> {
        let at = Instant::now();
        let agent = client.info().await?;
        let mut networks = BTreeMap::new();
        for summary in client.networks().await? {
            if matches!(summary.driver, Driver::Host | Driver::Null) || summary.not_here.is_some() {
                continue;
            }
            let asked = async {
                let ports = client.ports(&summary.id).await?;
                let detail = client.network(&summary.id).await?;
                Ok(NetworkSample {
                    ports,
                    names: detail.forwarder,
                    tunnels: detail.overlay.map(|it| it.tunnels).unwrap_or_default(),
                })
            };
            match asked.await {
                Ok(network) => drop(networks.insert(summary.name, network)),
                // Somebody has removed it meanwhile.
                Err(error) if ClientError::is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            at,
            agent,
            networks,
        })
    }

    /// Seconds from another look to this one.
    pub(super) fn since(&self, before: &Self) -> f64 {
        let since = self.at.saturating_duration_since(before.at);
        since.max(Duration::from_millis(1)).as_secs_f64()
    }

    fn network(&self, name: &str) -> Option<&NetworkSample> {
        self.networks.get(name)
    }

    pub(super) fn port(&self, network: &str, port: u32) -> Option<&PortView> {
        let mut ports = self.network(network)?.ports.iter();
        ports.find(|it| it.port == port)
    }

    pub(super) fn tunnel(&self, network: &str, port: u32) -> Option<&TunnelView> {
        let mut tunnels = self.network(network)?.tunnels.iter();
        tunnels.find(|it| it.port == port)
    }

    pub(super) fn names(&self, network: &str) -> Option<&Forwarder> {
        self.network(network)?.names.as_ref()
    }
}

impl Rates {
    /// Of a port that was there before, too.
    pub(super) fn of(now: &PortView, before: Option<&PortView>, seconds: f64) -> Self {
        let Some(before) = before else {
            return Self::default();
        };
        let drops = |port: &PortView| port.drops.values().sum();
        let frames = |port: &PortView| port.rx_frames + port.tx_frames;
        Self {
            rx_bytes: rate(now.rx_bytes, before.rx_bytes, seconds),
            tx_bytes: rate(now.tx_bytes, before.tx_bytes, seconds),
            frames: rate(frames(now), frames(before), seconds),
            drops: rate(drops(now), drops(before), seconds),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.rx_bytes += other.rx_bytes;
        self.tx_bytes += other.tx_bytes;
        self.frames += other.frames;
        self.drops += other.drops;
    }
}

/// A counter that begins anew has not counted.
#[expect(
    clippy::cast_precision_loss,
    reason = "rates are shown in three digits"
)]
pub(super) fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

//! An endpoint with what plugs it in, as others see it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use agent_api::EndpointDetail;
use agent_core::record::{EndpointRecord, NetnsId, NetworkRecord};
use agent_host::netlink::NetnsNumber;
use switch_core::vlan::{PortVlans, Vid};
use switch_core::{Mac, PortId};
use switch_io::{ImpairmentControl, RateControl};

use super::Seats;

/// What plugs an endpoint in; nothing as long as it is not plugged.
#[derive(Clone, Default)]
pub(crate) struct Plug {
    /// Absent where the link was moved to where it cannot be made again.
    pub(crate) port: Option<PortId>,
    /// The link's name inside the sandbox.
    pub(crate) link: String,
    /// Its index there, where this agent made it.
    pub(crate) index: Option<u32>,
    /// The TAP behind the port, beside the switch's hold on it.
    pub(crate) tap: Option<Arc<OwnedFd>>,
    /// The namespace that it was attached in.
    pub(crate) sandbox: Option<NetnsId>,
    /// By which its sandbox is heard of, and the link in it.
    pub(crate) place: Option<(NetnsNumber, u32)>,
    /// What the sandbox's owner changed at the link.
    pub(crate) changed: Vec<String>,
    /// What goes wrong at the port, where anything does.
    pub(crate) impairment: Option<ImpairmentControl>,
    /// What the port may get and send, where that is limited.
    pub(crate) rate: Option<RateControl>,
}

impl Plug {
    /// The same without a link.
    pub(crate) fn nowhere(lost: &Self) -> Self {
        Self {
            link: lost.link.clone(),
            sandbox: lost.sandbox,
            ..Self::default()
        }
    }
}

/// An endpoint as it is at one moment.
#[derive(Clone)]
pub(crate) struct Attached {
    pub(crate) record: Arc<EndpointRecord>,
    pub(crate) plug: Plug,
    pub(crate) cut_off: Option<String>,
}

impl Attached {
    /// As the API shows it.
    pub(crate) fn detail(&self, network: &NetworkRecord) -> EndpointDetail {
        let record = &self.record;
        let addresses = record.addresses().into_iter();
        let shown = network.vlans_of(record);
        EndpointDetail {
            id: record.id.clone(),
            network: network.name.clone(),
            name: record.name.clone(),
            mac: Mac::new(record.mac).to_string(),
            addresses: addresses
                .filter_map(|address| network.on_link(address))
                .collect(),
            gateways: network.gateway_addresses(),
            link: self.plug.link.clone(),
            port: self.plug.port.map(|port| port.0),
            aliases: record.aliases.clone(),
            sandbox: record.sandbox.clone(),
            publish: record.own_publish().to_vec(),
            up: !record.down,
            moved: record.moved.is_some(),
            changed: self.plug.changed.clone(),
            labels: record.labels.clone(),
            cut_off: self.cut_off.clone().or_else(|| network.why_cut_off()),
            vlan: shown.as_ref().and_then(PortVlans::native).map(Vid::get),
            trunk: shown
                .map(|vlans| vlans.tagged().to_string())
                .filter(|trunk| !trunk.is_empty()),
        }
    }
}

/// Who uses a network, as refusals show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Users(pub(crate) Vec<String>);

impl Users {
    pub(crate) const SHOWN_MAX: usize = 5;
}

impl fmt::Display for Users {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(&self.0.join(", "))
    }
}

/// A network with its seats, for whoever keeps its addresses.
#[derive(Clone)]
pub(crate) struct Seated {
    pub(crate) record: Arc<NetworkRecord>,
    pub(crate) seats: Arc<Seats>,
}

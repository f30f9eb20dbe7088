//! A port, as forwarding sees it.

use crate::storm::{StormBudgets, TokenBucket};
use crate::vlan::{PortVlans, VlanConfig};
use crate::{Block, PortConfig, PortId};

/// What forwarding knows of one port.
#[derive(Clone, Debug)]
pub(crate) struct BridgePort {
    pub(crate) id: PortId,
    pub(crate) config: PortConfig,
    pub(crate) bum: Option<TokenBucket>,
    pub(crate) storm: StormBudgets,
    pub(crate) block: Option<Block>,
    /// Absent where the network is not aware of VLANs.
    pub(crate) vlans: Option<PortVlans>,
}

impl BridgePort {
    pub(crate) fn new(id: PortId, config: PortConfig) -> Self {
        Self {
            id,
            bum: config.bum_limit.map(TokenBucket::new),
            storm: StormBudgets::new(&config.guards.storm),
            config,
            block: None,
            vlans: None,
        }
    }

    /// The same in a network that is aware of VLANs, if it is.
    pub(crate) fn in_network(self, network: Option<VlanConfig>) -> Self {
        let usual = |network| self.config.kind.usual_vlans(network);
        let vlans =
            network.map(|network| self.config.vlans.clone().unwrap_or_else(|| usual(network)));
        Self { vlans, ..self }
    }

    pub(crate) fn with_block(&self, block: Option<Block>) -> Self {
        Self {
            block,
            ..self.clone()
        }
    }
}

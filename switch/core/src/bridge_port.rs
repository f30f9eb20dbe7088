//! A port, as forwarding sees it.

use crate::storm::{StormBudgets, TokenBucket};
use crate::{Block, PortConfig, PortId};

/// What forwarding knows of one port.
#[derive(Clone, Debug)]
pub(crate) struct BridgePort {
    pub(crate) id: PortId,
    pub(crate) config: PortConfig,
    pub(crate) bum: Option<TokenBucket>,
    pub(crate) storm: StormBudgets,
    pub(crate) block: Option<Block>,
}

impl BridgePort {
    pub(crate) fn new(id: PortId, config: PortConfig) -> Self {
        Self {
            id,
            config,
            bum: config.bum_limit.map(TokenBucket::new),
            storm: StormBudgets::new(&config.guards.storm),
            block: None,
        }
    }

    pub(crate) fn with_block(&self, block: Option<Block>) -> Self {
        Self {
            block,
            ..self.clone()
        }
    }
}

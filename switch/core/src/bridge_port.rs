//! A port, as forwarding sees it.

use crate::storm::TokenBucket;
use crate::{PortConfig, PortId};

/// What forwarding knows of one port.
#[derive(Debug)]
pub(crate) struct BridgePort {
    pub(crate) id: PortId,
    pub(crate) config: PortConfig,
    pub(crate) bum: Option<TokenBucket>,
}

impl BridgePort {
    pub(crate) fn new(id: PortId, config: PortConfig) -> Self {
        Self {
            id,
            config,
            bum: config.bum_limit.map(TokenBucket::new),
        }
    }
}

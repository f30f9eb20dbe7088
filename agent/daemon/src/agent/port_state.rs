//! Ports that are down: their endpoints are attached, but plugged out.
//!
//! The namespace sees a link without a carrier, and the bridge has no such port: nothing is learned there, flooded there or
//! taken from there. Addresses, names and routes stay, and so does the state, over restarts of the agent.

use agent_api::{ApiError, EndpointDetail};
use switch_core::{Mac, PortKind};
use switch_io::set_carrier;

use super::endpoint::host_failure;
use super::state::{Endpoint, Network};
use super::{Agent, view};
use crate::record::endpoint_key;
use agent_core::find::Find;

impl Agent {
    /// Takes an endpoint's port up or down. One that is so already is no error.
    pub(crate) fn set_endpoint_up(&self, id: &str, up: bool) -> Result<EndpointDetail, ApiError> {
        let mut state = self.state();
        let no_endpoint = || Find::NoEndpoint(id.to_owned());
        let networks = state.networks.values_mut();
        let network = networks
            .into_iter()
            .find(|network| network.endpoints.contains_key(id))
            .ok_or_else(no_endpoint)?;
        let endpoint = network.endpoints.get(id).ok_or_else(no_endpoint)?;
        let failed = |why: String| host_failure(network, &endpoint.record, why);
        let record = crate::record::EndpointRecord {
            down: !up,
            ..endpoint.record.clone()
        };
        self.store
            .put(&endpoint_key(id), &record)
            .map_err(|error| failed(error.to_string()))?;
        let set = if up { push } else { pull };
        set(network, endpoint).map_err(failed)?;
        let endpoint = network.endpoints.get_mut(id).ok_or_else(no_endpoint)?;
        endpoint.record = record;
        let endpoint = network.endpoints.get(id).ok_or_else(no_endpoint)?;
        Ok(view::endpoint(network, endpoint))
    }
}

/// Takes the endpoint's port down.
pub(super) fn pull(network: &Network, endpoint: &Endpoint) -> Result<(), String> {
    if let Some(tap) = &endpoint.tap {
        set_carrier(tap, false).map_err(|error| error.to_string())?;
    }
    if let (Some(segment), Some(port)) = (&network.segment, endpoint.port) {
        segment.bridge.remove_port(port);
    }
    Ok(())
}

/// Takes the endpoint's port up.
fn push(network: &Network, endpoint: &Endpoint) -> Result<(), String> {
    if let (Some(segment), Some(port)) = (&network.segment, endpoint.port) {
        let (bridge, record) = (&segment.bridge, &endpoint.record);
        bridge.add_port(port, network.record.port_config(PortKind::Tap));
        bridge.register_endpoint(port, Mac::new(record.mac), &record.addresses());
    }
    match &endpoint.tap {
        Some(tap) => set_carrier(tap, true).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

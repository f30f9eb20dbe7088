//! Patches: two networks of this host made one segment, as with the patch ports of Open vSwitch.
//!
//! # Theory of operation
//!
//! A patch is a port on each of two bridges; what one bridge sends to its port, the other one receives at its own. It adds no
//! rule to a frame's way: each bridge learns, floods and guards as it does anyway. Guarded it is on both sides, since a
//! network's guard knows only the addresses of its own network. So each network keeps its gateway, its names, and its DHCP
//! server; the options of the network that a frame comes to say what may come.

use agent_api::ApiError;
use switch_core::{PortConfig, PortKind};
use switch_io::{PatchPort, patch};

use super::Agent;
use super::state::{Network, PatchEnd, State};
use crate::record::PatchRecord;
use agent_core::patch::Patch;
use agent_core::patch::check_patch;

impl State {
    /// The names of the networks that are patched to the one with this id.
    pub(super) fn patched_to(&self, id: &str) -> Vec<String> {
        let others = self.patches.iter().filter_map(|patch| patch.other(id));
        let networks = others.filter_map(|other| self.networks.get(other));
        networks
            .map(|network| network.record.name.clone())
            .collect()
    }
}

impl Agent {
    pub(crate) fn patch_networks(&self, one: &str, other: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let (one, other) = (state.network(one)?, state.network(other)?);
        let record = |id: &str| state.networks.get(id).map(|network| &network.record);
        check_patch(&state.patches, record, &one.record, &other.record)?;
        if let Some(down) = [one, other].iter().find(|end| end.segment.is_none()) {
            return Err(Patch::Down(down.record.name.clone()).into());
        }
        let (one, other) = (one.record.clone(), other.record.clone());
        let failed = |why: String| Patch::Host {
            one: one.name.clone(),
            other: other.name.clone(),
            why,
        };
        let patch = PatchRecord::new(&one.id, &other.id);
        self.store
            .put(&patch.key(), &patch)
            .map_err(|error| failed(error.to_string()))?;
        if let Err(why) = self.raise_patch(&mut state, &patch) {
            let _ = self.store.delete(&patch.key());
            return Err(failed(why).into());
        }
        state.patches.insert(patch);
        tracing::info!(one = one.name, other = other.name, "networks patched");
        Ok(())
    }

    pub(crate) fn unpatch_networks(&self, one: &str, other: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let ends = [state.network(one)?, state.network(other)?];
        let [one, other] = ends.map(|network| network.record.name.clone());
        let patch = PatchRecord::new(&ends[0].record.id, &ends[1].record.id);
        if !state.patches.contains(&patch) {
            return Err(Patch::Apart { one, other }.into());
        }
        if let Err(error) = self.store.delete(&patch.key()) {
            let why = error.to_string();
            return Err(Patch::Host { one, other, why }.into());
        }
        self.lower_patch(&mut state, &patch);
        state.patches.remove(&patch);
        tracing::info!(one, other, "networks parted");
        Ok(())
    }

    /// Joins again what was joined before the agent's start.
    pub(super) fn restore_patch(&self, state: &mut State, patch: PatchRecord) {
        let networks = patch.ways().map(|(id, _)| state.networks.get(id));
        let [Some(one), Some(other)] = networks else {
            // It stays without effect, and is looked at again at the next start.
            let _ = self.store.delete(&patch.key());
            return;
        };
        let [one, other] = [one, other].map(|network| network.record.name.clone());
        if let Err(why) = self.raise_patch(state, &patch) {
            self.warn(format!("networks {one:?} and {other:?} are apart: {why}"));
        }
        state.patches.insert(patch);
    }

    /// Makes both ports, or none.
    fn raise_patch(&self, state: &mut State, patch: &PatchRecord) -> Result<(), String> {
        let raised = self.raise_ends(state, patch);
        if raised.is_err() {
            self.lower_patch(state, patch);
        }
        raised
    }

    fn raise_ends(&self, state: &mut State, record: &PatchRecord) -> Result<(), String> {
        let ways = record.ways();
        let networks = ways.map(|(id, _)| state.networks.get(id));
        let [Some(one), Some(other)] = networks else {
            return Err("one of them is gone".to_owned());
        };
        // What is too long for the other network is dropped here, where its sender is known.
        let mtu = u32::from(one.record.mtu.min(other.record.mtu));
        let names = [&other.record.name, &one.record.name].map(String::clone);
        let ports = patch(QUEUE_FRAMES).map_err(|error| error.to_string())?;
        let ports = [ports.0, ports.1];
        for ((way, leads_to), port) in ways.into_iter().zip(names).zip(ports) {
            let network = state.networks.get_mut(way.0).ok_or("one of them is gone")?;
            let end = self.raise_end(network, port, mtu, leads_to)?;
            if let Some(segment) = &mut network.segment {
                segment.patches.insert(way.1.to_owned(), end);
            }
        }
        Ok(())
    }

    fn raise_end(
        &self,
        network: &Network,
        port: PatchPort,
        mtu: u32,
        leads_to: String,
    ) -> Result<PatchEnd, String> {
        let segment = network.segment.as_ref();
        let segment = segment.ok_or(format!("network {:?} is down", network.record.name))?;
        let config = PortConfig {
            mtu,
            ..network.record.port_config(PortKind::Patch)
        };
        let port = self
            .switch
            .add_port(&segment.bridge, Box::new(port), config)
            .map_err(|error| format!("no port: {error}"))?;
        Ok(PatchEnd { port, leads_to })
    }

    fn lower_patch(&self, state: &mut State, patch: &PatchRecord) {
        for (id, other) in patch.ways() {
            let network = state.networks.get_mut(id);
            if let Some(segment) = network.and_then(|network| network.segment.as_mut())
                && let Some(end) = segment.patches.remove(other)
            {
                segment.gone += &self.switch.remove_port(end.port).counters();
            }
        }
    }
}

/// In each direction. Superframes may be as long as 64 KiB, so this is at most 32 MiB.
const QUEUE_FRAMES: usize = 512;

//! How the switch treats the ports of endpoints, by what was asked for.
//!
//! The settings are of the record, as those of links are, so that the port has them again before its first frame.

use agent_api::{ApiError, PortDetail, PortSettings, StormBudget};
use agent_core::network::settings_of;
use agent_core::record::EndpointRecord;
use switch_core::{BumLimit, PortConfig};

use super::plug::host_failure;
use super::settings::changed;
use super::{Endpoints, Place};
use crate::seats::Attached;

impl Endpoints {
    pub(crate) fn port(&self, id: &str) -> Result<PortDetail, ApiError> {
        let (place, attached) = self.find(id)?;
        Ok(detail(&place, &attached))
    }

    /// Changes what is named of it. With the record as it is then.
    pub(crate) fn update_port(
        &self,
        id: &str,
        asked: &PortSettings,
    ) -> Result<(PortDetail, EndpointRecord), ApiError> {
        let (_turn, place, attached) = self.in_turn(id)?;
        let before = attached.record.port_settings;
        let set = |settings| self.note(&place, id, |record| record.port_settings = settings);
        if let Err(error) = set(asked.over(&before)) {
            drop(set(before));
            return Err(host_failure(&place.record, &attached.record, &error).into());
        }
        let attached = changed(&place, id)?;
        apply(&place, &attached);
        tracing::info!(
            endpoint = attached.record.name,
            network = place.record.name,
            settings = %attached.record.port_settings,
            "port changed"
        );
        let record = attached.record.as_ref().clone();
        Ok((detail(&place, &attached), record))
    }
}

/// Has the bridge treat the port as the record says, unless it is down.
fn apply(place: &Place, attached: &Attached) {
    let (Some(segment), Some(port)) = (&place.segment, attached.plug.port) else {
        return;
    };
    let bridge = &segment.bridge;
    if bridge.port_config(port).is_none() {
        return;
    }
    let config = place.record.endpoint_port_config(&attached.record);
    bridge.add_port(port, config.clone());
    if !config.learning || config.guards.locked {
        bridge.fdb().flush_learned(port);
    }
}

fn detail(place: &Place, attached: &Attached) -> PortDetail {
    let (record, port) = (&attached.record, attached.plug.port);
    let config = place.record.endpoint_port_config(record);
    let bridge = place.segment.as_ref().map(|segment| &segment.bridge);
    let there = bridge.zip(port);
    let blocked = there.and_then(|(bridge, port)| bridge.blocked(port));
    let learned = there.map_or(0, |(bridge, port)| bridge.fdb().learned_count(port));
    PortDetail {
        endpoint: record.id.clone(),
        name: record.name.clone(),
        network: place.record.name.clone(),
        link: attached.plug.link.clone(),
        port: port.map(|port| port.0),
        state: match (record.down, blocked) {
            (true, _) => "down".to_owned(),
            (false, Some(why)) => format!("blocked ({why})"),
            (false, None) => "up".to_owned(),
        },
        asked: record.port_settings,
        settings: settings_of(&config),
        learned: u64::try_from(learned).unwrap_or(u64::MAX),
        bpdu_guard_s: config.guards.bpdu.map(|recovery| recovery.as_secs()),
        storm: storm(&config),
    }
}

fn storm(config: &PortConfig) -> StormBudget {
    let rate = |limit: Option<BumLimit>| limit.map(|limit| limit.frames_s);
    let kinds = config.guards.storm;
    StormBudget {
        bum: rate(config.bum_limit),
        broadcast: rate(kinds.broadcast),
        multicast: rate(kinds.multicast),
        unknown: rate(kinds.unknown),
    }
}

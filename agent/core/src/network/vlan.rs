//! VLANs as people ask for them: of a network by options, of an endpoint by numbers.

use std::collections::BTreeMap;
use std::fmt;

use switch_core::vlan::{ParseVids, PortVlans, TagProtocol, Vid, VidSet, VlanConfig};

use super::option_list::{OPTION_VLAN, OPTION_VLAN_DEFAULT, OPTION_VLAN_PROTOCOL};
use crate::record::{EndpointRecord, NetworkRecord};

impl NetworkRecord {
    /// How it is aware of VLANs, if it is.
    pub fn vlans(&self) -> Option<VlanConfig> {
        let option = |name: &str| self.options.get(name).map(String::as_str);
        let default = option(OPTION_VLAN_DEFAULT).and_then(parse_vid);
        is_aware(&self.options).then(|| VlanConfig {
            protocol: match option(OPTION_VLAN_PROTOCOL) {
                Some("802.1ad") => TagProtocol::Service,
                _ => TagProtocol::Customer,
            },
            default: default.unwrap_or(Vid::ONE),
        })
    }

    /// The VLANs of an endpoint here, where it is aware of any: those it was given, or the default one.
    pub fn vlans_of(&self, endpoint: &EndpointRecord) -> Option<PortVlans> {
        let usual = PortVlans::access(self.vlans()?.default);
        Some(endpoint.vlans().unwrap_or(usual))
    }
}

impl EndpointRecord {
    /// The VLANs that its port belongs to; absent where nobody said anything. What is on record was checked.
    pub fn vlans(&self) -> Option<PortVlans> {
        read_vlans(self.vlan, self.trunk.as_deref()).ok().flatten()
    }
}

/// Whether a network with these options is.
pub(super) fn is_aware(options: &BTreeMap<String, String>) -> bool {
    options
        .get(OPTION_VLAN)
        .is_some_and(|value| value == "aware")
}

/// Those of an endpoint, by what was asked for.
pub(crate) fn read_vlans(
    vlan: Option<u16>,
    trunk: Option<&str>,
) -> Result<Option<PortVlans>, BadVlan> {
    let native = vlan.map(|number| Vid::new(number).ok_or(BadVlan::Number(number)));
    let native = native.transpose()?;
    let tagged = trunk.map(str::parse::<VidSet>).transpose()?;
    Ok(match (native, tagged) {
        (None, None) => None,
        (native, tagged) => Some(PortVlans::trunk(native, tagged.unwrap_or_default())),
    })
}

/// An endpoint's wishes, checked against its network; the trunk as it is kept.
pub fn check_vlans(
    network: &NetworkRecord,
    vlan: Option<u16>,
    trunk: Option<&str>,
) -> Result<Option<String>, BadVlan> {
    let Some(vlans) = read_vlans(vlan, trunk)? else {
        return Ok(None);
    };
    if network.vlans().is_none() {
        return Err(BadVlan::NotAware(network.name.clone()));
    }
    let tagged = vlans.tagged();
    Ok((!tagged.is_empty()).then(|| tagged.to_string()))
}

/// What a port belongs to, in a few words: `10`, `10 untagged, 20-30 tagged`.
pub struct VlanWords<'a>(pub &'a PortVlans);

impl fmt::Display for VlanWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged = self.0.tagged();
        match (self.0.native(), tagged.is_empty()) {
            (Some(vid), true) => write!(f, "{vid}"),
            (Some(vid), false) => write!(f, "{vid} untagged, {tagged} tagged"),
            (None, _) => write!(f, "{tagged} tagged"),
        }
    }
}

pub(super) fn parse_vid(text: &str) -> Option<Vid> {
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).and_then(Vid::new)
}

/// Why an endpoint's VLANs are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVlan {
    #[error("VLAN {0} is none that a frame can have; take a number from 1 to 4094")]
    Number(u16),
    #[error("trunk: {0}")]
    Trunk(#[from] ParseVids),
    #[error(
        "network {0:?} is not aware of VLANs; leave --vlan and --trunk out, or make the network with -o vlan=aware"
    )]
    NotAware(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn aware(options: &[(&str, &str)]) -> NetworkRecord {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        let options = options.iter().copied().chain([("vlan", "aware")]);
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        network.options.extend(options);
        network
    }

    #[test]
    fn a_network_is_aware_by_its_options() {
        assert_eq!(sample::network("n", &[]).vlans(), None);
        assert_eq!(aware(&[]).vlans(), Some(VlanConfig::default()));
        let outer = aware(&[("vlan_protocol", "802.1ad"), ("vlan_default", "7")]);
        let expected = VlanConfig {
            protocol: TagProtocol::Service,
            default: Vid::new(7).unwrap(),
        };
        assert_eq!(outer.vlans(), Some(expected));
    }

    #[test]
    fn an_endpoints_vlans_are_checked_and_told() {
        let network = aware(&[]);
        let told = |vlan, trunk: Option<&str>| {
            check_vlans(&network, vlan, trunk).map(|kept| {
                let vlans = read_vlans(vlan, kept.as_deref()).unwrap();
                vlans.map(|vlans| VlanWords(&vlans).to_string())
            })
        };
        let words = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(told(None, None), Ok(None));
        assert_eq!(told(Some(10), None), words("10"));
        assert_eq!(told(None, Some("30,10,20-29")), words("10,20-30 tagged"));
        assert_eq!(
            told(Some(10), Some("10,20-30")),
            words("10 untagged, 20-30 tagged")
        );
        assert_eq!(told(Some(10), Some("10")), words("10"));
        assert_eq!(told(Some(4095), None), Err(BadVlan::Number(4095)));
        assert!(matches!(told(None, Some("x")), Err(BadVlan::Trunk(_))));
        let plain = sample::network("n", &[]);
        let refused = check_vlans(&plain, Some(10), None).unwrap_err();
        assert!(refused.to_string().contains("vlan=aware"), "{refused}");
    }
}

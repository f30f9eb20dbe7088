//! The bridge plugin's words for VLANs: `vlan`, `vlanTrunk` and `preserveDefaultVlan`.
//!
//! A port has one VLAN without tags. The plugin's has the bridge's default one too, for what it sends to the container, unless
//! `preserveDefaultVlan` is false: where a VLAN is named, that is one too many, and is refused if it is asked for.

use crate::cni::wire::{BridgeWords, Failure, INVALID_CONFIG, UNSUPPORTED_FIELD, VlanRange};

/// The VLAN without tags and the list of those with tags, as the agent takes them.
pub(super) fn vlans(bridge: &BridgeWords) -> Result<(Option<u16>, Option<String>), Failure> {
    let vlan = bridge.vlan.filter(|vlan| *vlan != 0);
    let vlan = vlan.map(|vlan| number("vlan", vlan)).transpose()?;
    let ranges = bridge.vlan_trunk.iter().map(range);
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    let trunk = (!ranges.is_empty()).then(|| ranges.join(","));
    match (vlan, bridge.preserve_default_vlan) {
        (Some(_), Some(true)) => Err(Failure::new(
            UNSUPPORTED_FIELD,
            "preserveDefaultVlan true: a port has one VLAN without tags, and vlan says which; leave either out",
        )),
        (None, None | Some(true)) if trunk.is_some() => Ok((Some(DEFAULT), trunk)),
        (vlan, _) => Ok((vlan, trunk)),
    }
}

fn range(range: &VlanRange) -> Result<String, Failure> {
    let checked = |vlan| number("vlanTrunk", vlan);
    match (range.id, range.min_id, range.max_id) {
        (Some(id), None, None) => Ok(checked(id)?.to_string()),
        (None, Some(from), Some(to)) if from <= to => {
            Ok(format!("{}-{}", checked(from)?, checked(to)?))
        }
        _ => Err(Failure::new(
            INVALID_CONFIG,
            "vlanTrunk: write {\"id\": N}, or {\"minID\": N, \"maxID\": M} with N up to M",
        )),
    }
}

fn number(word: &str, vlan: i64) -> Result<u16, Failure> {
    let number = u16::try_from(vlan).ok();
    number
        .filter(|vlan| (1..=MAX).contains(vlan))
        .ok_or_else(|| {
            let message = format!("{word}: {vlan} is no VLAN; take a number from 1 to {MAX}");
            Failure::new(INVALID_CONFIG, message)
        })
}

/// The plugin's bridge has this one unless told otherwise.
const DEFAULT: u16 = 1;
const MAX: u16 = 4094;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::translate::read_config;

    fn read(members: &str) -> Result<(Option<u16>, Option<String>), Failure> {
        let text =
            format!(r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry", {members}}}"#);
        vlans(&read_config(text.as_bytes()).unwrap().bridge)
    }

    #[test]
    fn vlans_are_those_of_the_bridge_plugin() {
        let trunk = |text: &str| Some(text.to_owned());
        let list = r#""vlanTrunk": [{"id": 42}, {"minID": 100, "maxID": 199}]"#;
        for (members, expected) in [
            (r#""mtu": 1500"#.to_owned(), (None, None)),
            (r#""vlan": 0, "vlanTrunk": []"#.to_owned(), (None, None)),
            (r#""vlan": 5"#.to_owned(), (Some(5), None)),
            (list.to_owned(), (Some(1), trunk("42,100-199"))),
            (
                format!(r#"{list}, "preserveDefaultVlan": false"#),
                (None, trunk("42,100-199")),
            ),
            (
                format!(r#"{list}, "vlan": 7"#),
                (Some(7), trunk("42,100-199")),
            ),
            (
                r#""vlan": 7, "preserveDefaultVlan": false"#.to_owned(),
                (Some(7), None),
            ),
        ] {
            assert_eq!(read(&members).unwrap(), expected, "{members}");
        }
    }

    #[test]
    fn what_is_no_vlan_is_refused_by_its_word() {
        for (members, word) in [
            (r#""vlan": 4095"#, "vlan: 4095"),
            (r#""vlan": -1"#, "vlan: -1"),
            (r#""vlanTrunk": [{}]"#, "vlanTrunk"),
            (r#""vlanTrunk": [{"id": 4, "minID": 5}]"#, "vlanTrunk"),
            (r#""vlanTrunk": [{"minID": 9, "maxID": 5}]"#, "vlanTrunk"),
            (r#""vlanTrunk": [{"id": 0}]"#, "vlanTrunk: 0"),
            (
                r#""vlan": 7, "preserveDefaultVlan": true"#,
                "preserveDefaultVlan true",
            ),
        ] {
            let refused = read(members).unwrap_err();
            assert!(refused.message.starts_with(word), "{refused}");
        }
    }
}

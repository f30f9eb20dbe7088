//! What somebody changed at a link, in words.

use std::fmt::Write;

use ipnet::IpNet;

/// What the agent gives a link, or how it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    pub name: String,
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    pub up: bool,
    pub addresses: Vec<IpNet>,
}

/// What a link has no more of what it was given; addresses that it was not given are nobody's business.
pub fn changed(given: &LinkState, found: &LinkState) -> Vec<String> {
    let mut changes = Vec::new();
    if found.name != given.name {
        changes.push(format!(
            "is called {} instead of {}",
            found.name, given.name
        ));
    }
    if given.up && !found.up {
        changes.push("is down".to_owned());
    }
    if found.mtu != given.mtu {
        changes.push(format!("has MTU {} instead of {}", found.mtu, given.mtu));
    }
    if found.mac != given.mac {
        let (found, given) = (shown(found.mac), shown(given.mac));
        changes.push(format!("has MAC {found} instead of {given}"));
    }
    let lost = given.addresses.iter();
    let lost = lost.filter(|address| !found.addresses.contains(address));
    changes.extend(lost.map(|address| format!("has lost {address}")));
    changes
}

fn shown(mac: Option<[u8; 6]>) -> String {
    let Some(mac) = mac else {
        return "none".to_owned();
    };
    let mut text = String::new();
    for byte in mac {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> LinkState {
        LinkState {
            name: "eth0".into(),
            mac: Some([2, 0, 0, 0, 0, 0xab]),
            mtu: 1500,
            up: true,
            addresses: vec!["10.0.0.2/24".parse().unwrap()],
        }
    }

    #[test]
    fn what_was_added_is_no_change() {
        let mut found = given();
        found.addresses.push("192.0.2.1/32".parse().unwrap());
        assert!(changed(&given(), &found).is_empty());
    }

    #[test]
    fn each_change_is_told() {
        let found = LinkState {
            name: "wan".into(),
            mac: None,
            mtu: 1400,
            up: false,
            addresses: Vec::new(),
        };
        let told = [
            "is called wan instead of eth0",
            "is down",
            "has MTU 1400 instead of 1500",
            "has MAC none instead of 02:00:00:00:00:ab",
            "has lost 10.0.0.2/24",
        ];
        assert_eq!(changed(&given(), &found), told);
    }
}

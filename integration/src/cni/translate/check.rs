//! What ADD said beside what is there.

use std::net::IpAddr;

use ipnet::IpNet;

use super::environment::Environment;
use crate::cni::wire::{Failure, GivenResult, INVALID_CONFIG, REFUSED};

/// An interface as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cni) struct Present {
    /// As `02:42:ac:11:00:02`; absent where there is no such interface.
    pub(in crate::cni) mac: Option<String>,
    pub(in crate::cni) addresses: Vec<IpNet>,
    /// Those of the main table that have a gateway.
    pub(in crate::cni) routes: Vec<(IpNet, IpAddr)>,
}

/// Refuses an interface that has lost something of what `said` says. What it has beyond that is others' business.
pub(in crate::cni) fn compare(
    env: &Environment,
    said: &GivenResult,
    present: &Present,
) -> Result<(), Failure> {
    let is_inside =
        |sandbox: &Option<String>| sandbox.as_ref().is_some_and(|path| !path.is_empty());
    let mut interfaces = said.interfaces.iter();
    let at = interfaces.position(|one| one.name == env.ifname && is_inside(&one.sandbox));
    let Some((at, interface)) = at.and_then(|at| Some((at, said.interfaces.get(at)?))) else {
        let message = format!(
            "prevResult has no interface {}; pass what ADD answered",
            env.ifname
        );
        return Err(Failure::new(INVALID_CONFIG, message));
    };
    let lost = |what: String| {
        let message = format!(
            "{} in {} has lost {what}; delete and add it again",
            env.ifname, env.netns
        );
        Err(Failure::new(REFUSED, message))
    };
    let Some(mac) = &present.mac else {
        let message = format!(
            "{} in {} is gone; delete and add it again",
            env.ifname, env.netns
        );
        return Err(Failure::new(REFUSED, message));
    };
    if let Some(said) = interface
        .mac
        .as_ref()
        .filter(|said| !said.eq_ignore_ascii_case(mac))
    {
        return lost(format!("its MAC address {said}"));
    }
    let mut of_it = said
        .ips
        .iter()
        .filter(|ip| ip.interface.is_none_or(|of| of == at));
    if let Some(ip) = of_it.find(|ip| !present.addresses.contains(&ip.address)) {
        return lost(ip.address.to_string());
    }
    let in_main_table = said.routes.iter().filter(|route| route.table.is_none());
    let mut with_gateway = in_main_table.filter_map(|route| Some((route.dst, route.gw?)));
    match with_gateway.find(|route| !present.routes.contains(route)) {
        Some((dst, gw)) => lost(format!("its route to {dst} via {gw}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> GivenResult {
        let said = json!({
            "interfaces": [
                {"name": "veth1", "mac": "02:00:00:00:00:01"},
                {"name": "eth0", "mac": "02:00:00:00:00:AA", "sandbox": "/run/netns/c1"},
            ],
            "ips": [{"address": "10.63.0.9/24", "interface": 1}, {"address": "10.64.0.9/24", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.63.0.1"}, {"dst": "10.63.0.0/24"},
                {"dst": "10.5.0.0/16", "gw": "10.63.0.1", "table": 100}],
        });
        serde_json::from_value(said).unwrap()
    }

    fn present() -> Present {
        Present {
            mac: Some("02:00:00:00:00:aa".into()),
            addresses: vec![
                "10.63.0.9/24".parse().unwrap(),
                "10.1.0.1/8".parse().unwrap(),
            ],
            routes: vec![("0.0.0.0/0".parse().unwrap(), [10, 63, 0, 1].into())],
        }
    }

    fn told(present: &Present) -> String {
        let env = Environment {
            netns: "/run/netns/c1".into(),
            ifname: "eth0".into(),
            ..Environment::default()
        };
        compare(&env, &said(), present).map_or_else(|failure| failure.message, |()| String::new())
    }

    #[test]
    fn what_was_lost_is_named_and_what_others_added_is_not() {
        assert_eq!(told(&present()), "");
        let without = |change: fn(&mut Present)| {
            let mut present = present();
            change(&mut present);
            told(&present)
        };
        assert!(without(|present| present.mac = None).contains("is gone"));
        assert!(
            without(|present| present.mac = Some("02:00:00:00:00:ab".into())).contains("00:AA")
        );
        assert!(without(|present| present.addresses.truncate(0)).contains("10.63.0.9/24"));
        assert!(without(|present| present.routes.clear()).contains("0.0.0.0/0 via 10.63.0.1"));
    }

    #[test]
    fn a_result_without_the_interface_is_not_adds() {
        let refused = compare(&Environment::default(), &said(), &present()).unwrap_err();
        assert_eq!(refused.code, INVALID_CONFIG);
    }
}

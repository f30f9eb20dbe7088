//! The kernel's settings that networks need, and what they were before.
//!
//! # Theory of operation
//!
//! What a setting was before the first change stays on record until nothing needs the change any more; then it is put back.
//! The record is kept before a change is made, so that a change without a record never is.

use crate::firewall::Families;
use crate::record::{NetworkRecord, SettingsRecord, SysctlChange};

/// What the host has to forward: IPv4 for any host port, IPv6 for one of a network with IPv6.
pub fn needed<'r>(networks: impl Iterator<Item = &'r NetworkRecord>) -> Families {
    let mut needed = Families::default();
    for network in networks.filter(|network| network.has_host_port()) {
        needed.ipv4 = true;
        needed.ipv6 |= network.subnet_v6().is_some();
    }
    needed
}

/// Adds what is to be changed to the record of what was. What a setting was before the first change is what counts.
pub fn add(settings: &mut SettingsRecord, changes: &[SysctlChange]) {
    for change in changes {
        match settings
            .changes
            .iter_mut()
            .find(|known| known.name == change.name)
        {
            Some(known) => known.after.clone_from(&change.after),
            None => settings.changes.push(change.clone()),
        }
    }
}

/// Takes off the record what is not needed any more: what is to be put back.
pub fn take_surplus(settings: &mut SettingsRecord, needed: Families) -> Vec<SysctlChange> {
    let is_over = |change: &SysctlChange| !(needed.ipv4 && (needed.ipv6 || !change.is_ipv6()));
    let over = settings.changes.extract_if(.., |change| is_over(change));
    over.collect()
}

/// Whether a change stays although no network needs it: Docker counts on a host that forwards already.
pub fn is_dockers_too(change: &SysctlChange) -> bool {
    change.is_forwarding(false) || change.is_forwarding(true)
}

/// Where the host forwards only since the agent made it.
pub fn own_forwarding(settings: &SettingsRecord) -> Families {
    let is_own = |ipv6| {
        settings
            .changes
            .iter()
            .any(|change| change.is_forwarding(ipv6))
    };
    Families {
        ipv4: is_own(false),
        ipv6: is_own(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn change(name: &str, before: &str) -> SysctlChange {
        SysctlChange {
            name: name.into(),
            before: before.into(),
            after: "1".into(),
        }
    }

    #[test]
    fn what_a_setting_was_first_is_what_is_restored() {
        let mut settings = SettingsRecord::default();
        add(&mut settings, &[change("net/ipv4/ip_forward", "0")]);
        assert_eq!(
            own_forwarding(&settings),
            Families {
                ipv4: true,
                ipv6: false
            }
        );
        add(
            &mut settings,
            &[
                change("net/ipv4/ip_forward", "2"),
                change("net/ipv6/conf/all/forwarding", "0"),
            ],
        );
        assert_eq!(settings.changes[0].before, "0");
        assert_eq!(
            own_forwarding(&settings),
            Families {
                ipv4: true,
                ipv6: true
            }
        );
    }

    #[test]
    fn forwarding_is_needed_for_networks_with_a_way_out() {
        let mut inner = sample::network("inner", &["10.1.0.0/24", "fd01::/64"]);
        inner.internal = true;
        let plain = sample::network("plain", &["10.2.0.0/24"]);
        let both = sample::network("both", &["10.3.0.0/24", "fd03::/64"]);
        let families = |ipv4, ipv6| Families { ipv4, ipv6 };
        assert_eq!(needed([&inner].into_iter()), families(false, false));
        assert_eq!(needed([&inner, &plain].into_iter()), families(true, false));
        assert_eq!(needed([&plain, &both].into_iter()), families(true, true));
    }

    #[test]
    fn what_nothing_needs_is_put_back() {
        let mut settings = SettingsRecord::default();
        let (v4, v6) = ("net/ipv4/ip_forward", "net/ipv6/conf/eth0/accept_ra");
        add(&mut settings, &[change(v4, "0"), change(v6, "1")]);
        let families = |ipv4, ipv6| Families { ipv4, ipv6 };
        assert!(take_surplus(&mut settings, families(true, true)).is_empty());
        let over = take_surplus(&mut settings, families(true, false));
        assert_eq!(over, [change(v6, "1")]);
        assert!(!is_dockers_too(&over[0]));
        let over = take_surplus(&mut settings, families(false, false));
        assert_eq!(over, [change(v4, "0")]);
        assert!(is_dockers_too(&over[0]) && settings.changes.is_empty());
    }
}

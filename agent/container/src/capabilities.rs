//! What a container's processes may do: the set of capabilities(7) that Docker gives, and what was added and dropped.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

/// A set of capabilities, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(u64);

/// Something was to be added or dropped that no kernel knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability; write one of capabilities(7) as NET_ADMIN, or ALL")]
pub struct UnknownCapability(String);

impl Capabilities {
    /// Every one that the agent has, also those that this program has no name for.
    pub const ALL: Self = Self(u64::MAX);

    /// As `docker run --cap-add --cap-drop`: what is added explicitly wins over a drop, and ALL over its opposite.
    /// Names come with or without `CAP_`, in letters of either case.
    pub fn chosen(add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let (added, dropped) = (Named::read(add)?, Named::read(drop)?);
        Ok(Self(match (added.all, dropped.all) {
            (true, _) => !dropped.set,
            (false, true) => added.set,
            (false, false) => (Self::default().0 & !dropped.set) | added.set,
        }))
    }

    /// Those that have a name, in the kernel's order.
    pub fn names(self) -> Vec<String> {
        CapabilitySet::from_bits_truncate(self.0)
            .iter_names()
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    pub(crate) fn hold_sys_admin(self) -> bool {
        self.0 & CapabilitySet::SYS_ADMIN.bits() != 0
    }

    /// Takes everything else from this thread and from all that it executes, for good. Nothing is inherited beside the
    /// bounding set, so a program with other user ids holds nothing.
    ///
    /// A set that shrinks leaves the parent death signal in place (`cred_cap_issubset` in the kernel's `commit_creds`).
    pub(crate) fn keep_only(self) -> io::Result<()> {
        let before = capabilities(None)?;
        let kept = CapabilitySet::from_bits_retain(self.0);
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if kept.contains(one) {
                continue;
            }
            match capability_is_in_bounding_set(one) {
                Ok(true) => remove_capability_from_bounding_set(one)?,
                Ok(false) => {}
                // The kernel has no more than these.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let permitted = before.permitted & kept;
        set_capabilities(
            None,
            CapabilitySets {
                effective: permitted,
                permitted,
                inheritable: CapabilitySet::empty(),
            },
        )?;
        Ok(())
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self(DOCKERS.bits())
    }
}

/// Names as they were given.
#[derive(Default)]
struct Named {
    all: bool,
    set: u64,
}

impl Named {
    fn read(names: &[String]) -> Result<Self, UnknownCapability> {
        let mut named = Self::default();
        for name in names {
            let upper = name.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if bare == "ALL" {
                named.all = true;
                continue;
            }
            let known = CapabilitySet::from_name(bare);
            let one = known.ok_or_else(|| UnknownCapability(name.clone()))?;
            named.set |= one.bits();
        }
        Ok(named)
    }
}

/// Docker's default set: `DefaultCapabilities` in moby's `daemon/pkg/oci/caps/defaults.go`.
const DOCKERS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

#[cfg(test)]
mod tests {
    use super::*;

    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const DEFAULT: u64 = 0xa804_25fb;

    fn chosen(add: &[&str], drop: &[&str]) -> Result<u64, String> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        Capabilities::chosen(&owned(add), &owned(drop))
            .map(|set| set.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_is_the_one_of_docker() {
        assert_eq!(chosen(&[], &[]), Ok(DEFAULT));
    }

    #[test]
    fn names_may_have_the_kernels_prefix_and_any_case() {
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(chosen(&[name], &[]), Ok(DEFAULT | NET_ADMIN), "{name}");
        }
    }

    #[test]
    fn a_set_is_told_by_names() {
        let set = Capabilities::chosen(&["CAP_NET_RAW".to_owned()], &["ALL".to_owned()]);
        assert_eq!(set.unwrap().names(), ["NET_RAW"]);
        assert_eq!(Capabilities::default().names().len(), 14);
        assert!(Capabilities::ALL.names().contains(&"SYS_ADMIN".to_owned()));
    }

    #[test]
    fn additions_and_drops_combine_as_dockers() {
        assert_eq!(chosen(&[], &["NET_RAW"]), Ok(DEFAULT & !NET_RAW));
        assert_eq!(chosen(&[], &["ALL"]), Ok(0));
        assert_eq!(chosen(&["NET_RAW"], &["all"]), Ok(NET_RAW));
        assert_eq!(chosen(&["ALL"], &["NET_RAW"]), Ok(!NET_RAW));
        assert_eq!(chosen(&["NET_RAW"], &["NET_RAW"]), Ok(DEFAULT));
    }

    #[test]
    fn what_is_no_capability_is_named() {
        let expected =
            "\"NET_ADMN\" is no capability; write one of capabilities(7) as NET_ADMIN, or ALL";
        for (add, drop) in [(&["NET_ADMN"][..], &[][..]), (&[], &["NET_ADMN"])] {
            assert_eq!(chosen(add, drop), Err(expected.to_owned()));
        }
        assert!(chosen(&[""], &[]).is_err());
        assert!(chosen(&["CAP_"], &[]).is_err());
    }
}

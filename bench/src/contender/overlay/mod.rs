//! Two hosts, each a namespace, on one wire: what a container on one of them has to do with a container on the other.
//!
//! Every product gets the same hosts and the same wire. Containers with an even address are the first host's.

mod bridged;
mod daemon;
mod kernel_vxlan;
mod nebula;
mod open_vswitch;
mod routed;
mod tapestry;
mod tinc;
mod underlay;
mod wireguard;

use std::cell::RefCell;
use std::net::Ipv4Addr;

use super::{Description, Fabric, Plug, offloads_of};
use crate::trouble::Trouble;

pub(crate) use kernel_vxlan::KernelVxlan;
pub(crate) use nebula::Nebula;
pub(crate) use open_vswitch::OvsVxlan;
pub(crate) use tapestry::TapestryOverlay;
pub(super) use tapestry::{AgentSite, share};
pub(crate) use tinc::Tinc;
pub(super) use underlay::Host;
pub(crate) use underlay::{Underlay, Wire};
pub(crate) use wireguard::WireguardGo;

/// What a product runs on one host. Dropping it ends it.
pub(super) trait Site {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble>;

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble>;

    /// The processes that carry frames; none for a kernel.
    fn processes(&self) -> Vec<u32>;

    /// Frames dropped so far, where they are counted.
    fn drops(&self) -> Result<Option<u64>, Trouble>;
}

/// A product on both hosts. The second site is dropped first: the first may hold what it leaves.
pub(super) struct Overlay<S> {
    sites: [Option<S>; 2],
    version: String,
    setting: String,
    offloads: RefCell<String>,
}

impl<S> Overlay<S> {
    pub(super) fn new(sites: [S; 2], version: String, setting: String) -> Self {
        Self {
            sites: sites.map(Some),
            version,
            setting,
            offloads: RefCell::default(),
        }
    }

    fn site_of(&mut self, plug: &Plug<'_>) -> Option<&mut S> {
        self.sites[host_of(plug.address)].as_mut()
    }
}

impl<S: Site> Fabric for Overlay<S> {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        if let Some(site) = self.site_of(plug) {
            site.attach(plug)?;
        }
        if self.offloads.borrow().is_empty() {
            self.offloads.replace(offloads_of(plug.netns, plug.link));
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        self.site_of(plug).map_or(Ok(()), |site| site.detach(plug))
    }

    fn processes(&self) -> Vec<u32> {
        let sites = self.sites.iter().flatten();
        sites.flat_map(Site::processes).collect()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        let sites = self.sites.iter().flatten();
        sites.map(Site::drops).sum()
    }

    fn describe(&self) -> Description {
        Description {
            version: self.version.clone(),
            setting: self.setting.clone(),
            offloads: self.offloads.borrow().clone(),
        }
    }
}

impl<S> Drop for Overlay<S> {
    fn drop(&mut self) {
        self.sites[1] = None;
    }
}

/// Which host a container is on, by its address.
fn host_of(address: Ipv4Addr) -> usize {
    let [.., last] = address.octets();
    usize::from(last % 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::address_of;

    #[test]
    fn the_first_two_stations_are_on_two_hosts() {
        assert_eq!(
            [0, 1, 2, 3].map(|index| host_of(address_of(index))),
            [0, 1, 0, 1]
        );
    }

    #[test]
    fn the_second_site_goes_first() {
        struct Noted<'l>(&'static str, &'l RefCell<Vec<&'static str>>);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        let gone = RefCell::default();
        let sites = [Noted("first", &gone), Noted("second", &gone)];
        drop(Overlay::new(sites, String::new(), String::new()));
        assert_eq!(gone.into_inner(), ["second", "first"]);
    }
}

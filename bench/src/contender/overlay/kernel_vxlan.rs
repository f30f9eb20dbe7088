//! The kernel's VXLAN device in the kernel's bridge: what container runtimes use between hosts, and the baseline of every
//! ratio. It encrypts nothing.

use super::super::{Contender, Fabric, Plan};
use super::Overlay;
use super::bridged::Bridged;
use super::underlay::{Host, UNDERLAY, VXLAN_OVERHEAD};
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct KernelVxlan;

impl Contender for KernelVxlan {
    fn name(&self) -> &'static str {
        "kernel-vxlan"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        let mtu = plan.underlay.mtu - VXLAN_OVERHEAD;
        let [first, second] = Host::pair(plan.underlay)?;
        let site = |host: Host| {
            host.ip(&format!(
                "link add vx0 mtu {mtu} type vxlan id 42 dstport 4789 local {} remote {} dev {UNDERLAY}",
                host.address, host.remote
            ))?;
            Bridged::new(host, None, "vx0", mtu)
        };
        Ok(Box::new(Overlay::new(
            [site(first)?, site(second)?],
            crate::machine::kernel(),
            "vxlan device in a bridge, veth; plain".to_owned(),
        )))
    }
}

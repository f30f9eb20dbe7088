//! The kernel's bridge with veth pairs: what container runtimes use, and the baseline of every ratio.

use std::cell::RefCell;

use super::{Contender, Description, Fabric, Plan, Plug, offloads_of};
use crate::command::require;
use crate::counters::link_drops;
use crate::netns::Netns;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct KernelBridge;

impl Contender for KernelBridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        Ok(Box::new(Running::start(plan)?))
    }
}

/// A bridge `br0` in a namespace.
pub(super) struct Running {
    pub(super) netns: Netns,
    mtu: u16,
    offloads: RefCell<String>,
}

impl Running {
    pub(super) fn start(plan: &Plan) -> Result<Self, Trouble> {
        require("ip")?;
        let netns = Netns::new("bridge")?;
        veth::in_namespace(
            &netns,
            &format!("link add br0 mtu {} type bridge", plan.mtu),
        )?;
        veth::in_namespace(&netns, "link set br0 up")?;
        Ok(Self {
            netns,
            mtu: plan.mtu,
            offloads: RefCell::default(),
        })
    }
}

impl Fabric for Running {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.netns, &near, plug, self.mtu)?;
        veth::in_namespace(&self.netns, &format!("link set {near} master br0 up"))?;
        if self.offloads.borrow().is_empty() {
            self.offloads.replace(offloads_of(plug.netns, plug.link));
        }
        Ok(())
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        veth::in_namespace(&self.netns, &format!("link del {}", veth::near_end(plug)))
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.netns).map(Some)
    }

    fn describe(&self) -> Description {
        Description {
            version: crate::machine::kernel(),
            setting: "bridge, veth".to_owned(),
            offloads: self.offloads.borrow().clone(),
        }
    }
}

/// Veth pairs between a switch's namespace and a plug's.
pub(super) mod veth {
    use super::super::{PREFIX_LEN, Plug};
    use crate::command::ip;
    use crate::netns::Netns;
    use crate::trouble::Trouble;

    /// The switch's end: named after the address, which is unique.
    pub(in super::super) fn near_end(plug: &Plug<'_>) -> String {
        let [_, _, high, low] = plug.address.octets();
        format!("v{high}-{low}")
    }

    /// Makes the pair; the plug's end is up and addressed, the near end is left down.
    pub(in super::super) fn join(
        switch: &Netns,
        near: &str,
        plug: &Plug<'_>,
        mtu: u16,
    ) -> Result<(), Trouble> {
        let (link, far) = (plug.link, plug.netns.name());
        in_namespace(
            switch,
            &format!("link add {near} mtu {mtu} type veth peer name {link} mtu {mtu} netns {far}"),
        )?;
        in_namespace(
            plug.netns,
            &format!("addr add {}/{PREFIX_LEN} dev {link}", plug.address),
        )?;
        in_namespace(plug.netns, &format!("link set {link} up"))
    }

    pub(in super::super) fn in_namespace(netns: &Netns, arguments: &str) -> Result<(), Trouble> {
        ip(&format!("-n {} {arguments}", netns.name())).map(drop)
    }
}

//! Open vSwitch with its userspace (netdev) datapath and its own VXLAN, from Debian's package.
//!
//! The underlay's link is a port of a bridge of its own, whose address the tunnel starts from, as its manual has it.

use std::process::Command;

use super::super::bridge::veth;
use super::super::open_vswitch::Daemons;
use super::super::{Contender, Fabric, Plan, Plug};
use super::underlay::{Host, UNDERLAY, VXLAN_OVERHEAD};
use super::{Overlay, Site};
use crate::command::require;
use crate::counters::link_drops;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct OvsVxlan;

impl Contender for OvsVxlan {
    fn name(&self) -> &'static str {
        "ovs-vxlan"
    }

    fn start(&self, plan: &Plan) -> Result<Box<dyn Fabric>, Trouble> {
        require("ethtool")?;
        let [first, second] = Host::pair(plan.underlay)?;
        let underlay = plan.underlay.mtu;
        let sites = [
            Switched::start(first, underlay)?,
            Switched::start(second, underlay)?,
        ];
        let version = sites[0].daemons.version()?;
        Ok(Box::new(Overlay::new(
            sites,
            version,
            "netdev datapath with its VXLAN, veth without offloads; plain".to_owned(),
        )))
    }
}

// Fields drop in order: the daemons before their namespace.
struct Switched {
    daemons: Daemons,
    host: Host,
    mtu: u16,
}

impl Switched {
    fn start(host: Host, underlay_mtu: u16) -> Result<Self, Trouble> {
        let daemons = Daemons::start(&host.netns, false)?;
        daemons.add_bridge(OUTER)?;
        add_port(&daemons, OUTER, UNDERLAY, &mtu_request(underlay_mtu))?;
        host.ip(&format!("addr flush dev {UNDERLAY}"))?;
        host.ip(&format!("addr add {}/24 dev {OUTER}", host.address))?;
        host.ip(&format!("link set {OUTER} up"))?;
        daemons.add_bridge(INNER)?;
        let remote = format!("options:remote_ip={}", host.remote);
        let settings = ["type=vxlan", &remote, "options:key=42"];
        add_port(&daemons, INNER, "vx0", &settings.map(str::to_owned))?;
        Ok(Self {
            daemons,
            host,
            mtu: underlay_mtu - VXLAN_OVERHEAD,
        })
    }
}

impl Site for Switched {
    fn attach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        veth::join(&self.host.netns, &near, plug, self.mtu)?;
        self.host.ip(&format!("link set {near} up"))?;
        // What arrives without a vnet header must be whole and small; its tunnels take no superframes.
        let mut off = Command::new("ethtool");
        off.args(["-K", plug.link, "tx", "off"]);
        plug.netns.enter(|| crate::command::run(&mut off))??;
        add_port(&self.daemons, INNER, &near, &mtu_request(self.mtu))
    }

    fn detach(&mut self, plug: &Plug<'_>) -> Result<(), Trouble> {
        let near = veth::near_end(plug);
        self.daemons.ask(&["del-port", INNER, &near])?;
        self.host.ip(&format!("link del {near}"))
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemons.pid()]
    }

    fn drops(&self) -> Result<Option<u64>, Trouble> {
        link_drops(&self.host.netns).map(Some)
    }
}

fn add_port(
    daemons: &Daemons,
    bridge: &str,
    port: &str,
    settings: &[String],
) -> Result<(), Trouble> {
    let mut arguments = vec!["add-port", bridge, port, "--", "set", "interface", port];
    arguments.extend(settings.iter().map(String::as_str));
    daemons.ask(&arguments)
}

fn mtu_request(mtu: u16) -> [String; 1] {
    [format!("mtu_request={mtu}")]
}

/// The containers' bridge, and the underlay's.
const INNER: &str = "br0";
const OUTER: &str = "br-phy";

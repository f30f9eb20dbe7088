//! Links that leave the lab: into the host's namespace, and to another host over VXLAN.

use rustix::process::Signal;

use super::Lab;
use crate::harness::OUTSIDE_IP;

const HOST_LINKS: &str = r#"
name: out
topology:
  defaults: {kind: linux, network-mode: none}
  nodes:
    r1:
    r2:
    sw: {kind: bridge}
  links:
    - endpoints: ["r1:eth1", "host:r1-eth1"]
      ipv4: [10.7.0.1/24]
    - endpoints: ["r2:eth1", "sw:p1"]
      ipv4: [10.8.0.2/24]
    - {type: host, endpoint: {node: sw, interface: p2}, host-interface: sw-p2}
"#;

#[test]
fn links_lead_into_the_hosts_namespace_and_stay_there() {
    let lab = Lab::new("out.clab.yml", HOST_LINKS);
    lab.run("up", &[]).ok();
    let host = &lab.host.netns;
    host.sh("ip address add 10.7.0.254/24 dev r1-eth1 && ip address add 10.8.0.254/24 dev sw-p2");
    lab.pings("r1", "10.7.0.254");
    lab.pings("r2", "10.8.0.254");
    assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");
    lab.host.stop_agent(Signal::KILL);
    lab.host.launch();
    assert_eq!(lab.run("up", &["--dry-run"]).ok(), "nothing to do\n");
    lab.pings("r1", "10.7.0.254");
    lab.pings("r2", "10.8.0.254");
    // One goes, the other one stays.
    lab.write(
        "out.clab.yml",
        &HOST_LINKS.replace("host-interface: sw-p2", "host-interface: sw-p3"),
    );
    let told = lab.run("up", &["--dry-run"]).ok();
    assert_eq!(told, "- interface host:sw-p2\n+ interface host:sw-p3\n");
    lab.run("up", &[]).ok();
    host.sh("ip link show sw-p3 && ! ip link show sw-p2 && ip link show r1-eth1");
    lab.down();
    host.sh("! ip link show r1-eth1");
}

/// The other host is the test's own kernel.
#[test]
fn a_link_leads_to_another_host_over_vxlan() {
    let text = format!(
        "name: far\ntopology:\n  nodes:\n    r1: {{kind: linux, network-mode: none, exec: [ip address add 10.6.0.1/24 dev eth1]}}\n  links:\n    \
         - {{type: vxlan, endpoint: {{node: r1, interface: eth1}}, remote: {OUTSIDE_IP}, vni: 77}}\n"
    );
    let lab = Lab::new("far.clab.yml", &text);
    lab.run("up", &[]).ok();
    let far = &lab.host.outside;
    far.sh("ip link add vx type vxlan id 77 dstport 14789 remote 198.51.100.1 && ip address add 10.6.0.2/24 dev vx && ip link set vx up");
    lab.pings("r1", "10.6.0.2");
    // The tunnel's header has room.
    lab.sh("r1", "ping -c1 -W2 -M do -s 1422 10.6.0.2").ok();
    lab.down();
    far.sh("ip link del vx");
}

//! An agent that dies and is back within its lease: the other hosts keep all they know of it, and etcd goes on.

use std::fs;

use super::{STEP, cluster, cluster_of, create_shared, reaches};
use crate::harness::{Host, eventually};

#[test]
fn a_restart_within_the_lease_changes_nothing_for_the_others() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    // What is told of one network must not take the others away until their turn comes.
    for (network, subnet) in [("far", "10.9.0.0/24"), ("off", "10.10.0.0/24")] {
        create_shared(&lab, network, &["--subnet", subnet]);
        one.idle(&format!("a-{network}"), network, &[]);
        two.idle(&format!("b-{network}"), network, &[]);
        reaches(one, &format!("a-{network}"), &format!("b-{network}"));
    }
    for (killed, other) in [(one, two), (two, one), (one, two)] {
        let before = (tunnels_of(other), kept(killed), kept_session(killed));
        killed.kill_agent_proper();
        eventually(STEP, "it is in step again", || {
            (cluster_of(killed)["in_step"] == true).then_some(())
        });
        reaches(one, "a-far", "b-far");
        reaches(two, "b-off", "a-off");
        let after = (tunnels_of(other), kept(killed), kept_session(killed));
        assert_eq!(before.0, after.0, "the other host made its tunnels anew");
        assert_eq!(before.1, after.1, "etcd or the reset key is another one");
        assert_eq!(before.2[..2], after.2[..2], "the session is another one");
        assert!(before.2[2] < after.2[2], "sequence numbers are used twice");
        assert!(
            !other.log().contains("out of step"),
            "the other host lost its session: {}",
            other.log()
        );
        // What an agent tells after it was back is news, though the address has been told in this session before.
        for round in ["first", "second"] {
            killed.idle(
                round,
                "far",
                &["--ip", "10.9.0.77", "--mac-address", "02:42:0a:09:00:4d"],
            );
            let (near, far) = match std::ptr::eq(killed, one) {
                true => (two, "b-far"),
                false => (one, "a-far"),
            };
            reaches(near, far, "10.9.0.77");
            killed.tapestry(&["rm", "-f", round]).ok();
            if round == "first" {
                killed.kill_agent_proper();
            }
        }
    }
}

/// Every tunnel port, whose number would be another one if it had been opened again.
fn tunnels_of(host: &Host) -> Vec<(u32, String)> {
    let networks = ["far", "off"];
    let ports = networks.into_iter().flat_map(|network| host.ports(network));
    let tunnels = ports.filter(|port| port.kind == "tunnel");
    tunnels.map(|port| (port.port, port.owner)).collect()
}

/// What outlives the agent on disk.
fn kept(host: &Host) -> Vec<Option<String>> {
    let read = |name: &str| fs::read_to_string(host.state_dir().join("cluster").join(name)).ok();
    ["etcd.pid", "reset.key"].map(read).into()
}

/// Lease, epoch, and the lowest sequence number of the agent.
fn kept_session(host: &Host) -> Vec<u64> {
    let path = host.state_dir().join("cluster/session.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

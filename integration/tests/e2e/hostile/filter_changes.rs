//! The packet filter after many small changes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use agent_api::EndpointDetail;
use serde_json::json;

use crate::harness::{HOST_IP, Host, Netns, eventually};
use crate::held::Random;

/// Networks and published ports come and go, each a small change of one table; then somebody deletes that, and all is made at once.
#[test]
fn a_table_that_was_changed_bit_by_bit_is_as_one_made_at_once() {
    let host = Host::start();
    let mut random = Random::seeded();
    let sandbox = Netns::new("e");
    // The host forwards all that it ever will from now on: that is about all networks.
    host.tapestry(&["network", "create", "--ipv6", "lasting"])
        .ok();
    let mut first = number(&host);
    let mut endpoints: BTreeMap<usize, Option<String>> = BTreeMap::new();
    for step in 0..STEPS {
        let place = random.pick(10);
        match endpoints.get(&place).cloned() {
            None => {
                create(&host, place, &mut random);
                endpoints.insert(place, None);
            }
            Some(None) if random.pick(2) == 0 => {
                removed(&host, &format!("/v1/networks/n{place}"));
                endpoints.remove(&place);
            }
            Some(None) => {
                let id = publish(&host, &sandbox, place, &mut random);
                endpoints.insert(place, Some(id));
            }
            Some(Some(id)) => {
                removed(&host, &format!("/v1/endpoints/{id}"));
                endpoints.insert(place, None);
            }
        }
        assert_eq!(number(&host), first, "the table was made anew");
        if step % 10 != 9 {
            continue;
        }
        let changed = table(&host);
        host.netns.sh("nft delete table inet tapestry");
        eventually(STEP, "a table is there", || {
            host.netns
                .sh("nft list tables")
                .contains("tapestry")
                .then_some(())
        });
        assert_eq!(table(&host), changed);
        first = number(&host);
    }
}

#[track_caller]
fn removed(host: &Host, path: &str) {
    let reply = host.api("DELETE", path, None);
    assert!(reply.status < 300, "{path}: {reply:?}");
}

fn create(host: &Host, number: usize, random: &mut Random) {
    let create = json!({
        "name": format!("n{number}"),
        "subnets": [format!("10.66.{number}.0/24")],
        "ipv6": random.pick(2) == 0,
        "internal": random.pick(4) == 0,
    });
    let _: serde_json::Value = host.api("POST", "/v1/networks", Some(&create)).ok();
}

/// Some of this may lead nowhere, as on a network without a way out.
fn publish(host: &Host, sandbox: &Netns, number: usize, random: &mut Random) -> String {
    let (port, ports) = (20_000 + 10 * number, 1 + 2 * random.pick(2));
    let protocol = ["tcp", "udp"][random.pick(2)];
    let host_ip = [None, Some(HOST_IP), Some(Ipv4Addr::LOCALHOST)][random.pick(3)];
    let container_port = port + random.pick(2);
    let publish: Vec<_> = (0..ports)
        .map(|at| json!({"host_ip": host_ip, "host_port": port + at, "container_port": container_port + at, "protocol": protocol}))
        .collect();
    let endpoint = |publish: &[serde_json::Value]| {
        let create = json!({
            "network": format!("n{number}"), "name": format!("e{number}"),
            "sandbox": sandbox.path(), "link": format!("e{number}"), "publish": publish,
        });
        host.api("POST", "/v1/endpoints", Some(&create))
    };
    let mut made = endpoint(&publish);
    if made.status >= 300 {
        made = endpoint(&[]);
    }
    let made: EndpointDetail = made.ok();
    made.id
}

/// What the kernel numbers the table by: another one is another table.
fn number(host: &Host) -> String {
    host.netns.sh("nft -a list tables | grep tapestry")
}

/// The agent's table as `nft` lists it, by chain and set: rules in their order, elements in any, and without what they counted.
fn table(host: &Host) -> BTreeMap<String, Vec<String>> {
    let listed = host.netns.sh("nft -j list table inet tapestry ");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let mut table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in listed["nftables"].as_array().unwrap() {
        let (kind, what) = object.as_object().unwrap().iter().next().unwrap();
        let mut what = what.clone();
        if let Some(what) = what.as_object_mut() {
            what.remove("handle");
        }
        if let Some(elements) = what["elem"].as_array_mut() {
            for element in &mut *elements {
                if let Some(counting) = element.get_mut("elem") {
                    *element = counting["val"].take();
                }
            }
            elements.sort_by_key(ToString::to_string);
        }
        let name = [&what["chain"], &what["name"]]
            .into_iter()
            .find_map(|name| name.as_str());
        let key = format!("{kind} {}", name.unwrap_or_default());
        table.entry(key).or_default().push(what.to_string());
    }
    table
}

const STEPS: usize = 40;
const STEP: Duration = Duration::from_secs(10);

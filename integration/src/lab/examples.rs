//! Files that are labs, what they come to, and what changes of them come to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agent_api::{
    ContainerState, ContainerSummary, EndpointDetail, LinkCounts, LinkDetail, LinkSettings,
    NetworkSummary,
};

use super::model::{Lab, NodeNetwork, Runs, SegmentKind};
use super::plan::{Plan, Present};
use super::{Desired, Environment, Runtime, read};

fn lab(file: &str, text: &str) -> Lab {
    lab_for(None, file, text)
}

fn lab_for(runtime: Option<Runtime>, file: &str, text: &str) -> Lab {
    let env = Environment {
        var: &|name| (name == "TAG").then(|| "9.1".to_owned()),
        is_there: &|path| {
            let names = ["frr.conf", "r1", "r1.startup", "shared", "shared.shutdown"];
            names.iter().any(|name| path.ends_with(name))
        },
        runtime,
        dir: PathBuf::from("/labs/x"),
    };
    read(Path::new(file), text, &env).unwrap()
}

const FRR: &str = r#"
name: frr
mgmt: {network: oob, ipv4-subnet: 172.30.0.0/24}
topology:
  defaults:
    env: {A: "1", B: "1"}
    exec: [ip link show]
  kinds:
    linux: {image: "frrouting/frr:${TAG:=8.4}"}
  groups:
    routers:
      binds: ["frr.conf:/etc/frr/frr.conf:ro"]
      env: {B: "2"}
  nodes:
    r1:
      kind: linux
      group: routers
      env: {C: __clabNodeName__ in __clabLabName__}
      exec:
        - ip address add 10.0.0.1/24 dev eth1
    r2: {kind: linux, image: alpine, mgmt-ipv4: 172.30.0.9, ports: ["8080:80"]}
    sw: {kind: bridge}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
      vars: {delay: 50ms, loss: 10%}
    - endpoints: ["r1:eth2", "sw:a"]
    - endpoints: [{node: r2, interface: eth2, mac: "02:00:00:00:00:02"}, "sw:b"]
      ipv4: [10.9.0.2/24]
      mtu: 1400
"#;

#[test]
fn a_node_inherits_from_group_kind_and_defaults() {
    let lab = lab("frr.clab.yml", FRR);
    let r1 = lab.node("r1").unwrap();
    assert_eq!(r1.container, "clab-frr-r1");
    assert_eq!(r1.image.as_deref(), Some("frrouting/frr:9.1"));
    let env: Vec<_> = r1
        .env
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    assert_eq!(
        env,
        [
            ("A", "1"),
            ("B", "2"),
            ("C", "r1 in frr"),
            ("CLAB_INTFS", "2")
        ]
    );
    assert_eq!(r1.binds, ["/labs/x/frr.conf:/etc/frr/frr.conf:ro"]);
    let starts = r1.script.find("frrinit.sh start").unwrap();
    let shows = r1.script.find("task 'ip' 'link' 'show'").unwrap();
    let adds = r1
        .script
        .find("task 'ip' 'address' 'add' '10.0.0.1/24'")
        .unwrap();
    assert!(starts < shows && shows < adds, "{}", r1.script);
    let r2 = lab.node("r2").unwrap();
    assert!(matches!(r2.runs, Runs::Host(base) if base.name == "base"));
    assert_eq!(r2.network, NodeNetwork::Management);
    assert!(r2.script.contains("ip address add 10.9.0.2/24 dev 'eth2'"));
}

#[test]
fn links_are_cables_and_bridges_switches() {
    let lab = lab("frr.clab.yml", FRR);
    let kinds: Vec<_> = lab
        .segments
        .iter()
        .map(|segment| (&*segment.name, segment.kind, segment.mtu))
        .collect();
    assert_eq!(
        kinds,
        [
            ("sw", SegmentKind::Bridge, Some(1400)),
            ("r1:eth1 -- r2:eth1", SegmentKind::Wire, Some(9500))
        ]
    );
    let desired = Desired::of(&lab);
    let option = |network: usize| desired.networks[network].options["transparent"].as_str();
    assert_eq!([option(0), option(1)], ["false", "true"]);
    let r2 = &desired.nodes[1].create;
    assert_eq!(r2.endpoint.ifname.as_deref(), Some("eth0"));
    assert_eq!(r2.endpoint.ip, Some([172, 30, 0, 9].into()));
    let macs: Vec<_> = r2
        .networks
        .iter()
        .map(|link| link.settings.mac.as_deref().unwrap())
        .collect();
    assert!(
        macs[0].starts_with("aa:c1:ab:") && macs[1] == "02:00:00:00:00:02",
        "{macs:?}"
    );
}

#[test]
fn katharas_lab_is_its_files() {
    let conf = "LAB_NAME=\"two words\"\nr1[0]=\"A/02:00:00:00:00:11\" # first\nr1[1]=B\nr1[bridged]=\"true\"\n\
                r1[image]=\"kathara/frr\"\npc[sysctl]=\"net.ipv4.ip_forward=0\"\npc[0]=\"A\"\npc2[0]='A'\npc2[ipv6]=\"true\"\n";
    let lab = lab("/labs/x/lab.conf", conf);
    assert_eq!(lab.name, "two-words");
    let sysctl = |node: &str, name: &str| lab.node(node).unwrap().sysctls.get(name).cloned();
    let forwards = |node: &str| sysctl(node, "net.ipv4.ip_forward").unwrap();
    assert_eq!(
        [forwards("r1"), forwards("pc"), forwards("pc2")],
        ["1", "0", "1"]
    );
    assert_eq!(
        sysctl("pc2", "net.ipv6.conf.all.forwarding").as_deref(),
        Some("1")
    );
    assert_eq!(sysctl("pc", "net.ipv6.conf.all.disable_ipv6"), None);
    let r1 = lab.node("r1").unwrap();
    assert_eq!(r1.copies, [PathBuf::from("/labs/x/r1")]);
    assert_eq!(r1.binds, ["/labs/x:/hostlab:ro", "/labs/x/shared:/shared"]);
    assert!(
        r1.script
            .contains("task sh -c 'bash '\\''/hostlab/r1.startup'\\'''"),
        "{}",
        r1.script
    );
    assert!(
        r1.script
            .contains("at_end() { bash '/hostlab/shared.shutdown'")
    );
    assert_eq!(r1.stop_timeout_s, 10);
    let kinds: Vec<_> = lab.segments.iter().map(|segment| segment.kind).collect();
    assert_eq!(kinds, [SegmentKind::Bridge, SegmentKind::Wire]);
    let create = &Desired::of(&lab).nodes[0].create;
    let names: Vec<_> = create
        .networks
        .iter()
        .map(|link| (&*link.network, link.settings.ifname.as_deref().unwrap()))
        .collect();
    assert_eq!(names, [("kathara-two-words-B", "eth1"), ("bridge", "eth2")]);
    assert_eq!(create.endpoint.mac.as_deref(), Some("02:00:00:00:00:11"));
}

/// As the agent lists a lab that is up.
fn present(desired: &Desired) -> Present {
    let networks = desired.networks.iter().map(|network| NetworkSummary {
        id: "1".into(),
        name: network.name.clone(),
        driver: network.driver,
        scope: agent_api::Scope::Local,
        no_way_out: None,
        not_here: None,
        overlaps: None,
        labels: network.labels.clone(),
    });
    let containers = desired.nodes.iter().map(|wanted| ContainerSummary {
        id: "1".into(),
        name: wanted.name().to_owned(),
        command: Vec::new(),
        state: ContainerState::Running { pid: 1 },
        created_s: 0,
        since_s: 0,
        publish: Vec::new(),
        networks: Vec::new(),
        vlans: Default::default(),
        labels: wanted.create.labels.clone(),
        restarting: false,
        cut_off: None,
    });
    let endpoints = desired.nodes.iter().flat_map(|wanted| {
        let main = wanted
            .main_network()
            .zip(wanted.create.endpoint.ifname.as_deref());
        let further = wanted.attachments().iter();
        let further =
            further.map(|link| (&*link.network, link.settings.ifname.as_deref().unwrap()));
        main.into_iter()
            .chain(further)
            .map(|(network, link)| EndpointDetail {
                id: "1".into(),
                network: network.into(),
                name: wanted.name().to_owned(),
                mac: String::new(),
                addresses: Vec::new(),
                gateways: Vec::new(),
                link: link.into(),
                port: None,
                aliases: Vec::new(),
                sandbox: None,
                publish: Vec::new(),
                up: true,
                moved: false,
                cut_off: None,
                changed: Vec::new(),
                labels: Default::default(),
                vlan: None,
                trunk: None,
            })
    });
    let links = desired.nodes.iter().flat_map(|wanted| {
        wanted.all_links().map(|(network, settings)| LinkDetail {
            endpoint: format!("{}/{network}", wanted.node),
            name: wanted.name().to_owned(),
            network: network.to_owned(),
            link: settings.ifname.clone().unwrap(),
            up: true,
            settings: LinkSettings {
                // Made up by the agent where nobody chose one.
                seed: settings.impairments.seed.or(Some(1)),
                ..settings.impairments
            },
            to: LinkCounts::default(),
            from: LinkCounts::default(),
        })
    });
    let mut present = Present::of(
        &desired.lab,
        networks.collect(),
        containers.collect(),
        endpoints.collect(),
        links.collect(),
    );
    present.all_networks.extend(
        desired
            .management
            .iter()
            .map(|network| network.name.clone()),
    );
    present
}

fn change(from: &str, to: &str) -> Vec<String> {
    let before = Desired::of(&lab("frr.clab.yml", FRR));
    let after = Desired::of(&lab("frr.clab.yml", &FRR.replace(from, to)));
    Plan::of(&after, &present(&before)).lines().to_vec()
}

#[test]
fn a_lab_that_is_up_needs_nothing() {
    let desired = Desired::of(&lab("frr.clab.yml", FRR));
    assert!(Plan::of(&desired, &present(&desired)).is_empty());
    let fresh = Plan::of(&desired, &Present::default());
    assert_eq!(fresh.lines().len(), 5);
    assert_eq!(fresh.create_containers, fresh.start);
}

#[test]
fn a_change_of_the_file_is_a_change_of_as_little() {
    assert_eq!(
        change("    - endpoints: [\"r1:eth2\", \"sw:a\"]\n", ""),
        ["- interface r1:eth2"],
        "the bridge stays"
    );
    assert_eq!(
        change("[\"r1:eth1\", \"r2:eth1\"]", "[\"r1:eth3\", \"r2:eth1\"]"),
        ["- link r1:eth1 -- r2:eth1", "+ link r1:eth3 -- r2:eth1",]
    );
    assert_eq!(change("10.0.0.1/24", "10.0.0.2/24"), ["~ node r1"]);
    assert_eq!(change("mtu: 1400", "mtu: 1500"), ["~ link sw"]);
}

#[test]
fn vars_of_a_link_go_wrong_at_both_its_ends() {
    let switch = [
        "\"sw:b\"]\n",
        "\"sw:b\"]\n      vars: {rate: 1000, seed: 7, team: blue}\n",
    ];
    let lab = lab("frr.clab.yml", &FRR.replace(switch[0], switch[1]));
    let ends = lab.nodes.iter().flat_map(|node| {
        let each = node.interfaces.iter();
        each.map(move |interface| {
            let LinkSettings { from, to, seed } = interface.impairments;
            format!("{}:{} {from} | {to} {seed:?}", node.name, interface.name)
        })
    });
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [
            "r1:eth1 delay 50ms loss 10% |  None",
            "r1:eth2  |  None",
            "r2:eth1 delay 50ms loss 10% |  None",
            "r2:eth2 rate 1mbit | rate 1mbit Some(7)",
        ]
    );
    let only_back = FRR.replace(
        "[\"r1:eth1\", \"r2:eth1\"]\n      vars: {delay: 50ms, loss: 10%}",
        "[\"r1:eth1\", {node: r2, interface: eth1, vars: {loss: 1}}]",
    );
    let lab = self::lab("frr.clab.yml", &only_back);
    let from = |node: usize| lab.nodes[node].interfaces[0].impairments.from.to_string();
    assert_eq!([from(0), from(1)], ["", "loss 1%"]);
}

#[test]
fn another_impairment_is_changed_in_place() {
    let both = ["~ impairment r1:eth1", "~ impairment r2:eth1"];
    assert_eq!(change("delay: 50ms", "delay: 60ms"), both);
    assert_eq!(change("      vars: {delay: 50ms, loss: 10%}\n", ""), both);
    assert_eq!(change("loss: 10%", "packet-loss: 10"), [""; 0]);
    let before = Desired::of(&lab("frr.clab.yml", FRR));
    let after = FRR.replace("loss: 10%", "loss: 10%, seed: 7");
    let plan = Plan::of(
        &Desired::of(&lab("frr.clab.yml", &after)),
        &present(&before),
    );
    let seeds: Vec<_> = plan.impair.iter().map(|(_, update)| update.seed).collect();
    assert_eq!(
        seeds,
        [Some(7), Some(8)],
        "chance is another one on the way back"
    );
    // A node without a management network has a link as its first.
    let alone = FRR.replace(
        "kind: linux\n      group",
        "kind: linux\n      network-mode: none\n      group",
    );
    let before = Desired::of(&lab("frr.clab.yml", &alone));
    let after = Desired::of(&lab("frr.clab.yml", &alone.replace("50ms", "60ms")));
    assert_eq!(Plan::of(&after, &present(&before)).lines(), both);
}

#[test]
fn what_has_ended_is_made_again_and_down_leaves_nothing() {
    let desired = Desired::of(&lab("frr.clab.yml", FRR));
    let mut present = present(&desired);
    present.containers[0].state = ContainerState::Exited { code: 1 };
    let plan = Plan::of(&desired, &present);
    assert_eq!(plan.lines(), ["~ node r1"]);
    assert_eq!(plan.remove_containers, ["clab-frr-r1"]);
    let down = Plan::down(&present);
    assert_eq!(
        (down.remove_containers.len(), down.remove_networks.len()),
        (2, 2)
    );
    assert!(down.create_networks.is_empty() && down.create_management.is_none());
}

/// A node whose image has no stand-in, beside one whose has.
const IMAGES: &str = r#"
name: x
topology:
  nodes:
    r1:
      kind: linux
      image: holo:1
      entrypoint: /bin/sh -c
      cmd: sleep 9
      user: nobody
      env: {A: b}
      binds: ["frr.conf:/etc/frr.conf:ro"]
      exec: [ip link show]
      sysctls: {net.ipv4.ip_forward: 1, kernel.msgmax: 9}
    r2: {kind: linux, image: alpine}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
      ipv4: [10.0.0.1/24, 10.0.0.2/24]
"#;

#[test]
fn an_image_without_a_stand_in_runs_at_an_engine_on_the_links_of_a_container() {
    let desired = Desired::of(&lab("x.clab.yml", IMAGES));
    let [r1, r2] = &desired.nodes[..] else {
        panic!("{desired:?}");
    };
    assert!(r2.guest.is_none());
    let guest = r1.guest.as_ref().unwrap();
    assert_eq!(guest.image.name, "holo:1");
    assert_eq!(guest.image.entrypoint, ["/bin/sh", "-c"]);
    assert_eq!(guest.image.cmd, ["sleep", "9"]);
    assert_eq!(guest.image.user.as_deref(), Some("nobody"));
    assert_eq!(guest.image.tasks, [["ip", "link", "show"]]);
    assert_eq!(guest.env, ["A=b", "CLAB_INTFS=1"]);
    assert_eq!(guest.binds, ["/labs/x/frr.conf:/etc/frr.conf:ro"]);
    assert_eq!(guest.sysctls, ["kernel.msgmax=9"]);
    let create = &r1.create;
    assert_eq!(
        create.sysctls.keys().collect::<Vec<_>>(),
        ["net.ipv4.ip_forward"]
    );
    assert!(create.env.is_empty() && create.binds.is_empty());
    assert_eq!(create.networks.len(), 1);
    // It runs for the links alone, and has their addresses.
    let script = create.command.last().unwrap();
    assert!(
        script.contains("ip address add 10.0.0.1/24") && !script.contains("link"),
        "{script}"
    );
}

#[test]
fn an_engine_that_is_named_takes_every_image() {
    let is_guest = |lab: &Lab| {
        let desired = Desired::of(lab);
        let nodes = desired.nodes.iter();
        nodes
            .map(|wanted| wanted.guest.is_some())
            .collect::<Vec<_>>()
    };
    let podman = Some(Runtime::Podman);
    assert_eq!(
        is_guest(&lab_for(podman, "frr.clab.yml", FRR)),
        [true, true]
    );
    let lab = lab(
        "frr.clab.yml",
        &FRR.replace("image: alpine", "image: alpine, runtime: docker"),
    );
    assert_eq!(is_guest(&lab), [false, true]);
    let runtimes: Vec<_> = lab.images().map(|(_, image)| image.runtime).collect();
    assert_eq!(runtimes, [Some(Runtime::Docker)]);
    let conf = "pc[0]=\"A\"\nr1[0]=\"A\"\nr1[image]=\"kathara/p4\"\n";
    let lab = self::lab("lab.conf", conf);
    assert_eq!(is_guest(&lab), [false, true]);
    let (_, image) = lab.images().next().unwrap();
    assert_eq!(image.tasks, [["sh", "-c", "bash '/hostlab/r1.startup'"]]);
    assert_eq!(
        image.at_end.as_deref(),
        Some("bash '/hostlab/shared.shutdown'")
    );
}

#[test]
fn an_image_that_does_not_run_on_its_links_is_run_again() {
    let mut lab = lab("x.clab.yml", IMAGES);
    for node in &mut lab.nodes {
        if let Runs::Image(image) = &mut node.runs {
            image.runtime = Some(Runtime::Docker);
        }
    }
    let desired = Desired::of(&lab);
    let mut present = present(&desired);
    let plan = Plan::of(&desired, &present);
    assert_eq!(plan.lines(), ["~ node r1"]);
    assert_eq!(
        plan.remove_guests,
        [(Runtime::Docker, "clab-x-r1".to_owned())]
    );
    present.well.insert("clab-x-r1".to_owned());
    assert!(Plan::of(&desired, &present).is_empty());
    // Whoever runs it, and before it is asked who does.
    let unsettled = Desired::of(&self::lab("x.clab.yml", IMAGES));
    assert!(Plan::of(&unsettled, &present).is_empty());
    let others = IMAGES.replace("A: b", "A: c");
    let others = Desired::of(&self::lab("x.clab.yml", &others));
    assert_eq!(Plan::of(&others, &present).lines(), ["~ node r1"]);
    assert_eq!(Plan::down(&present).remove_guests.len(), 1);
}

const BEYOND: &str = r#"
name: x
topology:
  defaults: {kind: linux}
  nodes: {a: , b: , sw: {kind: bridge}}
  links:
    - {endpoints: ["a:eth1", "host:a-eth1"], vars: {delay: 5ms}}
    - {type: host, endpoint: {node: sw, interface: p1}, host-interface: sw0}
    - {type: vxlan, endpoint: {node: a, interface: eth2}, remote: 192.0.2.2, vni: 7}
    - {type: vxlan, endpoint: {node: sw, interface: p2}, remote: "2001:db8::2", vni: 8, udp-port: 4789, mtu: 1400}
    - endpoints: ["b:eth1", "sw:p3"]
"#;

#[test]
fn links_lead_to_the_host_and_to_other_hosts() {
    let lab = lab("x.clab.yml", BEYOND);
    let desired = Desired::of(&lab);
    let ends: Vec<_> = desired
        .host_links
        .iter()
        .map(|link| (&*link.network, &*link.name))
        .collect();
    assert_eq!(
        ends,
        [
            ("clab-x-sw", "sw0"),
            ("clab-x-a_eth1-host_a-eth1", "a-eth1")
        ]
    );
    let options = |name: &str| {
        let mut networks = desired.networks.iter();
        let network = networks.find(|network| network.name == name).unwrap();
        let option = |key: &str| network.options.get(key).cloned().unwrap_or_default();
        let words = ["remote", "vni", "dstport", "transparent"]
            .map(option)
            .join(" ");
        (network.driver, words, network.mtu)
    };
    let overlay = agent_api::Driver::Overlay;
    assert_eq!(
        options("clab-x-a_eth2"),
        (overlay, "192.0.2.2 7 14789 true".into(), None)
    );
    assert_eq!(
        options("clab-x-sw"),
        (overlay, "2001:db8::2 8 4789 false".into(), Some(1400))
    );
    // Both ways at the node's end: the host's has none.
    let impaired = lab.node("a").unwrap().interfaces[0].impairments;
    assert_eq!(
        [impaired.from.to_string(), impaired.to.to_string()],
        ["delay 5ms", "delay 5ms"]
    );

    let mut present = present(&desired);
    assert_eq!(
        Plan::of(&desired, &present).lines(),
        ["+ interface host:sw0", "+ interface host:a-eth1"]
    );
    for (id, link) in ["7", "8"].into_iter().zip(&desired.host_links) {
        let mut known = present.endpoints[0].clone();
        (known.id, known.network, known.name) =
            (id.into(), link.network.clone(), link.name.clone());
        present.endpoints.push(known);
    }
    assert!(Plan::of(&desired, &present).is_empty());
    let without = BEYOND.replace("host-interface: sw0", "host-interface: sw1");
    let plan = Plan::of(&Desired::of(&self::lab("x.clab.yml", &without)), &present);
    assert_eq!(
        plan.lines(),
        ["- interface host:sw0", "+ interface host:sw1"]
    );
    assert_eq!(Plan::down(&present).remove_host_links, ["7", "8"]);
}

#[test]
fn pictures_have_every_node_and_link() {
    let lab = lab("frr.clab.yml", FRR);
    let counts: BTreeMap<&str, usize> = [
        ("svg", super::svg(&lab).matches("class=\"link\"").count()),
        ("dot", super::dot(&lab).matches(" -- ").count()),
        ("mermaid", super::mermaid(&lab).matches(" ---|").count()),
    ]
    .into();
    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
    for text in [super::svg(&lab), super::dot(&lab), super::mermaid(&lab)] {
        assert!(
            ["r1", "r2", "sw", "eth2"]
                .iter()
                .all(|name| text.contains(name)),
            "{text}"
        );
    }
}

#[test]
fn pictures_show_what_is_beyond_the_lab() {
    let drawn = super::mermaid(&lab("x.clab.yml", BEYOND));
    for line in [
        "n2([\"sw\"])",
        "n3([\"host:sw0\"])",
        "n4([\"vxlan:2001:db8::2\"])",
        "n5([\"host:a-eth1\"])",
        "n0 ---|\"eth1\"| n5",
        "n6([\"vxlan:192.0.2.2\"])",
    ] {
        assert!(drawn.contains(line), "{line}\n{drawn}");
    }
}

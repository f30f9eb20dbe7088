//! Files that are no labs: each is refused in one line, at the place where it is wrong, with what was expected.

use std::path::{Path, PathBuf};

use super::{Environment, read};

/// The message after the file's name.
fn refused(file: &str, text: &str) -> String {
    let env = Environment {
        var: &|name| (name == "IF").then(|| "eth1".to_owned()),
        is_there: &|path| path.starts_with("/there") || path == Path::new("/labs/x/shared"),
        runtime: None,
        dir: PathBuf::from("/labs/x"),
    };
    let refused = read(Path::new(file), text, &env).unwrap_err().to_string();
    assert!(refused.len() < 400, "{refused}");
    assert!(!refused.contains('\n'), "{refused}");
    refused
        .strip_prefix(&format!("{file}:"))
        .unwrap_or_else(|| panic!("{refused}"))
        .to_owned()
}

/// Nodes `a` and `b` that are good, then what is given, from line 8.
fn beside(rest: &str) -> String {
    format!(
        "name: x\ntopology:\n  defaults: {{kind: linux}}\n  nodes:\n    a:\n    b:\n    br: {{kind: bridge}}\n{rest}"
    )
}

/// Something in node `a`, in line 5.
fn in_node(rest: &str) -> String {
    format!("name: x\ntopology:\n  nodes:\n    a:\n      {rest}\n      kind: linux\n")
}

#[test]
fn broken_files_of_containerlab_are_refused_where_they_are_wrong() {
    let mut wrong = Vec::new();
    let whole: [(&str, &str, &str); 17] = [
        ("", "1:1", "it needs name and topology"),
        ("name: x\n", "1:1", "no topology"),
        ("topology: {nodes: {}}\n", "1:1", "write name: NAME"),
        ("name: [x\n", "2:1", "no YAML"),
        ("name: x\n\ttopology: {}\n", "1:7", "found a tab"),
        ("just a text\n", "1:1", "must be a mapping"),
        ("name: x y\ntopology: {}\n", "1:7", "take letters, digits"),
        ("name: x\nname: y\n", "2:1", "stands twice, first in line 1"),
        (
            "name: x\ntopolgy: {}\n",
            "2:1",
            "did you mean \"topology\"?",
        ),
        (
            "name: x\ntopology:\n  nodse: {}\n",
            "3:3",
            "did you mean \"nodes\"?",
        ),
        (
            "name: x\ntopology: {nodes: [a]}\n",
            "2:19",
            "nodes must be a mapping",
        ),
        (
            "name: x\ntopology: {}\n---\nname: y\n",
            "3:1",
            "a second document",
        ),
        ("name: x\ntopology: *y\n", "2:11", "no YAML"),
        ("name: {{ .Name }}\n", "1:7", "begins a Go template"),
        ("name: ${NAME\ntopology: {}\n", "1:7", "without its \"}\""),
        ("name: ${NAME/a/b}\ntopology: {}\n", "1:7", "is no variable"),
        (
            "name: x\nmgmt: {ipv4-subnet: 10.0.0.0/99}\ntopology: {}\n",
            "2:21",
            "is not a subnet",
        ),
    ];
    for (text, at, told) in whole {
        let message = refused("x.clab.yml", text);
        if !message.starts_with(&format!("{at}: ")) || !message.contains(told) {
            wrong.push(format!("{text}\n  {message}"));
        }
    }
    let in_nodes = [
        ("imgae: alpine", "5:7", "did you mean \"image\"?"),
        ("group: {a: b}", "5:14", "group must be a text"),
        ("runtime: rkt", "5:16", "is not docker or podman"),
        ("privileged: true", "5:19", "take cap-add"),
        ("exec: ip link", "5:13", "exec must be a list"),
        ("exec: [\"echo 'a\"]", "5:14", "lacks the second '"),
        ("binds: [/there]", "5:15", "is not HOST:NODE"),
        ("binds: [\"/there:a\"]", "5:15", "must be an absolute path"),
        (
            "binds: [\"frr.conf:/etc/frr.conf\"]",
            "5:15",
            "there is no /labs/x/frr.conf",
        ),
        ("ports: [\"80:a\"]", "5:15", "is not [[IP:]HOST:]CONTAINER"),
        ("memory: lots", "5:15", "is no amount"),
        ("cpu: many", "5:12", "is no amount of processors"),
        (
            "mgmt-ipv4: 10.0.0.5",
            "5:18",
            "is not in the management network",
        ),
        (
            "mgmt-ipv4: fd00::1",
            "5:18",
            "is not an address of that family",
        ),
        (
            "network-mode: bond",
            "5:21",
            "is not none, host or container:NAME",
        ),
        ("user: frr", "5:13", "run as root"),
        (
            "dns: {server: [1.1.1.1]}",
            "5:13",
            "did you mean \"servers\"?",
        ),
        ("dns: {servers: [here]}", "5:23", "is not a name server"),
        ("stages: {}", "5:7", "not taken here yet"),
        ("restart-policy: often", "5:23", "unless-stopped"),
        ("env: [A=b]", "5:12", "env must be a mapping"),
    ];
    for (line, at, told) in in_nodes {
        let message = refused("x.clab.yml", &in_node(line));
        if !message.starts_with(&format!("{at}: ")) || !message.contains(told) {
            wrong.push(format!("{line}\n  {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kinds = [
        ("kind: nokia_srlinux", "needs its vendor's image"),
        ("kind: linus", "did you mean \"linux\"?"),
        ("image: alpine", "has no kind"),
    ];
    for (line, told) in kinds {
        let text = format!("name: x\ntopology:\n  nodes:\n    a:\n      {line}\n");
        let message = refused("x.clab.yml", &text);
        assert!(message.contains(told), "{line}\n{message}");
    }
}

#[test]
fn broken_links_are_refused_where_they_are_wrong() {
    let mut wrong = Vec::new();
    let link = |text: &str| format!("  links:\n    - {text}\n");
    for (text, at, told) in [
        (
            "endpoints: [\"a:eth1\"]",
            "9:18",
            "a link has two endpoints",
        ),
        (
            "endpoints: [\"a:eth1\", \"b\"]",
            "9:29",
            "is \"node:interface\"",
        ),
        (
            "endpoints: [\"a:eth1\", \"bb:eth1\"]",
            "9:29",
            "did you mean \"b\"?",
        ),
        (
            "endpoints: [\"a:$IF\", \"zzz:eth1\"]",
            "9:28",
            "there is no node \"zzz\"",
        ),
        (
            "endpoints: [\"a:eth1\", \"a:eth2\"]",
            "9:29",
            "both ends are node a's",
        ),
        (
            "endpoints: [\"a:eth0\", \"b:eth1\"]",
            "9:19",
            "is on the management network",
        ),
        (
            "endpoints: [\"a:ethernet-sixteen\", \"b:eth1\"]",
            "9:19",
            "at most 15 letters",
        ),
        (
            "endpoints: [\"a:eth1\", \"macvlan:eth0\"]",
            "9:29",
            "take host:NAME",
        ),
        (
            "endpoints: [\"a:eth1\", \"host:no/name\"]",
            "9:29",
            "at most 15 letters",
        ),
        (
            "endpoints: [\"host:x\", \"host:y\"]",
            "9:7",
            "both ends are the host's",
        ),
        (
            "{type: mgmt-net, endpoint: {node: a, interface: eth1}}",
            "9:14",
            "on the management network by eth0",
        ),
        (
            "{type: host, endpoint: {node: a, interface: eth1}}",
            "9:7",
            "needs host-interface",
        ),
        (
            "{type: vxlan, endpoint: {node: a, interface: eth1}, remote: 192.0.2.2, vni: many}",
            "9:83",
            "is not a VNI",
        ),
        (
            "{type: vxlan, endpoint: {node: a, interface: eth1}, remote: 192.0.2.2, vni: 7, src-port: 9}",
            "9:96",
            "the agent's to choose",
        ),
        (
            "endpoint: [\"a:eth1\", \"b:eth1\"]",
            "9:7",
            "a link needs endpoints",
        ),
        (
            "{type: vteh, endpoints: [\"a:eth1\", \"b:eth1\"]}",
            "9:14",
            "did you mean \"veth\"?",
        ),
        (
            "{type: vxlan, endpoints: [\"a:eth1\", \"b:eth1\"]}",
            "9:7",
            "a vxlan link needs remote",
        ),
        (
            "{mtu: 70000, endpoints: [\"a:eth1\", \"b:eth1\"]}",
            "9:13",
            "is not between",
        ),
        (
            "{endpoints: [{node: a, interface: eth1, mac: 1}, \"b:eth1\"]}",
            "9:52",
            "is no MAC address",
        ),
        (
            "{endpoints: [{node: a}, \"b:eth1\"]}",
            "9:20",
            "an endpoint needs interface:",
        ),
        (
            "{endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/33]}",
            "9:48",
            "with its prefix length",
        ),
        (
            "{endpoints: [\"a:eth1\", \"b:eth1\"], vars: {delay: 50}}",
            "9:55",
            "delay of the link: \"50\" has no unit",
        ),
        (
            "{endpoints: [\"a:eth1\", \"b:eth1\"], vars: {delay: 50ms, distribution: normle}}",
            "9:75",
            "write normal",
        ),
    ] {
        let message = refused("x.clab.yml", &beside(&link(text)));
        if !message.starts_with(&format!("{at}: ")) || !message.contains(told) {
            wrong.push(format!("{text}\n  {message}"));
        }
    }
    let twice =
        link("endpoints: [\"a:eth1\", \"b:eth1\"]\n    - endpoints: [\"a:eth1\", \"br:x\"]");
    assert!(
        refused("x.clab.yml", &beside(&twice)).contains("10:19: a:eth1 is an end of two links")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let twice = link("endpoints: [\"a:eth1\", \"br:x\"]\n    - endpoints: [\"a:eth2\", \"br:y\"]");
    assert!(refused("x.clab.yml", &beside(&twice)).contains("on this bridge twice"));
}

#[test]
fn broken_files_of_kathara_are_refused_where_they_are_wrong() {
    let mut wrong = Vec::new();
    for (text, at, told) in [
        ("pc1\n", "1:1", "is no line of lab.conf"),
        ("pc1[0]=\"A\n", "1:8", "the second \" is missing"),
        ("\npc1[0]=\n", "2:1", "a value is missing"),
        ("pc1[0]=\"A\" \"B\"\n", "1:12", "one value a line"),
        (
            "pc1[imgae]=\"kathara/base\"\n",
            "1:5",
            "did you mean \"image\"?",
        ),
        ("pc1[0]=\"A B\"\n", "1:9", "names no collision domain"),
        ("pc1[0]=\"A/02:00\"\n", "1:9", "is no MAC address"),
        ("pc1[1]=\"A\"\n", "1:9", "has no interface 0"),
        ("pc1[0]=\"A\"\npc1[0]=\"B\"\n", "2:9", "stands twice"),
        ("pc1[0]=\"A\"\npc1[1]=\"A\"\n", "2:9", "on domain A twice"),
        ("pc1[99]=\"A\"\n", "1:5", "are numbered 0 to 62"),
        ("LAB_NMAE=\"x\"\n", "1:1", "did you mean \"LAB_NAME\"?"),
        ("pc 1[0]=\"A\"\n", "1:1", "names no device"),
        (
            "pc1[sysctl]=\"net.ipv4.ip_forward\"\n",
            "1:14",
            "is not NAME=VALUE",
        ),
        (
            "pc1[bridged]=\"perhaps\"\n",
            "1:15",
            "is neither true nor false",
        ),
        (
            "pc1[port]=\"80:80\"\n",
            "1:12",
            "lead to a bridged device only",
        ),
    ] {
        let message = refused("lab.conf", text);
        if !message.starts_with(&format!("{at}: ")) || !message.contains(told) {
            wrong.push(format!("{text}\n  {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_small_file_cannot_blow_up() {
    let mut text = String::from("name: x\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(refused("x.clab.yml", &text).contains("aliases counted"));
    let deep = format!("name: {}\n", "[".repeat(100));
    assert!(refused("x.clab.yml", &deep).contains("nested deeper"));
    assert!(
        super::read(
            Path::new("x.clab.yml"),
            &"#".repeat(2 << 20),
            &Environment {
                var: &|_| None,
                is_there: &|_| false,
                runtime: None,
                dir: PathBuf::new(),
            }
        )
        .is_err()
    );
}

//! What networks are made with, and what is refused.

use super::engine::{Docker, IMAGE};

/// An address of each IPAM driver, and what is learned of the network.
#[test]
fn a_network_has_the_addresses_of_any_ipam_driver() {
    let docker = Docker::start();
    let create = |name: &str, options: &[&str]| {
        let head = ["network", "create", "-d", "tapestry"];
        docker.docker(&[&head, options, &[name]].concat()).ok();
        docker.idle(&format!("on-{name}"), name, &[]);
        docker.host.network(name)
    };
    let dockers = create("dockers", &[]);
    let given = docker.address("on-dockers", "dockers");
    assert!(dockers.subnets[0].contains(&given.parse::<std::net::IpAddr>().unwrap()));
    // Docker begins at the lower end of a subnet of its own choice, the agent in the middle.
    docker.host.idle("ours", "dockers", &[]);
    assert!(
        docker.pings("on-dockers", "ours")
            || docker.pings("on-dockers", &docker.host.ipv4("ours").to_string())
    );
    let own = create("own", &["--ipam-driver", "tapestry"]);
    assert_eq!(
        docker.address("on-own", "own"),
        own.subnets[0].hosts().nth(1).unwrap().to_string()
    );
    let both = create("both", &["--ipam-driver", "tapestry", "--ipv6"]);
    assert_eq!(both.subnets.len(), 2);
    let v6 = "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}";
    assert_eq!(
        docker.inspect("on-both", v6),
        both.subnets[1].hosts().nth(2).unwrap().to_string()
    );
    let null = create("null", &["--ipam-driver", "null"]);
    assert_eq!(null.subnets, []);
    assert_eq!(docker.address("on-null", "null"), "");
    assert!(
        docker
            .exec("on-null", "ip link show eth0")
            .ok()
            .contains("mtu 1500")
    );
    let narrow = create(
        "narrow",
        &[
            "--ipam-driver",
            "tapestry",
            "--subnet",
            "10.71.0.0/24",
            "--ip-range",
            "10.71.0.64/30",
            "--gateway",
            "10.71.0.254",
            "--aux-address",
            "other=10.71.0.64",
        ],
    );
    assert_eq!(
        narrow.gateways,
        ["10.71.0.254".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(docker.address("on-narrow", "narrow"), "10.71.0.65");
    docker.host.tapestry(&["rm", "-f", "ours"]).ok();
}

/// Docker's documented examples, with the driver's name as an option.
#[test]
fn networks_of_macvlan_and_ipvlan_are_the_lan_of_their_parent() {
    let docker = Docker::start();
    for driver in ["driver=macvlan", "driver=ipvlan"] {
        let head = ["network", "create", "-d", "tapestry", "-o", driver];
        let rest = [
            "--subnet=198.51.100.0/24",
            "--ip-range=198.51.100.64/26",
            "--gateway=198.51.100.2",
            "-o",
            "parent=up0",
            "pub_net",
        ];
        docker.docker(&[&head[..], &rest].concat()).ok();
        docker.idle("on", "pub_net", &[]);
        let own = docker.address("on", "pub_net");
        assert!(docker.host.outside.pings(&own), "{driver}: the LAN");
        assert!(docker.host.netns.pings(&own), "{driver}: the host");
        assert!(docker.pings("on", "198.51.100.2"), "{driver}");
        docker.docker(&["rm", "-f", "on"]).ok();
        docker.docker(&["network", "rm", "pub_net"]).ok();
    }
}

#[test]
fn a_network_that_is_there_is_shared_with_our_own_containers() {
    let docker = Docker::start();
    let tapestry = |arguments: &[&str]| docker.host.tapestry(arguments).ok();
    tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "red"]);
    docker.host.idle("ours", "red", &[]);
    let create = ["network", "create", "-d", "tapestry", "-o", "network=red"];
    let told = docker.docker(&[&create[..], &["red"]].concat()).refused(1);
    assert!(told.contains("10.63.0.0/24"), "{told}");
    let opt = ["--ipam-driver", "tapestry", "--ipam-opt", "network=red"];
    let told = docker
        .docker(&[&create[..], &opt, &["red"]].concat())
        .refused(1);
    assert!(told.contains("--subnet 10.63.0.0/24"), "{told}");
    let ipam = ["--ipam-driver", "tapestry", "--subnet", "10.63.0.0/24"];
    docker.docker(&[&create[..], &ipam, &["red"]].concat()).ok();
    docker
        .docker(&[&create[..], &["--ipam-driver", "null", "red-too"]].concat())
        .ok();
    // What Docker's own resolver does not know, the network's answers: by itself, or asked by name.
    docker.idle("theirs", "red", &[]);
    docker.idle("theirs-too", "red-too", &["--dns", "10.63.0.1"]);
    assert_eq!(docker.address("theirs", "red"), "10.63.0.3");
    assert_eq!(docker.address("theirs-too", "red-too"), "10.63.0.4");
    for (one, other) in [
        ("theirs", "ours"),
        ("theirs", "theirs-too"),
        ("theirs-too", "ours"),
        ("theirs-too", "theirs"),
    ] {
        assert!(docker.pings(one, other), "{one} {other}");
    }
    for other in ["theirs", "theirs-too"] {
        docker
            .host
            .exec("ours", &format!("ping -c1 -W2 {other}"))
            .ok();
    }
    docker.docker(&["rm", "-f", "theirs", "theirs-too"]).ok();
    docker.docker(&["network", "rm", "red", "red-too"]).ok();
    // It was there before.
    assert_eq!(docker.host.network("red").endpoints.len(), 1);
}

/// By the name that Docker gave it, as soon as Docker has told.
#[test]
fn our_own_containers_get_on_a_network_of_dockers() {
    let docker = Docker::start();
    docker.network("web", &["--ipam-driver", "tapestry"]);
    docker.await_name("web");
    docker.host.idle("ours", "web", &[]);
    docker.idle("theirs", "web", &[]);
    docker.host.exec("ours", "ping -c1 -W2 theirs").ok();
    assert!(docker.pings("theirs", "ours"));
    docker.docker(&["rename", "theirs", "renamed"]).ok();
    crate::harness::eventually(
        std::time::Duration::from_secs(5),
        "the new name is known",
        || (docker.host.exec("ours", "ping -c1 -W2 renamed").status == 0).then_some(()),
    );
    docker.docker(&["rm", "-f", "renamed"]).ok();
    // The engine does not listen to a driver that keeps a network; ours stays where its container needs it.
    docker.docker(&["network", "rm", "web"]).ok();
    docker.host.exec("ours", "ping -c1 -W2 ours").ok();
    assert_eq!(docker.host.network("web").endpoints.len(), 1);
}

#[test]
fn what_has_no_meaning_here_is_refused_by_name() {
    let docker = Docker::start();
    let refused = |options: &[&str]| {
        let head = ["network", "create", "-d", "tapestry"];
        docker
            .docker(&[&head, options, &["web"]].concat())
            .refused(1)
    };
    for (options, parts) in [
        (&["-o", "enacp=quic"][..], &["enacp", "encap"][..]),
        (
            &["-o", "com.docker.network.bridge.name=br0"],
            &["bridge.name"],
        ),
        (
            &["-o", "network=nonet", "--ipam-driver", "null"],
            &["nonet"],
        ),
        (&["-o", "vni=7"], &["cluster"]),
        (&["-o", "bum=many"], &["bum=many"]),
        (
            &["--subnet", "10.72.0.0/24", "--subnet", "10.73.0.0/24"],
            &["leave 10.72.0.0/24 or 10.73.0.0/24 out"],
        ),
        (
            &["--ipam-driver", "tapestry", "--ipam-opt", "net=red"],
            &["net", "network=NAME"],
        ),
    ] {
        let told = refused(options);
        for part in parts {
            assert!(told.contains(part), "{options:?}: {told}");
        }
    }
    assert_eq!(docker.host.networks().len(), 3, "the predefined ones");
    // Another driver with our addresses is noticed at its first container.
    docker
        .docker(&[
            "network",
            "create",
            "-d",
            "bridge",
            "--ipam-driver",
            "tapestry",
            "other",
        ])
        .ok();
    let told = docker
        .docker(&["run", "--rm", "--network", "other", IMAGE, "true"])
        .refused(125);
    assert!(told.contains("-d tapestry"), "{told}");
    docker.network("web", &[]);
    let told = docker
        .docker(&[
            "run",
            "--rm",
            "--network",
            "web",
            "-p",
            "9:9/sctp",
            IMAGE,
            "true",
        ])
        .refused(125);
    assert!(told.contains("sctp"), "{told}");
    assert_eq!(docker.host.network("web").endpoints, []);
    // Prune takes what nobody uses.
    let pruned = docker.docker(&["network", "prune", "-f"]).ok();
    assert!(pruned.contains("web"), "{pruned}");
    assert_eq!(docker.host.networks().len(), 3);
}

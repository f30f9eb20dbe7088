//! `--network` in its long form and several times, `--add-host` and `--sysctl`.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use super::one_line;
use crate::harness::{HOST_IP, Host, enter};
use crate::publish::ask_tcp;

#[test]
fn a_container_is_on_several_networks_from_its_start() {
    let host = Host::start();
    for (network, subnet) in [("front", "10.71.1.0/24"), ("back", "10.71.2.0/24")] {
        host.tapestry(&["network", "create", "--subnet", subnet, network])
            .ok();
    }
    let front = "name=front,alias=www,alias=site,ip=10.71.1.9";
    let back = "name=back,ip=10.71.2.9,mac-address=02:00:00:00:00:09,alias=store";
    let options = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        front,
        "--network",
        back,
    ];
    host.tapestry(&[&options[..], &["--", "sleep", "1000"]].concat())
        .ok();
    host.idle("client", "back", &[]);
    let look = || {
        let shown = host.exec(
            "web",
            "ip -o -4 addr show; ip route; cat /etc/hosts; cat /sys/class/net/eth1/address",
        );
        for expected in [
            "eth0    inet 10.71.1.9/24",
            "eth1    inet 10.71.2.9/24",
            "default via 10.71.1.1 dev eth0",
            "10.71.2.9\t",
            "02:00:00:00:00:09",
        ] {
            assert!(
                shown.stdout.contains(expected),
                "no {expected:?} in {shown:?}"
            );
        }
        host.exec("client", "ping -c1 -W2 web && ping -c1 -W2 store")
            .ok();
    };
    look();
    host.tapestry(&["restart", "-t", "0", "web"]).ok();
    look();
    let networks = host.container("web").summary.networks.len();
    assert_eq!(networks, 2);

    // The way in is by the one that is not internal.
    host.tapestry(&["network", "create", "--internal", "inner"])
        .ok();
    let both = ["--network", "inner", "--network", "back", "-p", "8088:80"];
    let options = [&["run", "-d", "--name", "inside"], &both[..]].concat();
    host.tapestry(&[&options[..], &["--", "sleep", "1000"]].concat())
        .ok();
    let listener = enter(&host.sandbox("inside"), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))
    });
    let listener = listener.unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let said = ask_tcp(&host.outside.path(), (HOST_IP, 8088));
    assert_eq!(said.as_deref(), Some("hello"));
    serving.join().unwrap();

    for (networks, told) in [
        (&["front", "name=front,ip=10.71.1.8"][..], "given twice"),
        (&["front", "host"], "--network host goes with no other"),
        (&["front", "nowhere"], "no network \"nowhere\""),
        (&["name=front,driver-opt=a=b"], "driver-opt is not taken"),
        (&["alias=a,ip=10.71.1.8"], "name is missing"),
    ] {
        let given = networks.iter().flat_map(|network| ["--network", network]);
        let words: Vec<&str> = ["run", "--name", "refused"]
            .into_iter()
            .chain(given)
            .chain(["true"])
            .collect();
        one_line(&host.tapestry(&words), told);
        assert!(!host.is_known("refused"), "{networks:?}");
    }
}

#[test]
fn hosts_and_kernel_settings_are_the_containers_own() {
    let host = Host::start();
    let before = host
        .netns
        .sh("sysctl -n net.ipv4.ip_default_ttl net.ipv4.conf.lo.log_martians");
    let options = [
        "run",
        "-d",
        "--name",
        "web",
        "--add-host",
        "db:10.0.0.9",
        "--add-host",
        "up:host-gateway",
    ];
    let settings = [
        "--sysctl",
        "net.ipv4.ip_default_ttl=42",
        "--sysctl",
        "net.ipv4.conf.eth0.log_martians=1",
    ];
    host.tapestry(&[&options[..], &settings, &["--", "sleep", "1000"]].concat())
        .ok();
    let shown = host.exec("web", "cat /etc/hosts /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/conf/eth0/log_martians");
    assert!(
        shown
            .stdout
            .contains("10.0.0.9\tdb\n172.17.0.1\tup\n42\n1\n"),
        "{shown:?}"
    );
    host.exec("web", "ping -c1 -W2 up").ok();
    assert_eq!(
        host.netns
            .sh("sysctl -n net.ipv4.ip_default_ttl net.ipv4.conf.lo.log_martians"),
        before,
        "the host's are its own"
    );

    host.tapestry(&["network", "create", "--internal", "inner"])
        .ok();
    for (options, told) in [
        (&["--sysctl", "kernel.shmmax=1"][..], "only net.* is set"),
        (
            &["--sysctl", "net.ipv4.no_such=1"],
            "net.ipv4.no_such cannot be 1",
        ),
        (&["--sysctl", "net/../kernel/panic=1"], "NAME=VALUE"),
        (
            &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
            "--sysctl needs a network of its own",
        ),
        (&["--add-host", "db"], "NAME:ADDRESS"),
        (
            &["--network", "inner", "--add-host", "up:host-gateway"],
            "a way to the host",
        ),
    ] {
        one_line(
            &host.tapestry(&[&["run", "--name", "refused"], options, &["true"]].concat()),
            told,
        );
        assert!(!host.is_known("refused"), "{options:?}");
    }
}

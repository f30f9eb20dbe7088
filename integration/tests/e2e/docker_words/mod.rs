//! What somebody types who knows Docker's command line: it does the same here, or is told what to use.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use agent_api::ContainerState;
use rustix::process::{Signal, kill_process};

use crate::harness::{HOST_IP, Host, Output, enter, eventually};
use crate::publish::ask_tcp;

#[test]
fn open_ports_are_picked_and_shown_by_port() {
    let host = Host::start();
    let web = ["run", "-d", "--name", "web", "-h", "web"];
    let ports = [
        "-p",
        "80",
        "-p",
        "127.0.0.1::81/udp",
        "-P",
        "--expose",
        "80-82",
    ];
    host.tapestry(&[&web[..], &ports, &["--", "sleep", "1000"]].concat())
        .ok();

    let shown = host.tapestry(&["port", "web"]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 7, "{shown}");
    assert!(lines[0].starts_with("80/tcp -> 0.0.0.0:"), "{shown}");
    assert!(lines[1].starts_with("80/tcp -> [::]:"), "{shown}");
    assert!(lines[4].starts_with("81/udp -> 127.0.0.1:"), "{shown}");
    let first = host.tapestry(&["port", "web", "80"]).ok();
    let picked: u16 = first
        .lines()
        .next()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let listener = enter(&host.sandbox("web"), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))
    });
    let listener = listener.unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let said = ask_tcp(&host.outside.path(), (HOST_IP, picked));
    assert_eq!(said.as_deref(), Some("hello"));
    serving.join().unwrap();
    one_line(
        &host.tapestry(&["port", "web", "80/udp"]),
        "no public port '80/udp' published for web",
    );
    one_line(
        &host.tapestry(&["port", "web", "80/sctp"]),
        "sctp is not published",
    );
    let switch = host.tapestry(&["port", "ls", "bridge"]).ok();
    assert!(
        switch.starts_with("PORT") && switch.contains("web"),
        "{switch}"
    );

    host.tapestry(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(host.tapestry(&["port", "web"]).ok(), "");
}

#[test]
fn the_first_free_port_of_a_range_is_taken() {
    let host = Host::start();
    // Somebody on the host has the second one.
    let taken = enter(&host.netns.path(), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8001))
    })
    .unwrap();
    let run = |name: &str| {
        let head = [
            "run",
            "-d",
            "--name",
            name,
            "-p",
            "8000-8002:80",
            "-p",
            "9000:81",
        ];
        let head = &head[..if name == "one" { 8 } else { 6 }];
        host.tapestry(&[head, &["--", "sleep", "1000"]].concat())
    };
    for (name, port) in [("one", 8000), ("two", 8002)] {
        run(name).ok();
        let shown = host.tapestry(&["port", name, "80"]).ok();
        assert!(
            shown.starts_with(&format!("0.0.0.0:{port}\n")),
            "{name}: {shown}"
        );
    }
    one_line(&run("three"), "8002/tcp is published by container \"two\"");
    assert!(!host.is_known("three"));
    drop(taken);
    run("three").ok();
    assert!(
        host.tapestry(&["port", "three"])
            .ok()
            .contains("80/tcp -> 0.0.0.0:8001\n")
    );
    // It keeps its port when it starts again.
    host.tapestry(&["restart", "-t", "0", "two"]).ok();
    assert!(host.tapestry(&["port", "two"]).ok().contains(":8002\n"));
    one_line(
        &host.tapestry(&["run", "-p", "8000-8001:80-82", "true"]),
        "ranges of different sizes",
    );
    one_line(
        &host.tapestry(&["run", "-p", "80/sctp", "true"]),
        "sctp is not published",
    );
}

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

#[test]
fn a_container_that_fails_is_started_again_as_often_as_was_said() {
    let host = Host::start();
    let script = "echo ran; exit 3";
    let options = ["run", "-d", "--name", "job", "--restart", "on-failure:2"];
    host.tapestry(&[&options[..], &["--", "sh", "-c", script]].concat())
        .ok();
    eventually(Duration::from_secs(10), "three runs, and no more", || {
        let ended = host.container("job");
        let is_over =
            ended.summary.state == ContainerState::Exited { code: 3 } && !ended.summary.restarting;
        (is_over && ended.restarts == 2).then_some(())
    });
    assert_eq!(host.tapestry(&["logs", "job"]).ok(), "ran\nran\nran\n");
    one_line(
        &host.tapestry(&["run", "--rm", "--restart", "always", "true"]),
        "'--restart <POLICY>'",
    );
    one_line(
        &host.tapestry(&["run", "--restart", "sometimes", "true"]),
        "unless-stopped",
    );

    // One that never ran is no case for it.
    let missing = [
        "run",
        "-d",
        "--name",
        "missing",
        "--restart",
        "always",
        "--",
        "/no/such/command",
    ];
    assert_eq!(host.tapestry(&missing).status, 127);
    let state = host.container("missing");
    assert!(
        !state.summary.restarting && state.restarts == 0,
        "{state:?}"
    );

    // While it waits it is to be seen, and whoever stops it then ends that.
    let options = [
        "run",
        "-d",
        "--name",
        "loop",
        "--restart",
        "always",
        "--",
        "false",
    ];
    host.tapestry(&options).ok();
    eventually(Duration::from_secs(20), "it waits for a while", || {
        let rows = host.tapestry(&["ps", "--filter", "status=restarting"]).ok();
        (rows.contains("Restarting (1)") && host.container("loop").restarts > 3).then_some(())
    });
    host.tapestry(&["stop", "loop"]).ok();
    let stopped = host.container("loop");
    assert!(!stopped.summary.restarting, "{stopped:?}");
    assert!(!host.tapestry(&["ps"]).ok().contains("loop"));
}

#[test]
fn what_should_run_runs_again_after_its_end_and_after_a_restart_of_the_agent() {
    let host = Host::start();
    let policies = [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("plain", "no"),
    ];
    for (name, policy) in policies {
        host.idle(name, "bridge", &["--restart", policy]);
    }
    let first = host.pid("always");
    let address = host.ipv4("always");
    kill_process(first, Signal::KILL).unwrap();
    let second = eventually(Duration::from_secs(5), "it runs again", || {
        let running = host.container("always").summary.state;
        matches!(running, ContainerState::Running { pid } if pid != first.as_raw_nonzero().get())
            .then(|| host.pid("always"))
    });
    assert_eq!(host.ipv4("always"), address);
    assert_eq!(host.container("always").restarts, 1);
    host.tapestry(&["stop", "-t", "0", "stopped"]).ok();
    host.tapestry(&["stop", "-t", "0", "always"]).ok();

    // The agent and every command die, as at a loss of power.
    let pids = ["unless", "plain"].map(|name| host.pid(name));
    host.stop_agent(Signal::KILL);
    for pid in pids {
        kill_process(pid, Signal::KILL).unwrap();
    }
    host.launch();
    for name in ["always", "unless"] {
        eventually(Duration::from_secs(5), name, || {
            let state = host.container(name).summary.state;
            matches!(state, ContainerState::Running { .. }).then_some(())
        });
        host.exec(name, "ping -c1 -W2 172.17.0.1").ok();
    }
    assert_ne!(host.pid("always"), second);
    for name in ["stopped", "plain"] {
        let state = host.container(name).summary.state;
        assert!(
            matches!(state, ContainerState::Exited { .. }),
            "{name}: {state:?}"
        );
    }
    // What is removed stays removed.
    host.tapestry(&["rm", "-f", "unless"]).ok();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert!(!host.is_known("unless"));
    }
}

#[test]
fn lists_and_inspections_are_shown_as_a_template_says() {
    let host = Host::start();
    let create = [
        "network",
        "create",
        "--subnet",
        "10.72.0.0/24",
        "--label",
        "tier=front",
    ];
    let more = [
        "--aux-address",
        "router=10.72.0.2",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "web",
    ];
    host.tapestry(&[&create[..], &more].concat()).ok();
    host.tapestry(&["network", "create", "empty"]).ok();
    host.idle("one", "web", &["-p", "8080:80", "-l", "a=b"]);

    let id = host.container("one").summary.id;
    for (arguments, expected) in [
        (
            &[
                "inspect",
                "-f",
                "{{.NetworkSettings.Networks.web.IPAddress}}",
                "one",
            ][..],
            "10.72.0.3\n".to_owned(),
        ),
        (
            &[
                "inspect",
                "-f",
                "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                "one",
            ],
            "10.72.0.3\n".into(),
        ),
        (
            &["inspect", "--format", "{{.Name}} {{.State.Status}}", "one"],
            "/one running\n".into(),
        ),
        (
            &[
                "network",
                "inspect",
                "-f",
                "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}} {{.mtu}}",
                "web",
            ],
            "10.72.0.0/24 10.72.0.1 1400\n".into(),
        ),
        (
            &[
                "network",
                "inspect",
                "-f",
                "{{range .Containers}}{{.Name}}{{end}}",
                "web",
            ],
            "one\n".into(),
        ),
        (
            &[
                "network",
                "ls",
                "--filter",
                "type=custom",
                "--format",
                "{{.Name}}",
            ],
            "empty\nweb\n".into(),
        ),
        (
            &[
                "network",
                "ls",
                "--filter",
                "dangling=true",
                "--format",
                "{{.Name}}:{{.Driver}}",
            ],
            "empty:bridge\n".into(),
        ),
        (
            &[
                "network",
                "ls",
                "-f",
                "label=tier",
                "--format",
                r#"{{.Label "tier"}}"#,
            ],
            "front\n".into(),
        ),
        (
            &["ps", "--no-trunc", "--format", "{{.ID}}"],
            format!("{id}\n"),
        ),
        (
            &["ps", "--format", r"table {{.Names}}\t{{.Ports}}"],
            "NAMES     PORTS\none       0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n".into(),
        ),
    ] {
        let shown = host.tapestry(arguments).ok();
        let mut lines: Vec<&str> = shown.lines().collect();
        if arguments.contains(&"type=custom") {
            lines.sort_unstable();
        }
        assert_eq!(lines.join("\n") + "\n", expected, "{arguments:?}");
    }
    let rows = host.tapestry(&["ps", "--format", "{{json .}}"]).ok();
    let row: serde_json::Value = serde_json::from_str(rows.trim()).unwrap();
    assert_eq!(row["Labels"], "a=b");
    one_line(
        &host.tapestry(&["ps", "--format", "{{.Image}}"]),
        "no .Image; there are .Command",
    );
    one_line(
        &host.tapestry(&["inspect", "-f", "{{.Nmae}}", "one"]),
        "no .Nmae",
    );
    one_line(
        &host.tapestry(&["inspect", "-f", "{{frob}}", "one"]),
        "no function frob",
    );
}

#[test]
fn what_a_network_does_not_have_is_refused_by_its_name_in_docker() {
    let host = Host::start();
    for (options, told) in [
        (
            &["-o", "com.docker.network.bridge.name=br0"][..],
            "there is no bridge in the kernel",
        ),
        (
            &["-o", "com.docker.network.bridge.enable_icc=false"],
            "a network of its own",
        ),
        (
            &["-o", "com.docker.network.bridge.host_binding_ipv4=10.0.0.1"],
            "-p 127.0.0.1:8080:80",
        ),
        (
            &["--aux-address", "router=9.9.9.9"],
            "none of the network's subnets",
        ),
        (&["--ipam-driver", "dhcp"], "--ip-range"),
    ] {
        let create = [&["network", "create"], options, &["refused"]].concat();
        one_line(&host.tapestry(&create), told);
    }
    assert!(
        host.networks()
            .iter()
            .all(|network| network.name != "refused")
    );
    for (line, told) in [
        (&["run", "-v", "/a:/b", "true"][..], "--rootfs DIR"),
        (&["run", "--memory", "1g", "true"], "systemd-run"),
        (&["pull", "alpine"], "images are Docker's business"),
        (&["kill", "web"], "tapestry stop -t 0"),
    ] {
        one_line(&host.tapestry(line), told);
    }

    // What is on a network by a name, and is no container, is taken off by force alone.
    host.tapestry(&["network", "create", "--subnet", "10.73.0.0/24", "lab"])
        .ok();
    let _stray = host.endpoint("lab", "stray");
    one_line(
        &host.tapestry(&["network", "disconnect", "lab", "stray"]),
        "no container \"stray\"",
    );
    host.tapestry(&["network", "disconnect", "-f", "lab", "stray"])
        .ok();
    assert!(host.network("lab").endpoints.is_empty());
}

#[track_caller]
fn one_line(output: &Output, thing: &str) {
    let told = output.stderr.trim_end();
    assert_eq!(told.lines().count(), 1, "{output:?}");
    assert!(told.contains(thing), "{thing:?} is not named: {output:?}");
    assert_ne!(output.status, 0, "{output:?}");
}

//! `--format`, `-f` and `--filter`, and what is refused.

use super::one_line;
use crate::harness::Host;

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
            &[
                "network",
                "ls",
                "-f",
                "name=web",
                "--format",
                "{{.IPv6}} {{.Internal}}",
            ],
            "false false\n".into(),
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
        (&["run", "--memory-swap", "1g", "true"], "--memory,"),
        (&["pull", "alpine"], "images are Docker's business"),
        (&["kill", "web"], "tapestry stop -t 0"),
    ] {
        one_line(&host.tapestry(line), told);
    }

    one_line(
        &host.tapestry(&["network", "rm", "gone"]),
        "no network \"gone\"",
    );
    assert_eq!(host.tapestry(&["network", "rm", "-f", "gone"]).ok(), "");

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

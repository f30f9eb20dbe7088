//! `-p`, `-P`, `--expose` and `port`.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use super::one_line;
use crate::harness::{HOST_IP, Host, enter};
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
    // It keeps its port when it starts again, and takes another one where somebody has that now.
    host.tapestry(&["restart", "-t", "0", "two"]).ok();
    assert!(host.tapestry(&["port", "two"]).ok().contains(":8002\n"));
    host.tapestry(&["stop", "-t", "0", "one", "two"]).ok();
    let taken = enter(&host.netns.path(), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8002))
    });
    host.tapestry(&["start", "two"]).ok();
    assert!(host.tapestry(&["port", "two"]).ok().contains(":8000\n"));
    drop(taken.unwrap());
    one_line(
        &host.tapestry(&["run", "-p", "8000-8001:80-82", "true"]),
        "ranges of different sizes",
    );
    one_line(
        &host.tapestry(&["run", "-p", "80/sctp", "true"]),
        "sctp is not published",
    );
}

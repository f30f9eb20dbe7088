//! Impaired links: what frames meet, how long it lasts, and whom it does not concern.
//!
//! How exact delays, rates and losses are is held by the switch's own tests, which have a clock of their own. Here, the machine is
//! busy with other tests: what is compared was measured one after the other.

use std::time::Instant;

use agent_api::LinkDetail;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::Host;
use crate::packets::{PLAIN, contains, ethernet, receive};

fn link(host: &Host, container: &str) -> LinkDetail {
    let shown = host.tapestry(&["link", "show", "--json", container]).ok();
    let links: Vec<LinkDetail> = serde_json::from_str(&shown).unwrap();
    links.into_iter().next().unwrap()
}

/// The median round trip from `from` to `to`, in ms.
fn round_trip(host: &Host, from: &str, to: &str) -> f64 {
    let to = host.ipv4(to);
    let told = host
        .exec(from, &format!("ping -n -c11 -i0.02 -W2 {to}"))
        .ok();
    let times = told.lines().filter_map(|line| line.split_once("time="));
    let times = times.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    assert!(times.len() > 8, "{told}");
    times[times.len() / 2]
}

fn with_web_and_db() -> Host {
    let host = Host::start();
    for name in ["web", "db"] {
        host.idle(name, "bridge", &[]);
        // Neighbours are known from now on.
        host.exec(name, "ping -n -c1 -W2 172.17.0.1").ok();
    }
    round_trip(&host, "web", "db");
    host
}

/// The delay of one direction is in the round trip once, at most by what a busy machine adds.
fn is_delayed(host: &Host, before: f64) {
    let more = round_trip(host, "web", "db") - before;
    assert!((39.5..55.0).contains(&more), "{more} ms for 40 ms");
}

#[test]
fn a_delay_holds_over_deaths_of_the_agent_and_starts_of_the_container() {
    let host = with_web_and_db();
    let before = round_trip(&host, "web", "db");
    let set = [
        "link", "set", "web", "eth0", "--delay", "40ms", "--seed", "7",
    ];
    host.tapestry(&set).ok();
    is_delayed(&host, before);
    let shown = link(&host, "web");
    assert_eq!(shown.settings.from.to_string(), "delay 40ms");
    assert_eq!((shown.settings.seed, shown.to.delayed), (Some(7), 0));
    assert!(shown.from.delayed >= 11, "{shown:?}");
    host.kill_agent_proper();
    is_delayed(&host, before);
    host.stop_agent(Signal::KILL);
    host.launch();
    is_delayed(&host, before);
    host.tapestry(&["restart", "-t", "0", "web"]).ok();
    host.exec("web", "ping -n -c1 -W2 172.17.0.1").ok();
    is_delayed(&host, before);
    assert_eq!(link(&host, "web").settings, shown.settings);
    host.tapestry(&["link", "reset", "web"]).ok();
    let after = round_trip(&host, "web", "db");
    assert!(after < before + 20.0, "{after} ms, and {before} before");
    assert!(link(&host, "web").settings.is_default());
}

#[test]
fn frames_are_lost_in_the_direction_that_is_named_and_at_no_other_port() {
    let host = with_web_and_db();
    host.idle("other", "bridge", &[]);
    let set = [
        "link",
        "set",
        "-n",
        "web",
        "-i",
        "eth0",
        "--loss",
        "100",
        "--direction",
        "to",
    ];
    host.tapestry(&set).ok();
    let (web, db) = (host.ipv4("web"), host.ipv4("db"));
    let told = host.exec("web", &format!("ping -n -c5 -i0.02 -W1 {db}"));
    assert!(told.stdout.contains("100% packet loss"), "{told:?}");
    let shown = link(&host, "web");
    assert!(shown.to.lost >= 5 && shown.to.sent == 0, "{shown:?}");
    assert_eq!(shown.from.lost, 0);
    let asked = "cat /sys/class/net/eth0/statistics/rx_packets";
    let received = |host: &Host| -> u64 { host.exec("db", asked).ok().trim().parse().unwrap() };
    let before = received(&host);
    host.exec("web", &format!("ping -n -c3 -i0.02 -W1 {db}"));
    assert!(received(&host) >= before + 3, "what web sends arrives");
    let told = host
        .exec("other", &format!("ping -n -q -c50 -i0.005 -W2 {db}"))
        .ok();
    assert!(told.contains(" 0% packet loss"), "{told}");
    let other = link(&host, "other");
    assert_eq!((other.to, other.from), Default::default());
    host.tapestry(&["link", "down", "web"]).ok();
    assert!(!link(&host, "web").up);
    host.tapestry(&["link", "reset", "web"]).ok();
    host.tapestry(&["link", "up", "web"]).ok();
    assert!(host.netns.pings(web));
}

#[test]
fn a_rate_is_what_arrives() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("lab", name));
    let (from, to) = (one.wire(), two.wire());
    let send = |mark: u8| {
        let frame = ethernet(two.mac(), one.mac(), 0x88b5, &[mark; 986]);
        from.send(&PLAIN, &frame).unwrap();
    };
    let arrives = |mark: u8| {
        receive(&to, |frame| contains(frame, &[mark; 64])).unwrap();
        Instant::now()
    };
    host.tapestry(&["link", "set", "one", "lab", "--rate", "16mbit"])
        .ok();
    // A thousand bytes each, half a millisecond apart.
    send(1);
    for _ in 0..800 {
        send(2);
    }
    send(3);
    let (first, last) = (arrives(1), arrives(3));
    let rate = 801.0 * 8_000.0 / (last - first).as_secs_f64();
    assert!((14.4e6..16.8e6).contains(&rate), "{rate}");
    let shown = link(&host, "one");
    let expected = (shown.from.frames, 0);
    assert_eq!((shown.from.sent, shown.from.overflowed), expected);
}

#[test]
fn wrong_values_are_told_in_one_line_and_change_nothing() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    for (wrong, told) in [
        (&["--delay", "50"][..], "write 50ms"),
        (&["--loss", "110%"], "is no loss"),
        (&["--loss", "gemodel"], "is no loss"),
        (&["--rate", "fast"], "is no rate"),
        (&["--burst", "15kb"], "set rate too"),
        (&["--jitter", "5ms"], "set delay too"),
        (&["--reorder", "5%"], "set delay with reorder"),
        (
            &["--delay", "5ms", "--distribution", "gauss"],
            "write uniform",
        ),
        (&["--delay", "5ms", "--limit", "0"], "write 1 to"),
        (&["--direction", "up", "--loss", "1%"], "up"),
        (&[], "nothing to set"),
        (&["eth7", "--loss", "1%"], "it has eth0"),
    ] {
        let output = host.tapestry(&[&["link", "set", "web"], wrong].concat());
        assert!([1, 2].contains(&output.status), "{wrong:?}: {output:?}");
        let line = output.stderr.trim();
        assert!(
            line.contains(told) && line.lines().count() == 1 && line.len() < 400,
            "{line}"
        );
    }
    let output = host.tapestry(&["link", "set", "nobody", "--loss", "1%"]);
    assert!(output.stderr.contains("nobody"), "{output:?}");
    let shown = link(&host, "web");
    assert!(shown.settings.is_default(), "{shown:?}");
    let path = format!("/v1/endpoints/{}/link", shown.endpoint);
    for wrong in [
        json!({"from": {"delay": "soon"}}),
        json!({"from": {"dely": "5ms"}}),
        json!({"from": {"loss": true}}),
        json!({"to": {"jitter": "5ms"}}),
    ] {
        let refused = host.api("PATCH", &path, Some(&wrong));
        assert_eq!(
            (refused.status, &refused.body["kind"]),
            (400, &"invalid".into()),
            "{refused:?}"
        );
    }
}

//! Rates: that they are kept, whoever restarts, and that nothing is left of them.
//!
//! How exactly a shaper keeps them, and how fair it is, is held by the switch's own tests, which have a clock of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use agent_api::RateDetail;

use crate::harness::{Endpoint, Host};
use crate::packets::{PLAIN, ethernet};

fn rate(host: &Host, container: &str) -> RateDetail {
    let shown = host.tapestry(&["rate", "show", "--json", container]).ok();
    let rates: Vec<RateDetail> = serde_json::from_str(&shown).unwrap();
    rates.into_iter().next().unwrap()
}

/// Bytes that have come to the container, by its own link, and when.
fn received(host: &Host, container: &str) -> (Instant, f64) {
    let asked = "cat /sys/class/net/eth0/statistics/rx_bytes";
    let bytes = host.exec(container, asked).ok().trim().parse().unwrap();
    (Instant::now(), bytes)
}

/// Mbit/s that come to `web` over two seconds while `one` sends as fast as it can.
fn measured(host: &Host, one: &Endpoint<'_>) -> f64 {
    let mac = host.exec("web", "cat /sys/class/net/eth0/address").ok();
    let frame = ethernet(mac.trim().parse().unwrap(), one.mac(), 0x88b5, &[7; 986]);
    let wire = one.wire();
    let is_over = AtomicBool::new(false);
    scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // A full queue is what this is about.
                let _ = wire.send(&PLAIN, &frame);
            }
        });
        // What passes at once has passed.
        sleep(Duration::from_millis(300));
        let (start, before) = received(host, "web");
        sleep(Duration::from_secs(2));
        let (end, after) = received(host, "web");
        is_over.store(true, Ordering::Relaxed);
        (after - before) * 8.0 / 1e6 / (end - start).as_secs_f64()
    })
}

fn is_kept(host: &Host, one: &Endpoint<'_>, rate: f64) {
    let ratio = measured(host, one) / rate;
    assert!((0.97..1.03).contains(&ratio), "{ratio} of {rate} Mbit/s");
}

#[test]
fn a_rate_is_kept_changed_and_taken_away_while_frames_flow() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle(
        "web",
        "lab",
        &["--ingress-rate", "40mbit", "--ingress-burst", "100kb"],
    );
    let one = host.endpoint("lab", "one");
    is_kept(&host, &one, 40.0);
    let shown = rate(&host, "web");
    assert_eq!(shown.effective.to_string(), "ingress 40mbit burst 100kb");
    assert!(shown.ingress.dropped > 0, "{shown:?}");
    let ports = host.ports("lab");
    let port = ports.iter().find(|port| port.owner == "web").unwrap();
    assert_eq!(port.rate.as_deref(), Some("ingress 40mbit burst 100kb"));
    assert!(port.drops["over_rate"] > 0, "{port:?}");
    let traced = host
        .tapestry(&["trace", "lab", "--from", "one", "--to", "web"])
        .ok();
    assert!(traced.contains("its receiver may get 40mbit"), "{traced}");

    let set = [
        "rate",
        "set",
        "web",
        "--ingress-rate",
        "80mbit",
        "--ingress-burst",
        "200kb",
    ];
    host.tapestry(&set).ok();
    is_kept(&host, &one, 80.0);
    host.kill_agent_proper();
    is_kept(&host, &one, 80.0);
    host.tapestry(&["restart", "-t", "0", "web"]).ok();
    assert_eq!(
        rate(&host, "web").settings.ingress_rate,
        Some("80mbit".parse().unwrap())
    );

    host.tapestry(&["rate", "reset", "web"]).ok();
    let shown = rate(&host, "web");
    assert!(
        shown.settings.is_default() && shown.ingress.waiting == 0,
        "{shown:?}"
    );
    let free = measured(&host, &one);
    assert!(free > 120.0, "{free} Mbit/s");
}

#[test]
fn a_networks_default_holds_for_whoever_has_no_rate_of_its_own() {
    let host = Host::start();
    let refused = host.tapestry(&["network", "create", "-o", "rate=fast", "slow"]);
    assert!(refused.stderr.contains("a rate as 100mbit"), "{refused:?}");
    host.tapestry(&["network", "create", "-o", "rate=10mbit/30kb", "slow"])
        .ok();
    host.idle("web", "slow", &[]);
    host.idle("db", "slow", &["--rate", "0"]);
    assert_eq!(
        rate(&host, "web").effective.to_string(),
        "10mbit burst 30kb"
    );
    assert_eq!(rate(&host, "db").effective.to_string(), "");
    // Each is asked when the last was answered: the first 20 of 1,442 bytes pass at once.
    let web = host.ipv4("web");
    host.exec("db", &format!("ping -n -q -f -c60 -W3 -s 1400 {web}"))
        .ok();
    let shown = rate(&host, "web");
    assert!(
        shown.ingress.delayed > 0 && shown.ingress.dropped == 0,
        "{shown:?}"
    );
    for (wrong, told) in [
        (&["--rate", "fast"][..], "is no rate"),
        (&["--rate", "100bit"], "write 8kbit or more"),
        (&[], "nothing to set"),
    ] {
        let output = host.tapestry(&[&["rate", "set", "web"], wrong].concat());
        assert!(output.stderr.contains(told), "{output:?}");
    }
}

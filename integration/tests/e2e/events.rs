//! What happens is told: in order, to whoever asks, also of what was before; and nobody waits for a reader.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use agent_api::Event;
use rustix::process::{Signal, kill_process};
use switch_core::Mac;

use crate::harness::{Host, eventually};
use crate::packets::{PLAIN, ethernet, receive};

/// All that fit so far.
fn told(host: &Host, filters: &[&str]) -> Vec<Event> {
    let mut arguments = vec!["events", "--json", "--since", "1h", "--until", "0s"];
    for filter in filters {
        arguments.extend(["--filter", filter]);
    }
    let lines = host.tapestry(&arguments).ok();
    let events = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

fn words(events: &[Event]) -> Vec<String> {
    let words = events.iter();
    words
        .map(|event| format!("{} {}", event.kind.name(), event.action))
        .collect()
}

fn attribute<'e>(event: &'e Event, key: &str) -> &'e str {
    event.actor.attributes.get(key).map_or("", String::as_str)
}

#[test]
fn what_happens_is_told_in_its_order_and_by_filters() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--label", "tier=front", "lab"])
        .ok();
    host.idle("web", "lab", &["--label", "tier=back"]);
    host.tapestry(&["run", "--rm", "--name", "brief", "--", "sh", "-c", "exit 3"])
        .refused(3);
    host.tapestry(&["stop", "-t", "0", "web"]).ok();
    host.tapestry(&["rm", "web"]).ok();
    host.tapestry(&["network", "rm", "lab"]).ok();

    let of_web = told(&host, &["container=web"]);
    let expected = [
        "container create",
        "network connect",
        "container start",
        "container kill",
        "container kill",
        "container die",
        "network disconnect",
        "container stop",
        "container destroy",
    ];
    assert_eq!(words(&of_web), expected, "{of_web:#?}");
    assert_eq!(attribute(&of_web[1], "name"), "lab");
    assert_eq!(attribute(&of_web[0], "tier"), "back");
    let brief = told(&host, &["container=brief", "type=container"]);
    let expected = ["create", "start", "die", "destroy"].map(|word| format!("container {word}"));
    assert_eq!(words(&brief), expected, "{brief:#?}");
    assert_eq!(attribute(&brief[2], "exitCode"), "3");
    let of_lab = told(&host, &["network=lab", "label=tier=front"]);
    let expected = ["create", "connect", "disconnect", "destroy"];
    assert_eq!(
        words(&of_lab),
        expected.map(|word| format!("network {word}"))
    );

    let shown = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "-f",
        "event=destroy",
    ];
    let plain = host.tapestry(&shown).ok();
    assert!(plain.contains(" network destroy "), "{plain}");
    let format = ["--format", "{{.Type}} {{.Actor.Attributes.name}}"];
    let formatted = host.tapestry(&[&shown[..], &format].concat()).ok();
    assert_eq!(formatted, "container brief\ncontainer web\nnetwork lab\n");
    let refused = host.tapestry(&["events", "-f", "image=x"]).refused(1);
    assert!(
        refused.contains("filter by container, endpoint"),
        "{refused}"
    );
}

#[test]
fn storms_moves_and_repairs_are_told() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "lab"])
        .ok();
    let [noisy, other] = ["noisy", "other"].map(|name| host.endpoint("lab", name));
    let nested = Mac::new([2, 0xaa, 0, 0, 0, 1]);
    for (from, by) in [(&noisy, &other), (&other, &noisy)] {
        let (wire, peer) = (from.wire(), by.wire());
        let hello = ethernet(Mac::BROADCAST, nested, 0x88b5, b"a nested station");
        wire.send(&PLAIN, &hello).unwrap();
        receive(&peer, |frame| frame.ends_with(b"a nested station")).unwrap();
    }
    host.netns.sh("nft flush ruleset");
    let (wire, frame) = (
        noisy.wire(),
        ethernet(Mac::BROADCAST, noisy.mac(), 0x88b5, &[0; 46]),
    );
    let storm = eventually(Duration::from_secs(20), "the storm is told", || {
        for _ in 0..20_000 {
            // A full queue is the sender's loss.
            let _ = wire.send(&PLAIN, &frame);
        }
        told(&host, &["event=storm", "network=lab"])
            .into_iter()
            .next()
    });
    assert_eq!(attribute(&storm, "owner"), "noisy", "{storm:?}");
    let moves = told(&host, &["event=move", "network=lab"]);
    let [moved] = &moves[..] else {
        panic!("{moves:#?}");
    };
    let told_of = ["mac", "from", "owner"].map(|key| attribute(moved, key));
    assert_eq!(told_of, ["02:aa:00:00:00:01", "noisy", "other"]);
    eventually(Duration::from_secs(10), "the repair is told", || {
        let repairs = told(&host, &["type=daemon", "event=repair"]);
        repairs
            .iter()
            .any(|it| attribute(it, "what") == "rules")
            .then_some(())
    });
}

/// As a person who changes the configuration of an agent that runs.
#[test]
fn a_changed_configuration_is_taken_with_a_signal_and_a_wrong_one_is_not() {
    let host = Host::start();
    let config = host.dir().join("agent.toml");
    let mut reader = host.spawn(&["events", "--json", "--since", "1h"]);
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let first: Event = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first.at_ms > 0);
    let before = std::fs::read_to_string(&config).unwrap_or_default();
    let group = std::fs::metadata(host.socket()).unwrap().gid();
    let old = host.agent_pid();

    std::fs::write(&config, format!("workres = 1\n{before}")).unwrap();
    kill_process(host.guardian_pid(), Signal::HUP).unwrap();
    eventually(Duration::from_secs(10), "the old agent goes on", || {
        host.log().contains("this one goes on").then_some(())
    });
    let log = host.log();
    let named = format!("{}: line 1, ", config.display());
    assert!(
        log.contains(&named) && log.contains("unknown key workres; did you mean workers?"),
        "{log}"
    );
    assert_eq!(host.agent_pid(), old);

    let changed = format!("workers = 1\n{before}\n[api]\ngroup = \"daemon\"\n");
    std::fs::write(&config, changed).unwrap();
    kill_process(host.guardian_pid(), Signal::HUP).unwrap();
    let reload = eventually(Duration::from_secs(20), "the new agent tells", || {
        (host.agent_pid() != old).then_some(())?;
        told(&host, &["event=reload"]).into_iter().next()
    });
    assert_eq!(attribute(&reload, "changed"), "api.group,workers");
    let log = host.log();
    assert!(log.contains("configuration changed"), "{log}");
    assert_ne!(std::fs::metadata(host.socket()).unwrap().gid(), group);
    // Its reader hears that it has to ask again.
    assert_eq!(reader.wait().unwrap().code(), Some(1));

    std::fs::write(&config, &before).unwrap();
    kill_process(host.guardian_pid(), Signal::HUP).unwrap();
    eventually(Duration::from_secs(20), "the group is as before", || {
        let found = std::fs::metadata(host.socket()).ok()?;
        (found.gid() == group).then_some(())
    });
}

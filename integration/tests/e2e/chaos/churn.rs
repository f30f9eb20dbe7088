//! Attaching and detaching while the agent is killed again and again: whoever tries again succeeds, and nothing is left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::figures::Row;
use super::outage::Outage;
use super::scaled;
use super::tally::Tally;
use crate::cni::Call;
use crate::docker::{Docker, IMAGE};
use crate::harness::{Host, Netns};

#[test]
fn attaching_and_detaching_during_kills_succeeds_through_the_api() {
    let host = Host::start();
    let sandbox = Netns::new("c");
    let mut row = row(11, "the API", scaled(100, 6));
    during_kills(&host, &mut row, scaled(100, 6), ALIVE, |_| {
        let create = json!({ "network": "bridge", "name": "c", "sandbox": sandbox.path() });
        let path = format!("/v1/endpoints?sandbox={}", sandbox.path().display());
        let status = |method, path: &str, body| {
            let reply = host.try_api(method, path, body);
            reply.map_or(0, |reply| reply.status)
        };
        // A request whose answer was cut off may have been done: then its name is taken.
        let is_there = || {
            let listed = host.try_api("GET", "/v1/endpoints", None).ok();
            listed.is_some_and(|listed| listed.body.as_array().is_some_and(|all| !all.is_empty()))
        };
        let attached = trying(|| {
            let said = status("POST", "/v1/endpoints", Some(&create));
            (200..300).contains(&said) || said == 409 && is_there()
        });
        let detached = trying(|| matches!(status("DELETE", &path, None), 200..300 | 404));
        attached.and(detached)
    });
    row.finish();
}

#[test]
fn attaching_and_detaching_during_kills_succeeds_through_cni() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "red"])
        .ok();
    let sandbox = Netns::new("c");
    let mut row = row(12, "CNI", scaled(60, 4));
    during_kills(&host, &mut row, scaled(60, 4), ALIVE, |number| {
        let container = format!("c{number}");
        let call = Call::add(&sandbox, &container);
        let say = |command| call.make(&host, command).status == 0;
        let delete = || say("DEL");
        // As runtimes do it: what failed is deleted before it is tried again.
        let attached = trying(|| {
            let added = say("ADD");
            if !added {
                delete();
            }
            added
        });
        let detached = trying(delete);
        attached.and(detached)
    });
    row.finish();
}

#[test]
#[ignore = "takes a Docker engine and a minute: make chaos"]
fn attaching_and_detaching_during_kills_succeeds_through_docker() {
    let docker = Docker::start();
    docker.network("web", &[]);
    let mut row = row(13, "Docker", scaled(40, 4));
    during_kills(
        &docker.host,
        &mut row,
        scaled(40, 4),
        ALIVE_FOR_DOCKER,
        |_| {
            trying(|| {
                docker
                    .docker(&["run", "--rm", "--network", "web", IMAGE, "true"])
                    .status
                    == 0
            })
        },
    );
    row.finish();
}

fn row(place: u8, through: &str, count: usize) -> Row {
    let what = format!("attach and detach during kills, {count} times through {through}");
    Row::new(
        place,
        what,
        "0 failures after retry; nothing left",
        "at first try",
    )
}

/// Ends what waits for it, also when the test fails.
struct Over<'f>(&'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Try {
    First,
    Later,
    Never,
}

impl Try {
    fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// Until it succeeds or the time for it is over.
fn trying(act: impl Fn() -> bool) -> Try {
    if act() {
        return Try::First;
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if act() {
            return Try::Later;
        }
        std::thread::sleep(AGAIN);
    }
    Try::Never
}

/// Does it so often while the agent is killed whenever it was `alive` for so long.
fn during_kills(
    host: &Host,
    row: &mut Row,
    count: usize,
    alive: Duration,
    act: impl Fn(usize) -> Try + Sync,
) {
    act(count);
    let before = Tally::of(host);
    let (over, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let tries: Vec<Try> = std::thread::scope(|scope| {
        // However the tries end, the kills end with them.
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                Outage::Kill.strike(host);
                kills.fetch_add(1, Ordering::Relaxed);
                // Not so often that nothing is ever done.
                std::thread::sleep(alive);
            }
        });
        (0..count).map(&act).collect()
    });
    let of = |kind| tries.iter().filter(|tried| **tried == kind).count();
    row.figure(format_args!("{} at first try", of(Try::First)));
    row.figure(format_args!("{} kills", kills.load(Ordering::Relaxed)));
    row.none("failures after retry", of(Try::Never), &[]);
    let left = before.lasting_differences(host);
    row.none("differences left", left.len(), &left);
}

const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
/// A call takes a moment; Docker makes several for a container.
const ALIVE: Duration = Duration::from_millis(300);
const ALIVE_FOR_DOCKER: Duration = Duration::from_millis(1500);

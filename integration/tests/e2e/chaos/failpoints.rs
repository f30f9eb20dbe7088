//! The agent, or a program that it runs, killed at every step of an act: afterwards all of it is there, or nothing.
//!
//! A step is a system call: the journal's, the kernel's, a program's that is started. `strace` kills the agent at the n-th of
//! a kind, so that no step is left out that somebody adds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_api::{ContainerState, EndpointCreate, EndpointDetail, Info};
use rustix::process::Pid;

use super::figures::Row;
use super::scaled;
use super::tally::RULES;
use crate::harness::{Host, Netns, eventually, run};

#[test]
fn killed_at_any_step_of_an_act_the_agent_has_done_it_or_not() {
    let mut row = Row::new(
        10,
        "kill -9 at every failpoint",
        "equal before and after",
        "",
    );
    let outcomes = std::thread::scope(|scope| {
        let acts = ACTS.map(|act| scope.spawn(move || act.try_steps()));
        acts.map(|act| act.join().unwrap())
    });
    for (act, outcome) in ACTS.iter().zip(outcomes) {
        row.figure(format_args!("{}: {} kills", act.name, outcome.kills));
        let in_part = outcome.in_part.len();
        row.none("in part", in_part, &outcome.in_part);
        let killed = outcome.kills > 0;
        row.hold(killed, format_args!("{}: nothing was killed", act.name));
    }
    row.finish();
}

/// Something to be killed at, and how it is undone.
#[derive(Clone, Copy)]
struct Act {
    name: &'static str,
    /// What has to be there before.
    prepare: fn(&Scene<'_>),
    act: fn(&Scene<'_>),
    /// What there may be besides all or nothing: a container that has ended with the agent.
    also: fn(&Scene<'_>),
    undo: fn(&Scene<'_>),
}

const ACTS: [Act; 6] = [
    Act {
        name: "attach",
        prepare: |_| {},
        act: |scene| scene.attach(),
        also: |_| {},
        undo: |scene| scene.detach(),
    },
    Act {
        name: "detach",
        prepare: |scene| scene.attach(),
        act: |scene| scene.detach(),
        also: |_| {},
        undo: |_| {},
    },
    Act {
        name: "network create",
        prepare: |_| {},
        act: |scene| scene.create_network(),
        also: |_| {},
        undo: |scene| scene.remove_network(),
    },
    Act {
        name: "network rm",
        prepare: |scene| scene.create_network(),
        act: |scene| scene.remove_network(),
        also: |_| {},
        undo: |_| {},
    },
    Act {
        name: "run",
        prepare: |_| {},
        act: |scene| scene.run(),
        also: |scene| scene.run_and_end(),
        undo: |scene| scene.remove(),
    },
    Act {
        name: "rm -f",
        prepare: |scene| scene.run(),
        act: |scene| scene.remove(),
        also: |scene| scene.run_and_end(),
        undo: |_| {},
    },
];

/// Kinds of system calls that are steps.
const STEPS: [&str; 5] = [
    "fdatasync,fsync,pwrite64",
    "sendto,sendmsg,write",
    "ioctl,setns,unshare,socket",
    "clone,clone3,fork,vfork,execve",
    "openat,mkdir,mkdirat,unlink,unlinkat,rename,renameat2,mount",
];

#[derive(Default)]
struct Outcome {
    kills: usize,
    in_part: Vec<String>,
}

impl Act {
    fn try_steps(&self) -> Outcome {
        let host = Host::start();
        let sandbox = Netns::new("sandbox");
        // What somebody else made beside ours.
        host.netns.sh(
            "ip link add tapforeign0 type veth peer name tapforeign1; nft add table inet foreign; \
             nft add chain inet foreign input '{ type filter hook input priority 5; }'",
        );
        let subnet = ["--subnet", "10.66.0.0/24", "lab"];
        host.tapestry(&[&["network", "create"], &subnet[..]].concat())
            .ok();
        Scene {
            host: &host,
            sandbox: &sandbox,
            attached: RefCell::default(),
        }
        .try_steps(self)
    }
}

struct Scene<'h> {
    host: &'h Host,
    sandbox: &'h Netns,
    /// The endpoint that was made last, by its id.
    attached: RefCell<Option<String>>,
}

impl Scene<'_> {
    fn try_steps(&self, act: &Act) -> Outcome {
        let mut outcome = Outcome::default();
        let begin = self.settled();
        (act.prepare)(self);
        let before = self.settled();
        (act.act)(self);
        let after = self.settled();
        (act.undo)(self);
        (act.also)(self);
        let whole = [before, after, self.settled()];
        self.remove();
        for steps in scaled(&STEPS[..], &STEPS[..2]) {
            for number in scaled(&NUMBERS[..], &NUMBERS[2..3]) {
                self.expect(&begin, "begin", &mut outcome);
                (act.prepare)(self);
                let killed = self.kill_at(steps, *number, act.act);
                let now = self.settled_as(&whole);
                if !whole.contains(&now) {
                    let beside = ["before", "after"].iter().zip(&whole);
                    let beside = beside.map(|(when, whole)| {
                        format!("beside {when}: {}", now.beside(whole).join("; "))
                    });
                    let beside = beside.collect::<Vec<_>>().join("\n  ");
                    let step = format!("{} at {number} of {steps}: {beside}", act.name);
                    outcome.in_part.push(step);
                }
                (act.act)(self);
                (act.undo)(self);
                if !killed {
                    break;
                }
                outcome.kills += 1;
            }
        }
        outcome
    }

    fn expect(&self, wanted: &Snapshot, when: &str, outcome: &mut Outcome) {
        let now = self.settled_as(std::slice::from_ref(wanted));
        if now != *wanted {
            outcome
                .in_part
                .push(format!("{when}: {}", now.beside(wanted).join("; ")));
        }
    }

    /// Acts while the agent proper, or what it runs, is killed at its n-th step of that kind; whether something was. Its
    /// guardian has started the agent again then.
    fn kill_at(&self, steps: &str, number: usize, act: fn(&Scene<'_>)) -> bool {
        let agent = self.host.agent_pid();
        let told = self.host.dir().join("strace");
        let tracer = Tracer::attach(agent, steps, number, &told);
        act(self);
        drop(tracer);
        // One that is dying answers nothing.
        eventually(Duration::from_secs(20), "an agent answers", || {
            serde_json::from_str::<Info>(&self.ask("GET", "/v1/info", &[])).ok()
        });
        let told = fs::read_to_string(told).unwrap();
        told.contains("killed by SIGKILL")
    }

    fn attach(&self) {
        let create = EndpointCreate {
            network: "lab".into(),
            name: "one".into(),
            sandbox: Some(self.sandbox.path()),
            ..EndpointCreate::default()
        };
        let create = serde_json::to_string(&create).unwrap();
        let made = self.ask("POST", "/v1/endpoints", &["-d", &create]);
        // The agent may be killed meanwhile, or it may have been done before.
        let made = serde_json::from_str::<EndpointDetail>(&made);
        self.attached.replace(made.ok().map(|made| made.id));
    }

    fn detach(&self) {
        let id = self.attached.take().or_else(|| {
            let endpoints: Vec<EndpointDetail> = self.host.api("GET", "/v1/endpoints", None).ok();
            let mut ours = endpoints
                .into_iter()
                .filter(|endpoint| endpoint.name == "one");
            ours.next().map(|endpoint| endpoint.id)
        });
        if let Some(id) = id {
            self.ask("DELETE", &format!("/v1/endpoints/{id}"), &[]);
        }
    }

    /// A request to an agent that may be killed while it is asked.
    fn ask(&self, method: &str, path: &str, more: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "30", "--request", method]);
        curl.args(["--header", "content-type: application/json"]);
        curl.arg("--unix-socket").arg(self.host.socket()).args(more);
        run(curl.arg(format!("http://agent{path}"))).stdout
    }

    fn create_network(&self) {
        let create = ["network", "create", "--subnet", "10.67.0.0/24", "more"];
        self.host.tapestry(&create);
    }

    fn remove_network(&self) {
        self.host.tapestry(&["network", "rm", "more"]);
    }

    fn run(&self) {
        let options = [
            "run",
            "-d",
            "--name",
            "box",
            "--network",
            "lab",
            "-p",
            "8088:80",
        ];
        self.host
            .tapestry(&[&options[..], &["--", "sleep", "1000"]].concat());
    }

    fn run_and_end(&self) {
        self.run();
        self.host.tapestry(&["stop", "-t", "0", "box"]).ok();
    }

    fn remove(&self) {
        self.host.tapestry(&["rm", "-f", "box"]);
    }

    /// The same, once it is one of the `wanted`, or has not become that for a while: what failed is tried again.
    fn settled_as(&self, wanted: &[Snapshot]) -> Snapshot {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.settled();
            if wanted.contains(&now) || Instant::now() > until {
                return now;
            }
        }
    }

    /// What there is once nothing changes any more.
    fn settled(&self) -> Snapshot {
        let mut last = None;
        eventually(Duration::from_secs(20), "nothing changes any more", || {
            let now = self.snapshot();
            let is_settled = last.as_ref() == Some(&now);
            last = Some(now);
            is_settled.then_some(())
        });
        last.unwrap()
    }

    fn snapshot(&self) -> Snapshot {
        let mut parts = BTreeMap::new();
        let mut add = |what: &str, text: String| {
            for line in text.lines() {
                *parts
                    .entry(format!("{what} {}", anonymous(line)))
                    .or_default() += 1;
            }
        };
        let links = "ip -br link; ip -4 -br addr";
        add("host", names_only(&self.host.netns.sh(links)));
        add("sandbox", names_only(&self.sandbox.sh(links)));
        add("rule", self.host.netns.sh(RULES));
        add("route", self.host.netns.sh("ip -4 route; ip -6 route"));
        for network in self.host.networks() {
            add("network", network.name);
        }
        for container in self.host.containers() {
            add(
                "container",
                format!("{} {}", container.name, state(&container.state)),
            );
        }
        let endpoints: Vec<EndpointDetail> = self.host.api("GET", "/v1/endpoints", None).ok();
        for endpoint in endpoints {
            add("endpoint", endpoint.name);
        }
        for process in [self.host.guardian_pid(), self.host.agent_pid()] {
            let descriptors = format!("/proc/{}/fd", process.as_raw_nonzero());
            for descriptor in fs::read_dir(descriptors).unwrap().flatten() {
                let target = fs::read_link(descriptor.path()).unwrap_or_default();
                let target = target.to_string_lossy().into_owned();
                let kinds = ["/dev/net/tun", "net:", "mnt:"];
                if kinds.iter().any(|kind| target.starts_with(kind)) {
                    let kind = target.split(':').next().unwrap();
                    add("descriptor", kind.to_owned());
                }
            }
        }
        Snapshot(parts)
    }
}

/// How many there are of each thing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot(BTreeMap<String, usize>);

impl Snapshot {
    fn beside(&self, wanted: &Self) -> Vec<String> {
        let things = self.0.keys().chain(wanted.0.keys());
        let mut differ: Vec<_> = things
            .filter_map(|thing| {
                let count = |snapshot: &Self| snapshot.0.get(thing).copied().unwrap_or(0);
                let (now, then) = (count(self), count(wanted));
                (now != then).then(|| format!("{now} instead of {then} of {thing:?}"))
            })
            .collect();
        differ.sort();
        differ.dedup();
        differ
    }
}

const fn state(state: &ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Exited { .. } => "exited",
    }
}

/// Without what is another one each time.
fn names_only(links: &str) -> String {
    let lines = links.lines().map(|line| {
        let words = line.split_whitespace();
        let kept = words.filter(|word| !word.contains(':') && !word.starts_with("169.254"));
        kept.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Links of ours without their numbers.
fn anonymous(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let digits = bare
            .strip_prefix("tsy")
            .or_else(|| bare.strip_prefix("tap"));
        let is_ours = digits.is_some_and(|digits| {
            digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        words.push(if is_ours { &bare[..3] } else { word });
    }
    words.join(" ")
}

/// Kills a process at a step of its.
struct Tracer(Child);

impl Tracer {
    fn attach(process: Pid, steps: &str, number: usize, told: &Path) -> Self {
        let pid = process.as_raw_nonzero().to_string();
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-p", &pid]).arg("-o").arg(told);
        command.args(["-e", &format!("trace={steps}")]);
        command.args(["-e", &format!("inject={steps}:signal=KILL:when={number}")]);
        let null = || Stdio::null();
        let tracer = command.stdin(null()).stdout(null()).stderr(null());
        let tracer = tracer.spawn().unwrap();
        eventually(Duration::from_secs(10), "strace is attached", || {
            // A thread that does something all the time may have got it killed already.
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
                return Some(());
            };
            let mut traced = tasks.flatten().map(|task| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            });
            traced.all(|traced| traced).then_some(())
        });
        Self(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // What it traced goes on without it, the shims that the agent started too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
/// Which step of its kind, in one thread.
const NUMBERS: [usize; 11] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144];

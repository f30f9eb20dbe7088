//! Control groups of containers.
//!
//! # Theory of operation
//!
//! Each container's processes are in a group of their own, in every tree of control groups that can limit memory, processors or
//! processes: so a limit is the container's alone, and where its memory ends the kernel looks for a victim among its own. The groups lie
//! in one called `tapestry`, in the agent's own group in version 1. In version 2 a group that has processes cannot share out its
//! controllers, so it lies beside the agent's group, where the service manager has put the agent into a group `agent` of what it
//! delegated, or in the root. Elsewhere in version 2 containers have groups, and no limits.
//!
//! The agent alone makes and fills them. Which ones a container has is written down before they are made, by whoever calls.

mod hierarchy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::hierarchy::{Controller, Hierarchy, Version, hierarchies};

/// What a container may use at most; as much as there is where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Where groups of containers can be made.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    places: Vec<Place>,
    /// Why a limit is not to be had.
    gap: Option<String>,
}

#[derive(Clone, Debug)]
struct Place {
    version: Version,
    controllers: Vec<Controller>,
    /// The group that containers' groups are in.
    parent: PathBuf,
}

/// Why a container has no groups, or not with the limits that were asked for.
#[derive(Debug, thiserror::Error)]
pub enum MakeCgroup {
    #[error("this host limits no container's {what} ({why}); leave the limit out")]
    NoController { what: &'static str, why: String },
    #[error("cannot make the control group {path}: {error}")]
    Make { path: PathBuf, error: io::Error },
    #[error("cannot limit {what} to {value} in the control group {path}: {error}")]
    Limit {
        what: &'static str,
        value: String,
        path: PathBuf,
        error: io::Error,
    },
    #[error("cannot put process {pid} into the control group {path}: {error}")]
    Enter {
        pid: i32,
        path: PathBuf,
        error: io::Error,
    },
}

impl Cgroups {
    /// Looks where the agent is, and prepares what can be prepared.
    pub fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let found = hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        Self::within(&found)
    }

    fn within(found: &[Hierarchy]) -> Self {
        let (mut places, mut gap) = (Vec::new(), None);
        let limited = |version| move |tree: &&Hierarchy| tree.version == version;
        for tree in found.iter().filter(limited(Version::One)) {
            places.push(Place {
                version: Version::One,
                controllers: tree.controllers.clone(),
                parent: tree.own.join(PARENT),
            });
        }
        for tree in found.iter().filter(limited(Version::Two)) {
            match share_out(&tree.own) {
                // All controllers are version 1's.
                Ok((_, controllers)) if controllers.is_empty() && !places.is_empty() => {}
                Ok((parent, controllers)) => places.push(Place {
                    version: Version::Two,
                    controllers,
                    parent,
                }),
                Err(why) => {
                    gap = Some(why);
                    places.push(Place {
                        version: Version::Two,
                        controllers: Vec::new(),
                        parent: tree.own.join(PARENT),
                    });
                }
            }
        }
        Self { places, gap }
    }

    /// What containers cannot be limited in, and why, in words.
    pub fn missing(&self) -> Option<String> {
        let missing = Controller::ALL.map(|controller| (controller, self.has(controller)));
        let names: Vec<_> = missing
            .iter()
            .filter(|(_, has)| !has)
            .map(|(controller, _)| what(*controller))
            .collect();
        (!names.is_empty()).then(|| format!("{}: {}", names.join(", "), self.why()))
    }

    /// The groups that a container of that id has; they need not be there yet.
    pub fn paths(&self, id: &str) -> Vec<PathBuf> {
        let places = self.places.iter();
        places.map(|place| place.parent.join(id)).collect()
    }

    /// Makes the groups of a container. After a failure what was made is the caller's to [remove].
    pub fn make(&self, id: &str, limits: &Limits) -> Result<(), MakeCgroup> {
        for (controller, _) in limits.each() {
            if !self.has(controller) {
                return Err(MakeCgroup::NoController {
                    what: what(controller),
                    why: self.why(),
                });
            }
        }
        for place in &self.places {
            let path = place.parent.join(id);
            make_group(place, &path).map_err(|error| MakeCgroup::Make {
                path: path.clone(),
                error,
            })?;
            for (controller, value) in limits.each() {
                if place.controllers.contains(&controller) {
                    limit(place.version, controller, value, &path)?;
                }
            }
        }
        Ok(())
    }

    fn has(&self, controller: Controller) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.controllers.contains(&controller))
    }

    fn why(&self) -> String {
        let why = self.gap.as_deref();
        why.unwrap_or("no such controller is mounted below /sys/fs/cgroup")
            .to_owned()
    }
}

impl Limits {
    fn each(&self) -> impl Iterator<Item = (Controller, u64)> {
        [
            (Controller::Memory, self.memory),
            (Controller::Cpu, self.nano_cpus),
            (Controller::Pids, self.pids),
        ]
        .into_iter()
        .filter_map(|(controller, limit)| Some((controller, limit?)))
    }
}

/// Puts a process into each of the groups, with the children that it will have.
pub fn enter(groups: &[PathBuf], pid: i32) -> Result<(), MakeCgroup> {
    for path in groups {
        fs::write(path.join("cgroup.procs"), pid.to_string()).map_err(|error| {
            MakeCgroup::Enter {
                pid,
                path: path.clone(),
                error,
            }
        })?;
    }
    Ok(())
}

/// Removes groups whose processes have ended or are about to. Gone already is as good. Returns those that stay.
pub fn remove(groups: &[PathBuf]) -> Vec<(PathBuf, io::Error)> {
    let deadline = Instant::now() + EMPTY_LIMIT;
    let mut stay = Vec::new();
    for path in groups {
        while let Err(error) = fs::remove_dir(path) {
            let is_gone = error.kind() == io::ErrorKind::NotFound;
            let is_busy = error.kind() == io::ErrorKind::ResourceBusy;
            if !is_busy || Instant::now() >= deadline {
                stay.extend((!is_gone).then(|| (path.clone(), error)));
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        // It has the groups of other containers in it, or not.
        let _ = path.parent().map(fs::remove_dir);
    }
    stay
}

/// Lets the controllers of a tree of version 2 reach containers' groups. Returns the group that those are in, and the controllers;
/// or why there are none.
fn share_out(own: &Path) -> Result<(PathBuf, Vec<Controller>), String> {
    let is_root = !own.join("cgroup.type").exists();
    let above = match own.parent() {
        _ if is_root => own,
        Some(above) if own.ends_with(AGENTS_OWN) => above,
        _ => {
            return Err(format!(
                "the agent is in the control group {} itself, and not in one called {AGENTS_OWN} there: \
                 that is what Delegate=yes and DelegateSubgroup={AGENTS_OWN} of systemd 254 give it",
                own.display()
            ));
        }
    };
    let there = fs::read_to_string(above.join("cgroup.controllers"));
    let there = there.map_err(|error| format!("{}: {error}", above.display()))?;
    let mut shared = Controller::among(there.split_whitespace());
    shared.retain(|controller| share(above, *controller).is_ok());
    Ok((above.join(PARENT), shared))
}

/// Gives the groups in `group` a controller.
fn share(group: &Path, controller: Controller) -> io::Result<()> {
    let word = format!("+{}", controller.name());
    fs::write(group.join("cgroup.subtree_control"), word)
}

fn make_group(place: &Place, path: &Path) -> io::Result<()> {
    let mut tries = MAKE_TRIES;
    loop {
        let made = make_dir(&place.parent).and_then(|()| {
            if place.version == Version::Two {
                for controller in &place.controllers {
                    share(&place.parent, *controller)?;
                }
            }
            make_dir(path)
        });
        tries -= 1;
        match made {
            // The last container's end took the parent away just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => {}
            made => return made,
        }
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn limit(
    version: Version,
    controller: Controller,
    value: u64,
    path: &Path,
) -> Result<(), MakeCgroup> {
    let quota_us = (value / (1_000_000_000 / CPU_PERIOD_US)).max(CPU_QUOTA_MIN_US);
    let (file, text) = match (version, controller) {
        (Version::One, Controller::Memory) => ("memory.limit_in_bytes", value.to_string()),
        (Version::Two, Controller::Memory) => ("memory.max", value.to_string()),
        (Version::One, Controller::Cpu) => ("cpu.cfs_quota_us", quota_us.to_string()),
        (Version::Two, Controller::Cpu) => ("cpu.max", format!("{quota_us} {CPU_PERIOD_US}")),
        (_, Controller::Pids) => ("pids.max", value.to_string()),
    };
    fs::write(path.join(file), &text).map_err(|error| MakeCgroup::Limit {
        what: what(controller),
        value: text,
        path: path.to_owned(),
        error,
    })
}

const fn what(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "memory",
        Controller::Cpu => "processor time",
        Controller::Pids => "processes",
    }
}

/// Has containers' groups in it.
const PARENT: &str = "tapestry";
/// As the unit names it in `DelegateSubgroup=`.
const AGENTS_OWN: &str = "agent";
/// The kernel's own period; one that was not changed.
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no less.
const CPU_QUOTA_MIN_US: u64 = 1_000;
const MAKE_TRIES: u32 = 8;
/// Killed processes go within milliseconds, unless they hang in the kernel.
const EMPTY_LIMIT: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up tree of version 2 with the agent's group at `own`, in which files are made as they are written.
    fn tree(own: &str, controllers: &str) -> (tempfile::TempDir, Hierarchy) {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join(own);
        fs::create_dir_all(&group).unwrap();
        for at in group
            .ancestors()
            .take_while(|at| at.starts_with(dir.path()))
        {
            fs::write(at.join("cgroup.controllers"), controllers).unwrap();
            if at != dir.path() {
                fs::write(at.join("cgroup.type"), "domain\n").unwrap();
            }
        }
        let tree = Hierarchy {
            version: Version::Two,
            controllers: Vec::new(),
            own: group,
        };
        (dir, tree)
    }

    fn text(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn version_2_shares_out_beside_the_agents_group_and_in_the_root() {
        for own in ["unit/agent", ""] {
            let (dir, tree) = tree(own, "cpuset cpu io memory pids\n");
            let cgroups = Cgroups::within(&[tree]);
            assert_eq!(cgroups.missing(), None);
            let above = dir.path().join(own.trim_end_matches("/agent"));
            assert_eq!(cgroups.paths("c"), [above.join("tapestry/c")]);
            assert_eq!(text(above.join("cgroup.subtree_control")), "+pids");
            let limits = Limits {
                memory: Some(64 << 20),
                nano_cpus: Some(1_500_000_000),
                pids: Some(20),
            };
            cgroups.make("c", &limits).unwrap();
            let group = above.join("tapestry/c");
            assert_eq!(text(above.join("tapestry/cgroup.subtree_control")), "+pids");
            assert_eq!(text(group.join("memory.max")), "67108864");
            assert_eq!(text(group.join("cpu.max")), "150000 100000");
            assert_eq!(text(group.join("pids.max")), "20");
            enter(&cgroups.paths("c"), 42).unwrap();
            assert_eq!(text(group.join("cgroup.procs")), "42");
        }
    }

    #[test]
    fn version_2_without_a_group_for_the_agent_limits_nothing_and_says_so() {
        let (dir, tree) = tree("session.scope", "cpu memory pids\n");
        let cgroups = Cgroups::within(&[tree]);
        let missing = cgroups.missing().unwrap();
        assert!(missing.contains("DelegateSubgroup=agent"), "{missing}");
        let limits = Limits {
            memory: Some(1 << 20),
            ..Limits::default()
        };
        let refusal = cgroups.make("c", &limits).unwrap_err().to_string();
        assert!(refusal.contains("memory"), "{refusal}");
        let paths = cgroups.paths("c");
        assert!(!paths[0].exists(), "a refusal makes nothing");
        cgroups.make("c", &Limits::default()).unwrap();
        assert_eq!(paths, [dir.path().join("session.scope/tapestry/c")]);
        assert!(paths[0].exists());
    }

    #[test]
    fn what_is_made_is_removed_with_its_parent_and_nothing_is_as_good() {
        let (dir, tree) = tree("s", "");
        let cgroups = Cgroups::within(&[tree]);
        cgroups.make("a", &Limits::default()).unwrap();
        cgroups.make("b", &Limits::default()).unwrap();
        assert!(remove(&cgroups.paths("a")).is_empty());
        assert!(dir.path().join("s/tapestry/b").exists());
        assert!(remove(&cgroups.paths("b")).is_empty());
        assert!(!dir.path().join("s/tapestry").exists());
        assert!(remove(&cgroups.paths("b")).is_empty());
    }

    #[test]
    fn a_host_without_control_groups_has_none() {
        let cgroups = Cgroups::within(&[]);
        assert!(cgroups.missing().is_some() && cgroups.paths("c").is_empty());
        cgroups.make("c", &Limits::default()).unwrap();
    }
}

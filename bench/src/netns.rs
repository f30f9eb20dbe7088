//! Network namespaces: made, entered, removed.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{ip, ip_batch};
use crate::interrupt;
use crate::trouble::Trouble;

/// A network namespace of this run, with `lo` up and without IPv6, whose neighbor discovery would be noise.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// `tag` tells people who look at `ip netns` what it is for.
    pub(crate) fn new(tag: &str) -> Result<Self, Trouble> {
        let name = new_name(tag);
        ip(&format!("netns add {name}"))?;
        let made = Self { name };
        made.silence()?;
        ip(&format!("-n {} link set lo up", made.name))?;
        Ok(made)
    }

    /// So many at once, by one process; their `lo` is down.
    pub(crate) fn many(count: usize, tag: &str) -> Result<Vec<Self>, Trouble> {
        let names = std::iter::repeat_with(|| Self {
            name: new_name(tag),
        });
        let made: Vec<Self> = names.take(count).collect();
        let lines = made.iter().map(|one| format!("netns add {}\n", one.name));
        ip_batch(None, &lines.collect::<String>())?;
        for one in &made {
            interrupt::check()?;
            one.silence()?;
        }
        Ok(made)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread inside; sockets and processes made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Trouble> {
        enter(&self.path(), work)
    }

    fn silence(&self) -> Result<(), Trouble> {
        self.set("ipv6/conf/all/disable_ipv6", "1")?;
        self.set("ipv6/conf/default/disable_ipv6", "1")
    }

    /// Writes a setting below /proc/sys/net; one that this kernel does not have is left.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), Trouble> {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| {
            let written = fs::write(&path, value);
            match written {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })?
        .map_err(Trouble::io(path.display().to_string()))
    }

    /// A file below /proc/net as seen inside.
    pub(crate) fn read(&self, file: &str) -> Result<String, Trouble> {
        let path = Path::new("/proc/thread-self/net").join(file);
        self.enter(|| fs::read_to_string(&path))?
            .map_err(Trouble::io(path.display().to_string()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // There is nobody to tell, and the next run sweeps.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn new_name(tag: &str) -> String {
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{next}{tag}", std::process::id())
}

/// Runs `work` on a thread inside the namespace of the file `path`.
pub(crate) fn enter<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, Trouble> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(Trouble::io(shown.clone()))?;
    let inside = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok::<T, rustix::io::Errno>(work())
    };
    std::thread::scope(|scope| scope.spawn(inside).join())
        .unwrap_or_else(|panic| resume_unwind(panic))
        .map_err(|error| Trouble::Io {
            what: shown,
            source: error.into(),
        })
}

/// Removes what runs that were killed could not, processes inside first.
pub(crate) fn sweep() -> Result<(), Trouble> {
    for line in ip("netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if !is_orphan(name) {
            continue;
        }
        let strays = ip(&format!("netns pids {name}")).unwrap_or_default();
        let pids = strays.lines().filter_map(|pid| pid.trim().parse().ok());
        for pid in pids.filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        ip(&format!("netns del {name}"))?;
    }
    Ok(())
}

/// A name of ours whose process is gone.
fn is_orphan(name: &str) -> bool {
    let owner = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

static NEXT: AtomicU32 = AtomicU32::new(0);
const PREFIX: &str = "tsybench-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_runs_are_orphans() {
        assert!(is_orphan("tsybench-4194999-0host"));
        assert!(!is_orphan(&format!(
            "tsybench-{}-0host",
            std::process::id()
        )));
        assert!(!is_orphan("tsybench-x-0host"));
        assert!(!is_orphan("somebody-else"));
    }
}

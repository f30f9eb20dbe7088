//! What an agent must not leave behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Netns;

/// Everything that is there for longer than a process needs to go: its io_uring lets go of the TAPs a moment after it
/// has ended.
pub(super) fn lasting_leftovers(netns: &Netns, dir: &Path) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = leftovers(netns, dir);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Everything of ours that is still there after the agent of `netns` with its files under `dir` has gone, in words.
fn leftovers(netns: &Netns, dir: &Path) -> Vec<String> {
    let links = netns
        .sh("ip -o link show")
        .lines()
        .filter_map(link_of_ours)
        .map(|link| format!("link {link}"))
        .collect();
    let tables: Vec<String> = netns
        .sh("nft list tables")
        .lines()
        .filter(|table| table.contains("tapestry"))
        .map(str::to_owned)
        .collect();
    let processes = processes_about(dir)
        .into_iter()
        .map(|(pid, command)| format!("process {pid}: {command}"))
        .collect();
    let mounts = mounts_under(dir)
        .into_iter()
        .map(|mount| format!("mount {mount}"))
        .collect();
    let groups = control_groups(dir)
        .into_iter()
        .filter(|group| group.exists())
        .map(|group| format!("control group {}", group.display()))
        .collect();
    [links, tables, processes, mounts, groups].concat()
}

/// Kills by pid every process that has `dir` on its command line.
pub(super) fn kill_strays(dir: &Path) {
    for (pid, _) in processes_about(dir) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Removes the control groups of containers whose processes were killed just now.
pub(super) fn remove_groups(dir: &Path) {
    let deadline = Instant::now() + PATIENCE;
    for group in control_groups(dir) {
        while fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = group.parent().map(fs::remove_dir);
    }
}

/// The control groups that containers of an agent with its files under `dir` had at last.
fn control_groups(dir: &Path) -> Vec<PathBuf> {
    let containers = fs::read_dir(dir.join("s/containers")).into_iter().flatten();
    let files = containers
        .flatten()
        .map(|entry| entry.path().join("cgroups"));
    let texts: Vec<String> = files
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.map(PathBuf::from).collect()
}

/// A TAP of an endpoint (`tap` and 8 digits) or of a network's host port (`tsy` and 10).
fn link_of_ours(line: &str) -> Option<&str> {
    let name = line.split(": ").nth(1)?.split('@').next()?;
    let digits = name
        .strip_prefix("tap")
        .or_else(|| name.strip_prefix("tsy"))?;
    (digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(name)
}

fn processes_about(dir: &Path) -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(dir.to_str()?).then_some((pid, line))
    })
    .collect()
}

fn mounts_under(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| Path::new(point).starts_with(dir))
        .map(str::to_owned)
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(3);

//! The agent's process, under the names that all exporters use.

use std::fs;
use std::io;

use rustix::param::{clock_ticks_per_second, page_size};

use super::exposition::Exposition;
use super::host::{real, whole};
use super::metric::Metric;

/// What cannot be read is left out.
pub(super) fn tell(told: &mut Exposition) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(Stat::parse)
    {
        let ticks = real(clock_ticks_per_second());
        told.real(Metric::ProcessCpu, &[], real(stat.ticks) / ticks);
        let memory = stat.pages.saturating_mul(whole(page_size()));
        told.whole(Metric::ProcessMemory, &[], memory);
        if let Some(boot_s) = boot_s() {
            let start = real(boot_s) + real(stat.start_ticks) / ticks;
            told.real(Metric::ProcessStart, &[], start);
        }
    }
    if let Ok(open) = open_fds() {
        told.whole(Metric::ProcessFds, &[], open);
    }
}

/// Of proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Of processor time, in the kernel or not.
    ticks: u64,
    /// After the host's start.
    start_ticks: u64,
    pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name before may contain anything.
        let (_, behind) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |number: usize| fields.get(number - FIRST)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(UTIME)? + field(STIME)?,
            start_ticks: field(STARTTIME)?,
            pages: field(RSS)?,
        })
    }
}

/// When the host started, in seconds since 1970.
fn boot_s() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// Without the one that looks.
fn open_fds() -> io::Result<u64> {
    let entries = fs::read_dir("/proc/self/fd")?.count();
    Ok(whole(entries.saturating_sub(1)))
}

/// The number of the field behind the name.
const FIRST: usize = 3;
const UTIME: usize = 14;
const STIME: usize = 15;
const STARTTIME: usize = 22;
const RSS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_passed_over() {
        let fields: Vec<String> = (3..=40).map(|number| number.to_string()).collect();
        let text = format!("7 (a) S b) {}", fields.join(" "));
        let expected = Stat {
            ticks: 14 + 15,
            start_ticks: 22,
            pages: 24,
        };
        assert_eq!(Stat::parse(&text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
    }
}

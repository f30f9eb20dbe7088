//! What the kernel keeps about processes and the machine: /proc.

use std::collections::BTreeMap;
use std::fs;

use crate::statistics::count_f64;

/// CPU seconds of a process with all its threads, user and system; also of one that ended and was not waited for.
pub(crate) fn cpu_s(pid: u32) -> Option<f64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A process and those that it has started itself, as an agent is its guardian and the agent proper.
pub(crate) fn with_children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let children = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| parse_children(&children));
    std::iter::once(pid).chain(children).collect()
}

/// A process and all that descend from it.
pub(crate) fn with_descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(with_children(parent).into_iter().skip(1));
        next += 1;
    }
    found
}

/// Memory that the kernel has for itself and cannot give back at once, in bytes: of objects, stacks and tables of pages.
pub(crate) fn kernel_bytes() -> Option<u64> {
    parse_kernel(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Nanoseconds on a processor by thread, of threads that live.
pub(crate) type ThreadTimes = BTreeMap<u32, u64>;

/// The threads of a process; empty when it is gone.
pub(crate) fn thread_times(pid: u32) -> ThreadTimes {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| {
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let id = thread.file_name().to_str()?.parse().ok()?;
            Some((id, schedstat.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

/// CPU seconds between two looks, far finer than [`cpu_s`]. A thread that ended in between is not counted.
pub(crate) fn used_s(before: &ThreadTimes, after: &ThreadTimes) -> f64 {
    let used = after.iter().map(|(id, now)| {
        let then = before.get(id).copied().unwrap_or(0);
        now.saturating_sub(then)
    });
    count_f64(used.sum()) / 1e9
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// A process's share of the memory that it has, in bytes: what several processes have in common is divided among them.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// CPU seconds that all cores together were busy since the start of the machine.
pub(crate) fn busy_s() -> Option<f64> {
    parse_busy(&fs::read_to_string("/proc/stat").ok()?)
}

/// Fields 14 and 15 of proc_pid_stat(5); the name in parentheses may hold anything.
fn parse_stat(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / ticks_per_s())
}

fn parse_children(children: &str) -> Vec<u32> {
    let children = children.split_whitespace();
    children.filter_map(|pid| pid.parse().ok()).collect()
}

fn parse_kernel(meminfo: &str) -> Option<u64> {
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let is_kernels = |line: &&str| {
        KERNELS.iter().any(|name| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    let counts: Vec<u64> = meminfo.lines().filter(is_kernels).filter_map(kib).collect();
    (counts.len() == KERNELS.len()).then(|| counts.iter().sum::<u64>() * 1024)
}

fn parse_rollup(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// Everything but idle, iowait, stolen and guest time (guest time is in user already).
fn parse_busy(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<f64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields.as_slice() else {
        return None;
    };
    Some((user + nice + system + irq + softirq) / ticks_per_s())
}

/// USER_HZ: 100 on every platform Linux has today.
const fn ticks_per_s() -> f64 {
    100.0
}

/// Of `/proc/meminfo`, proc(5).
const KERNELS: [&str; 4] = ["SUnreclaim", "KernelStack", "PageTables", "Percpu"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_do_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(3.0));
    }

    #[test]
    fn a_share_is_the_whole_of_it_and_not_one_of_its_kinds() {
        let rollup = "55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:  9000 kB\nPss:      2048 kB\nPss_Anon:  1024 kB\n";
        assert_eq!(parse_rollup(rollup), Some(2 << 20));
    }

    #[test]
    fn a_process_is_with_its_children() {
        assert_eq!(parse_children("12 13 \n"), [12, 13]);
        assert_eq!(with_children(std::process::id())[0], std::process::id());
    }

    #[test]
    fn threads_that_come_and_go_do_not_make_time_run_backwards() {
        let before = ThreadTimes::from([(1, 5_000_000_000), (2, 9_000_000_000)]);
        let after = ThreadTimes::from([(1, 6_000_000_000), (3, 500_000_000)]);
        assert_eq!(used_s(&before, &after), 1.5);
    }

    #[test]
    fn idle_and_stolen_time_is_not_busy() {
        let stat = "cpu  100 0 100 5000 70 0 100 900 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_busy(stat), Some(3.0));
    }

    #[test]
    fn the_kernels_memory_is_the_sum_of_what_it_cannot_give_back() {
        let meminfo = "MemTotal: 9 kB\nSlab: 7 kB\nSReclaimable: 6 kB\nSUnreclaim: 1 kB\nKernelStack: 2 kB\nPageTables: 4 kB\nSecPageTables: 50 kB\nPercpu: 8 kB\n";
        assert_eq!(parse_kernel(meminfo), Some(15 * 1024));
        assert_eq!(parse_kernel("SUnreclaim: 1 kB\n"), None);
    }
}

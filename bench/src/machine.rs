//! What the figures were measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine, as far as it matters for reading the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// How TCP's senders pace themselves here: it changes every figure of TCP. Absent from reports of older versions.
    #[serde(default)]
    pub(crate) congestion_control: String,
    /// Runnable processes over the last minute before the run, as the kernel averages them: what else was going on.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        Self {
            kernel: kernel(),
            processor: processor().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            load: line("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// `Linux` and its release.
pub(crate) fn kernel() -> String {
    format!("Linux {}", line("/proc/sys/kernel/osrelease"))
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

//! Keeps from the IP stack what the ring takes.

use std::io::{self, PipeReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::packets;

/// A chain at the ingress of a link, behind the packet sockets, in a table that ends with the process that made it:
/// an interactive `nft` whose input we hold. The kernel removes the table when that process ends (`flags owner`), and
/// that one ends when its input does. So neither a crash of ours nor one of its leaves a rule that drops anything.
#[derive(Debug)]
pub(super) struct Gate {
    nft: Child,
    said: PipeReader,
    chain: String,
    local: Ipv4Addr,
}

impl Gate {
    /// Everything but the rule.
    pub(super) fn new(nft: &Path, link: &str, local: Ipv4Addr) -> io::Result<Self> {
        let (said, says) = io::pipe()?;
        let nft = Command::new(nft)
            .arg("-i")
            .stdin(std::process::Stdio::piped())
            .stdout(says.try_clone()?)
            .stderr(says)
            // What interrupts the agent at its terminal must not open the gate before the agent stops.
            .process_group(0)
            .spawn()?;
        let table = format!("tapestry_vxlan_{:08x}", local.to_bits());
        let mut gate = Self {
            nft,
            said,
            chain: format!("netdev {table} ingress"),
            local,
        };
        gate.tell(&format!(
            "add table netdev {table} {{ flags owner; comment \"the tapestry agent takes these datagrams itself\"; }}\n\
             add chain {} {{ type filter hook ingress device \"{link}\" priority {PRIORITY}; }}\n",
            gate.chain
        ))?;
        Ok(gate)
    }

    /// From here on the stack sees none of these packets.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        let rule = packets::rule(self.local);
        self.tell(&format!("add rule {} {rule}\n", self.chain))
    }

    /// From here on it sees all of them.
    pub(super) fn open(mut self) -> io::Result<()> {
        self.tell(&format!("flush chain {}\n", self.chain))
    }

    /// Has `nft` run `commands`, and waits until it has.
    fn tell(&mut self, commands: &str) -> io::Result<()> {
        let stdin = self.nft.stdin.as_mut();
        let stdin: &mut ChildStdin = stdin.ok_or(io::ErrorKind::BrokenPipe)?;
        // Listing is what it answers with, when it gets that far.
        stdin.write_all(format!("{commands}list chain {}\n", self.chain).as_bytes())?;
        stdin.flush()?;
        let mut answer = String::new();
        let deadline = Instant::now() + PATIENCE;
        while !answer.lines().any(|line| line == "}") {
            if answer.contains("Error") {
                return Err(io::Error::other(answer));
            }
            self.wait_until(deadline)?;
            let mut bytes = [0; 4096];
            let len = self.said.read(&mut bytes)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        Ok(())
    }

    fn wait_until(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.said, PollFlags::IN)], Some(&left))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.nft.stdin.take());
        let _ = self.nft.kill();
        let _ = self.nft.wait();
    }
}

/// Before other chains at the ingress, which would only see packets that go nowhere.
const PRIORITY: i32 = -500;
const PATIENCE: Duration = Duration::from_secs(2);

//! Opens and closes ring and gate, on a thread of its own.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switch_io::PacketRing;

use super::Host;
use super::gate::Gate;
use super::packets;
use crate::readiness::Readiness;

/// What the reader asks for.
#[derive(Debug)]
pub(super) enum Ask {
    Open,
    Close,
}

/// What comes of it; the trunk is made readable for it.
#[derive(Debug)]
pub(super) enum Answer {
    /// The ring has all that comes from now on, and perhaps the newest of what the socket has too.
    Opened(PacketRing),
    Refused,
    /// The socket has all that comes from now on.
    Closed,
}

/// Starts the thread, which ends when the asking end is dropped.
pub(super) fn start(
    host: Host,
    readiness: Arc<Readiness>,
) -> io::Result<(SyncSender<Ask>, Receiver<Answer>)> {
    let (asks, asked) = sync_channel(1);
    let (answers, answered) = channel();
    thread::Builder::new()
        .name("vxlan-ring".into())
        .spawn(move || keep(&host, &readiness, &asked, &answers))?;
    Ok((asks, answered))
}

fn keep(host: &Host, readiness: &Readiness, asked: &Receiver<Ask>, answers: &Sender<Answer>) {
    let answer = |answer| {
        let _ = answers.send(answer);
        readiness.raise();
    };
    let local = host.local;
    let mut gate: Option<Gate> = None;
    loop {
        let ask = match &gate {
            Some(_) => asked.recv_timeout(LOOK_AGAIN),
            None => asked.recv().map_err(RecvTimeoutError::from),
        };
        match ask {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(why) = host.stands_back() {
                    // The datagrams come by the socket too now, which ends the ring.
                    let opened = gate.take().map(Gate::open);
                    tracing::info!(%local, why, ?opened, "VXLAN leaves its packet ring");
                }
            }
            Ok(Ask::Open) => match open(host, readiness) {
                Ok((ring, shut)) => {
                    tracing::info!(%local, "VXLAN is received from a packet ring");
                    gate = Some(shut);
                    answer(Answer::Opened(ring));
                }
                Err(error) => {
                    tracing::debug!(%local, %error, "no packet ring for VXLAN");
                    answer(Answer::Refused);
                }
            },
            Ok(Ask::Close) => {
                // A gate that cannot be opened in order is opened by its end.
                let opened = gate.take().map(Gate::open);
                tracing::info!(%local, ?opened, "VXLAN is received from its socket again");
                answer(Answer::Closed);
            }
        }
    }
}

fn open(host: &Host, readiness: &Readiness) -> io::Result<(PacketRing, Gate)> {
    if let Some(why) = host.stands_back() {
        return Err(io::Error::other(why));
    }
    let local = host.local;
    let link = link_of(local)?;
    let mut ring = PacketRing::open(&link, &packets::filter(local))?;
    audition(&mut ring)?;
    let mut gate = Gate::new(&host.nft, &link, local)?;
    // What comes before the gate is shut goes to the socket too, and is not wanted twice.
    drain(&mut ring);
    gate.shut()?;
    readiness.watch(ring.as_fd())?;
    Ok((ring, gate))
}

/// Waits until the ring has seen what asked for it.
fn audition(ring: &mut PacketRing) -> io::Result<()> {
    let deadline = Instant::now() + AUDITION;
    let mut seen = 0;
    while seen < SEEN {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&*ring, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::Error::other("the load does not pass the ring"));
        }
        ring.take_error()?;
        seen += drain(ring);
    }
    Ok(())
}

/// Releases all packets; how many there were.
fn drain(ring: &mut PacketRing) -> u32 {
    let mut count = 0;
    while ring.front().is_some() {
        ring.release();
        count += 1;
    }
    count
}

/// The link that has the address.
fn link_of(local: Ipv4Addr) -> io::Result<String> {
    let has_it = |address: &nix::ifaddrs::InterfaceAddress| {
        let address = address.address.as_ref();
        address
            .and_then(|address| address.as_sockaddr_in())
            .is_some_and(|address| address.ip() == local)
    };
    let address = getifaddrs()?.find(has_it);
    let label = address.ok_or_else(|| io::Error::other("no link has the address"))?;
    // Of IPv4 addresses the label is given, which is the link's name, or begins with it.
    let name = label.interface_name.split(':').next();
    Ok(name.unwrap_or_default().to_owned())
}

/// How long the ring may take to see that much.
const AUDITION: Duration = Duration::from_millis(100);
const SEEN: u32 = 256;
/// How often it is looked whether the host has come to want the datagrams.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

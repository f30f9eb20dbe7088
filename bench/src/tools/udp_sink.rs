//! The receiving end: counts datagrams by trial.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{SOCKET_BUFFER_BYTES, UDP_PORT, answer};
use crate::netns::enter;
use crate::trouble::Trouble;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A namespace to receive in; may be repeated.
    #[arg(long = "netns", required = true)]
    netns: Vec<PathBuf>,
}

/// Asks for a trial's count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) trial: u32,
}

/// Datagrams of the trial, all sockets together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) datagrams: u64,
}

pub(super) fn run(options: &Options) -> Result<(), Trouble> {
    let open = |netns: &PathBuf| enter(netns, open)?.map_err(Trouble::io("cannot open a socket"));
    let sockets: Vec<UdpSocket> = options.netns.iter().map(open).collect::<Result<_, _>>()?;
    let counts: Arc<Vec<AtomicU64>> = Arc::new(
        std::iter::repeat_with(AtomicU64::default)
            .take(TRIALS_MAX)
            .collect(),
    );
    let shared = Arc::clone(&counts);
    // It ends with the process.
    std::thread::Builder::new()
        .name("receive".into())
        .spawn(move || receive(&sockets, &shared))
        .map_err(Trouble::io("no thread"))?;
    answer(|count: Count| {
        let datagrams = counts[place(count.trial)].load(Ordering::Relaxed);
        Ok(Counted { datagrams })
    })
}

fn open() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_PORT))?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

fn receive(sockets: &[UdpSocket], counts: &[AtomicU64]) -> Result<(), Trouble> {
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut room = vec![0; BATCH * DATAGRAM_LEN_MAX];
    let mut ready: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    let wait = Timespec::try_from(Duration::from_secs(1)).ok();
    loop {
        match poll(&mut ready, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Trouble::io("poll")(error.into())),
        }
        for (socket, entry) in sockets.iter().zip(&ready) {
            if entry.revents().contains(PollFlags::IN) {
                drain(socket, counts, &mut headers, &mut room)?;
            }
        }
    }
}

fn drain(
    socket: &UdpSocket,
    counts: &[AtomicU64],
    headers: &mut MultiHeaders<SockaddrIn>,
    room: &mut [u8],
) -> Result<(), Trouble> {
    loop {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = room
            .chunks_mut(DATAGRAM_LEN_MAX)
            .map(|chunk| [IoSliceMut::new(chunk)])
            .collect();
        let received = recvmmsg(
            socket.as_raw_fd(),
            headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        let count = match received {
            Ok(results) => results.count(),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(Trouble::io("recvmmsg")(error.into())),
        };
        for datagram in room.chunks(DATAGRAM_LEN_MAX).take(count) {
            if let Some(mark) = datagram.first_chunk() {
                counts[place(u32::from_be_bytes(*mark))].fetch_add(1, Ordering::Relaxed);
            }
        }
        if count < BATCH {
            return Ok(());
        }
    }
}

fn place(trial: u32) -> usize {
    usize::try_from(trial).unwrap_or(0) % TRIALS_MAX
}

const TRIALS_MAX: usize = 65_536;
const BATCH: usize = 64;
/// Longer ones are cut, which does not matter: only the mark is read.
const DATAGRAM_LEN_MAX: usize = 2048;

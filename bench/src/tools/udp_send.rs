//! The sending end: batches of equal datagrams, paced.
//!
//! # Theory of operation
//!
//! A batch goes to one destination by one sendmmsg(2); the destinations take turns. After each batch the tool compares
//! what it sent with what the rate allows by now, and sleeps when it is ahead by more than a timer's precision. Thus the
//! bursts are short and the rate is exact over the trial. Every datagram begins with the trial's number, so that
//! stragglers of an earlier trial are not counted for a later one.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::{SOCKET_BUFFER_BYTES, UDP_PORT, answer};
use crate::netns::enter;
use crate::statistics::{as_f64, count_f64};
use crate::trouble::Trouble;

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A namespace to send from; may be repeated.
    #[arg(long = "netns", required = true)]
    netns: Vec<PathBuf>,
    /// Where to send to; may be repeated. The `i`th sender does not send to the `i`th address where `--mesh` is given.
    #[arg(long = "to", required = true)]
    to: Vec<Ipv4Addr>,
    #[arg(long)]
    mesh: bool,
    /// Datagrams that one system call may carry in one superframe (UDP_SEGMENT).
    #[arg(long, default_value_t = 1)]
    gso: usize,
    /// Most datagrams a system call.
    #[arg(long, default_value_t = 32)]
    batch: usize,
}

/// One trial. Zero stands for no limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Send {
    pub(crate) trial: u32,
    /// Threads that share the work.
    pub(crate) threads: usize,
    /// Payload bytes.
    pub(crate) size: usize,
    /// Datagrams a second, all flows together.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    /// Datagrams in all.
    pub(crate) count: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) seconds: f64,
}

pub(super) fn run(options: &Options) -> Result<(), Trouble> {
    let flows = flows(options)?;
    answer(|send: Send| trial(&flows, options, &send))
}

struct Flow {
    socket: UdpSocket,
    to: SockaddrIn,
}

fn flows(options: &Options) -> Result<Vec<Flow>, Trouble> {
    let open = |netns: &PathBuf| enter(netns, open)?.map_err(Trouble::io("cannot open a socket"));
    let sockets: Vec<UdpSocket> = options.netns.iter().map(open).collect::<Result<_, _>>()?;
    let mut flows = Vec::new();
    // Neighbors in this order have different senders, so that all of them get to speak soon.
    for step in usize::from(options.mesh)..options.to.len() {
        for (from, socket) in sockets.iter().enumerate() {
            let to = options.to[(from + step) % options.to.len()];
            flows.push(Flow {
                socket: socket
                    .try_clone()
                    .map_err(Trouble::io("cannot share a socket"))?,
                to: SocketAddrV4::new(to, UDP_PORT).into(),
            });
        }
    }
    Ok(flows)
}

fn open() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_broadcast(true)?;
    setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER_BYTES)?;
    Ok(socket)
}

fn trial(flows: &[Flow], options: &Options, send: &Send) -> Result<Sent, Trouble> {
    if options.gso > 1 {
        let size = i32::try_from(send.size).unwrap_or(i32::MAX);
        for flow in flows {
            setsockopt(&flow.socket, sockopt::UdpGsoSegment, &size)
                .map_err(|error| Trouble::io("UDP_SEGMENT")(error.into()))?;
        }
    }
    let payload = payload(send, options.gso);
    let threads = send.threads.max(1);
    let share = Send {
        rate: send.rate / as_f64(threads),
        count: send.count.div_ceil(as_u64(threads)),
        ..*send
    };
    let start = Instant::now();
    let counts: Vec<Result<u64, Trouble>> = std::thread::scope(|scope| {
        let work = |first| transmit_share(flows, first, options, &share, &payload);
        let others: Vec<_> = (1..threads)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        let own = work(0);
        let others = others.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        std::iter::once(own).chain(others).collect()
    });
    Ok(Sent {
        datagrams: counts.into_iter().sum::<Result<u64, Trouble>>()?,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// One thread's part, beginning with the flow `first`.
fn transmit_share(
    flows: &[Flow],
    first: usize,
    options: &Options,
    send: &Send,
    payload: &[u8],
) -> Result<u64, Trouble> {
    let mut headers = MultiHeaders::preallocate(options.batch, None);
    let start = Instant::now();
    let mut sent = 0_u64;
    for flow in flows.iter().cycle().skip(first) {
        let is_late = send.seconds > 0.0 && start.elapsed().as_secs_f64() >= send.seconds;
        let left = match send.count {
            0 => u64::MAX,
            count => count.saturating_sub(sent),
        };
        if is_late || left == 0 {
            break;
        }
        let batch = batch(options, send.rate, left);
        sent += transmit(flow, payload, batch, &mut headers)? * as_u64(options.gso);
        if send.rate > 0.0 {
            wait_for(start, count_f64(sent) / send.rate);
        }
    }
    Ok(sent)
}

/// Calls' worth of datagrams. A slow flow is sent in small pieces: a millisecond's worth is the most that leaves at once.
fn batch(options: &Options, rate: f64, left: u64) -> usize {
    let allowed = if rate > 0.0 {
        saturating(rate / 1000.0 / as_f64(options.gso))
    } else {
        usize::MAX
    };
    let left = left.div_ceil(as_u64(options.gso));
    options
        .batch
        .min(allowed)
        .min(usize::try_from(left).unwrap_or(usize::MAX))
        .max(1)
}

/// As many datagrams as one call sends, each with the trial's number in front.
fn payload(send: &Send, gso: usize) -> Vec<u8> {
    let mut payload = vec![0; send.size * gso];
    for datagram in payload.chunks_mut(send.size.max(4)) {
        if let Some(mark) = datagram.first_chunk_mut() {
            *mark = send.trial.to_be_bytes();
        }
    }
    payload
}

/// Returns how many of the batch went out; a full queue takes some or none, which is no error.
fn transmit(
    flow: &Flow,
    payload: &[u8],
    batch: usize,
    headers: &mut MultiHeaders<SockaddrIn>,
) -> Result<u64, Trouble> {
    let slices = vec![[IoSlice::new(payload)]; batch];
    let to = vec![Some(flow.to); batch];
    let sent = sendmmsg(
        flow.socket.as_raw_fd(),
        headers,
        &slices,
        to,
        [],
        MsgFlags::empty(),
    );
    match sent {
        Ok(results) => Ok(results.fold(0, |count, _| count + 1)),
        Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::ECONNREFUSED) => Ok(0),
        Err(error) => Err(Trouble::io("sendmmsg")(error.into())),
    }
}

fn wait_for(start: Instant, due_s: f64) {
    let due = Duration::from_secs_f64(due_s);
    let ahead = due.saturating_sub(start.elapsed());
    if ahead > TIMER_PRECISION {
        std::thread::sleep(ahead);
    }
}

fn saturating(count: f64) -> usize {
    // Casts from floats saturate, which is what is wanted here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = count as usize;
    whole
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

const TIMER_PRECISION: Duration = Duration::from_micros(60);

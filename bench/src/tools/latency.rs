//! TCP_RR and TCP_CRR: how long one byte takes there and back, on one connection or with a connection each.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::net::sockopt::set_socket_linger;
use serde::{Deserialize, Serialize};

use super::answer;
use crate::netns::enter;
use crate::statistics::{as_f64, percentile, sorted};
use crate::trouble::Trouble;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerOptions {
    #[arg(long)]
    netns: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOptions {
    #[arg(long)]
    netns: PathBuf,
    #[arg(long)]
    to: Ipv4Addr,
}

/// Asks for a series of transactions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) seconds: f64,
    /// A connection for each transaction.
    pub(crate) connect: bool,
}

/// Transaction times, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Transactions a second.
    pub(crate) rate: f64,
}

pub(super) fn serve(options: &ServerOptions) -> Result<(), Trouble> {
    let listener = enter(&options.netns, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, TCP_PORT))
    })?
    .map_err(Trouble::io("cannot listen"))?;
    // Both end with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
    answer(|nothing: ()| Ok(nothing))
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

pub(super) fn ask(options: &ClientOptions) -> Result<(), Trouble> {
    let server = SocketAddr::from((options.to, TCP_PORT));
    answer(|exchange: Exchange| {
        let times = enter(&options.netns, || {
            if exchange.connect {
                connections(server, exchange.seconds)
            } else {
                one_connection(server, exchange.seconds)
            }
        })?
        .map_err(Trouble::io("transaction"))?;
        summarize(&times, exchange.seconds)
    })
}

fn one_connection(server: SocketAddr, seconds: f64) -> std::io::Result<Vec<f64>> {
    let mut stream = connect(server)?;
    for _ in 0..WARM_UP {
        transact(&mut stream)?;
    }
    timed(seconds, || transact(&mut stream))
}

fn connections(server: SocketAddr, seconds: f64) -> std::io::Result<Vec<f64>> {
    timed(seconds, || transact(&mut connect(server)?))
}

fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Closing resets, so that no TIME_WAIT uses up the ports.
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

fn transact(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [7];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}

fn timed(seconds: f64, mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<Vec<f64>> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

fn summarize(times: &[f64], seconds: f64) -> Result<Latencies, Trouble> {
    let sorted = sorted(times);
    let at = |percent| {
        percentile(&sorted, percent).ok_or_else(|| Trouble::Tool {
            tool: "rr-client".to_owned(),
            reason: "no transaction ended in time".to_owned(),
        })
    };
    Ok(Latencies {
        p50_us: at(50.0)?,
        p99_us: at(99.0)?,
        p999_us: at(99.9)?,
        rate: as_f64(times.len()) / seconds,
    })
}

const TCP_PORT: u16 = 5998;
const WARM_UP: usize = 50;
const PATIENCE: Duration = Duration::from_secs(2);

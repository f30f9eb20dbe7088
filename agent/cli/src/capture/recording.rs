//! From the agent's stream to its end, whoever brings that about.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_api::LogStream;
use agent_core::capture::{Blocks, Tally};
use switch_core::pcapng::{Block, Damaged, read_block};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::files::{DIRECT_LEN, Files};
use super::text::Text;
use crate::failure::Failure;
use crate::output;

/// Where a capture goes.
#[derive(Debug)]
pub(super) enum Sink {
    Text(Text),
    Stdout,
    Files(Files),
}

/// When it is over although nobody says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) count: Option<u64>,
    pub(super) duration: Option<Duration>,
}

/// A capture that goes on.
#[derive(Debug)]
pub(super) struct Recording {
    blocks: Blocks,
    tally: Tally,
    sink: Sink,
    /// For standard output, whole blocks that wait for the end of a chunk.
    pending: Vec<u8>,
    /// Nanoseconds since 1970 after which frames are not wanted any more.
    end_nanos: u64,
}

impl Recording {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            blocks: Blocks::default(),
            tally: Tally::default(),
            sink,
            pending: Vec::new(),
            end_nanos: u64::MAX,
        }
    }

    /// Takes what comes until the end, and says how much that was.
    pub(super) async fn run(
        mut self,
        mut stream: LogStream,
        limits: Limits,
        told: &str,
    ) -> Result<u8, Failure> {
        let mut stop = Stop::watch()?;
        let over = async {
            match limits.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let mut over = std::pin::pin!(over);
        eprint_line(told);
        let outcome = loop {
            let chunk = tokio::select! {
                () = stop.wait() => break self.drain(&mut stream, &mut stop, limits.count).await,
                () = &mut over => break self.drain(&mut stream, &mut stop, limits.count).await,
                chunk = stream.chunk() => chunk,
            };
            match chunk {
                Ok(Some(chunk)) => match self.take(&chunk, limits.count) {
                    Ok(false) => {}
                    Ok(true) => break Ok(()),
                    Err(failure) => break Err(failure),
                },
                Ok(None) => break Err(self.ended()),
                Err(error) => break Err(error.into()),
            }
        };
        drop(stream);
        self.end(outcome)
    }

    /// Takes what passed until now and is on its way still. Who is asked to end once more does so at once.
    async fn drain(
        &mut self,
        stream: &mut LogStream,
        stop: &mut Stop,
        count: Option<u64>,
    ) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        self.end_nanos = u64::try_from(now).unwrap_or(u64::MAX);
        let rest = async {
            while let Ok(Ok(Some(chunk))) = timeout(ON_ITS_WAY, stream.chunk()).await {
                if self.take(&chunk, count)? {
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            () = stop.wait() => Ok(()),
            rest = timeout(DRAIN_WITHIN, rest) => rest.unwrap_or(Ok(())),
        }
    }

    /// Whether it is over: `count` frames are there, or one that came too late.
    fn take(&mut self, chunk: &[u8], count: Option<u64>) -> Result<bool, Failure> {
        let Self {
            blocks,
            tally,
            sink,
            pending,
            end_nanos,
        } = self;
        let flow = blocks.take(chunk, |bytes| {
            let block = read_block(bytes)?;
            if matches!(&block, Block::Packet(packet) if packet.nanos > *end_nanos) {
                return Ok(ControlFlow::Break(()));
            }
            sink.block(bytes, &block, tally, pending)?;
            tally.count(&block);
            let is_over = count.is_some_and(|count| tally.total().taken >= count);
            Ok::<_, Failure>(match is_over {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        self.flush()?;
        Ok(flow.is_break())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.sink {
            Sink::Text(text) => text.flush(),
            Sink::Files(files) => files.flush(),
            Sink::Stdout => {
                let written = output::write(io::stdout(), &self.pending);
                self.pending.clear();
                written
            }
        }
    }

    /// The agent ended it.
    fn ended(&self) -> Failure {
        let why = match self.tally.comment() {
            "" => "the agent says no more",
            why => why,
        };
        Failure::said(format!("the capture ended: {why}"))
    }

    /// Completes what was written, whatever ended it.
    fn end(mut self, outcome: Result<(), Failure>) -> Result<u8, Failure> {
        let is_full = matches!(outcome, Err(Failure::Write { .. } | Failure::Output(_)));
        let completed = match &mut self.sink {
            Sink::Files(files) if is_full => {
                files.finish_full(&self.tally);
                Ok(())
            }
            Sink::Files(files) => files.finish(&self.tally),
            Sink::Stdout if !is_full => {
                self.tally.write(&mut self.pending);
                self.flush()
            }
            Sink::Stdout | Sink::Text(_) => Ok(()),
        };
        let total = self.tally.total();
        eprint_line(&format!(
            "{} frames captured, {} lost by the capture",
            total.taken, total.lost
        ));
        outcome.and(completed).map(|()| 0)
    }
}

impl Sink {
    fn block(
        &mut self,
        bytes: &[u8],
        block: &Block<'_>,
        tally: &Tally,
        pending: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match (self, block) {
            // The last ones are written at the end.
            (Self::Stdout | Self::Files(_), Block::Statistics(_)) => {}
            (Self::Files(files), Block::Section | Block::Interface(_)) => files.head(bytes),
            (Self::Files(files), _) => files.block(bytes, tally)?,
            (Self::Stdout, _) if bytes.len() >= DIRECT_LEN => {
                output::write(io::stdout(), pending)?;
                pending.clear();
                output::write(io::stdout(), bytes)?;
            }
            (Self::Stdout, _) => pending.extend_from_slice(bytes),
            (Self::Text(text), Block::Interface(interface)) => text.interface(&interface.name),
            (Self::Text(text), Block::Packet(packet)) => text.packet(packet),
            (Self::Text(_), _) => {}
        }
        Ok(())
    }
}

/// What people and service managers end a program with.
struct Stop([Signal; 3]);

impl Stop {
    fn watch() -> Result<Self, Failure> {
        let watch = |kind| signal(kind).map_err(Failure::Runtime);
        Ok(Self([
            watch(SignalKind::interrupt())?,
            watch(SignalKind::terminate())?,
            watch(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

impl From<Damaged> for Failure {
    fn from(error: Damaged) -> Self {
        Self::said(format!(
            "the agent sends no capture that this version reads ({error}); run both in the same version"
        ))
    }
}

/// Standard output may be the capture.
fn eprint_line(line: &str) {
    use io::Write;
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The agent lets frames gather for some milliseconds before it sends them.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

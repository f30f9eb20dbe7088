//! UDP between stations of a lab: the sending tool, the counting tool, and trials with them.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::interrupt::pause;
use crate::lab::{Lab, Station};
use crate::search::Trial;
use crate::statistics::count_f64;
use crate::tools::{Count, Counted, Send, Sent};
use crate::traffic_process::{End, TrafficProcess};
use crate::trouble::Trouble;

/// Flows from some stations to others.
pub(crate) struct Traffic<'l> {
    sender: TrafficProcess<'l>,
    sink: TrafficProcess<'l>,
    trial: u32,
    threads: usize,
}

/// How a flow set is built.
pub(crate) struct Flows<'l, 's> {
    pub(crate) from: &'s [&'l Station],
    pub(crate) into: &'s [&'l Station],
    /// Where the datagrams are addressed to, unless to the receiving stations.
    pub(crate) to: Option<Ipv4Addr>,
    /// Nobody sends to itself.
    pub(crate) mesh: bool,
    /// Datagrams a superframe; 1 for none.
    pub(crate) gso: usize,
    pub(crate) batch: usize,
}

impl<'l, 's> Flows<'l, 's> {
    pub(crate) fn new(from: &'s [&'l Station], into: &'s [&'l Station]) -> Self {
        Self {
            from,
            into,
            to: None,
            mesh: false,
            gso: 1,
            batch: 32,
        }
    }

    pub(crate) fn start(&self, lab: &'l Lab) -> Result<Traffic<'l>, Trouble> {
        let mut sink = vec!["udp-sink".to_owned()];
        sink.extend(self.into.iter().flat_map(|station| netns_argument(station)));
        let mut sender = vec!["udp-send".to_owned()];
        sender.extend(self.from.iter().flat_map(|station| netns_argument(station)));
        match self.to {
            Some(address) => sender.extend(["--to".to_owned(), address.to_string()]),
            None => sender.extend(
                self.into
                    .iter()
                    .flat_map(|station| ["--to".to_owned(), station.address.to_string()]),
            ),
        }
        if self.mesh {
            sender.push("--mesh".to_owned());
        }
        sender.extend(["--gso".to_owned(), self.gso.to_string()]);
        sender.extend(["--batch".to_owned(), self.batch.to_string()]);
        let mut traffic = Traffic {
            sink: lab.tool(End::Receiver, &sink)?,
            sender: lab.tool(End::Sender, &sender)?,
            trial: 0,
            threads: 1,
        };
        // Addresses are resolved and MACs learned before anything counts; a MAC that only listens would age.
        for station in self.into {
            station.greet(self.from)?;
        }
        traffic.warm_up(2 * self.from.len())?;
        Ok(traffic)
    }
}

impl Traffic<'_> {
    /// One trial of `seconds`; the rate is for all flows together, `None` as fast as the sender can.
    pub(crate) fn trial(
        &mut self,
        size: usize,
        rate: Option<f64>,
        seconds: f64,
    ) -> Result<Trial, Trouble> {
        self.begin(size, rate, seconds)?;
        let (sent, received) = self.end(seconds)?;
        let seconds = sent.seconds.max(f64::MIN_POSITIVE);
        Ok(Trial {
            offered: count_f64(sent.datagrams) / seconds,
            delivered: count_f64(received) / seconds,
        })
    }

    /// Sends `count` datagrams back to back and returns how many arrived.
    pub(crate) fn burst(&mut self, size: usize, count: u64) -> Result<u64, Trouble> {
        self.send(size, 0.0, 0.0, count)?;
        Ok(self.end(1.0)?.1)
    }

    /// How many threads send from now on.
    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    /// Starts a trial that [`Self::end`] waits for.
    pub(crate) fn begin(
        &mut self,
        size: usize,
        rate: Option<f64>,
        seconds: f64,
    ) -> Result<(), Trouble> {
        self.send(size, rate.unwrap_or(0.0), seconds, 0)
    }

    /// What was sent, and how many of it arrived.
    pub(crate) fn end(&mut self, seconds: f64) -> Result<(Sent, u64), Trouble> {
        let limit = Duration::from_secs_f64(seconds) + PATIENCE;
        let sent: Sent = self.sender.answer(limit)?;
        Ok((sent, self.settled_count(sent.datagrams)?))
    }

    pub(crate) fn sink(&self) -> &TrafficProcess<'_> {
        &self.sink
    }

    fn send(&mut self, size: usize, rate: f64, seconds: f64, count: u64) -> Result<(), Trouble> {
        self.trial += 1;
        self.sender.tell(&Send {
            trial: self.trial,
            threads: self.threads,
            size,
            rate,
            seconds,
            count,
        })
    }

    /// The count once nothing more arrives.
    fn settled_count(&mut self, expected: u64) -> Result<u64, Trouble> {
        let (mut last, mut still) = (0, 0);
        loop {
            pause(SETTLE)?;
            let count = self.count()?;
            still = if count == last { still + 1 } else { 0 };
            if count == expected || still == STILL {
                return Ok(count);
            }
            last = count;
        }
    }

    fn count(&mut self) -> Result<u64, Trouble> {
        let trial = self.trial;
        let counted: Counted = self.sink.ask(&Count { trial }, PATIENCE)?;
        Ok(counted.datagrams)
    }

    fn warm_up(&mut self, datagrams: usize) -> Result<(), Trouble> {
        let count = u64::try_from(datagrams).unwrap_or(0).max(WARM_UP);
        self.send(64, WARM_UP_RATE, 0.0, count)?;
        let _: Sent = self.sender.answer(PATIENCE)?;
        pause(SETTLE)
    }
}

fn netns_argument(station: &Station) -> [String; 2] {
    let path = station.netns.path().display().to_string();
    ["--netns".to_owned(), path]
}

const PATIENCE: Duration = Duration::from_secs(10);
/// Counts without a change that say that nothing more will come.
const STILL: usize = 2;
/// Longer than any queue of the path holds a frame back.
const SETTLE: Duration = Duration::from_millis(20);
const WARM_UP: u64 = 100;
/// Slow enough for datagrams to leave one by one.
const WARM_UP_RATE: f64 = 1000.0;

//! One reader stands still; what do the others feel (RFC 2889 §5.5)?

use rustix::process::{Pid, Signal, kill_process};

use super::latency::Pair;
use super::{Effort, Metric, Row};
use crate::interrupt::pause;
use crate::lab::{Lab, Topology};
use crate::traffic::{Flows, Traffic};
use crate::trouble::Trouble;

/// Station 2 sends to station 3, whose reader is stopped; stations 0 and 1 are the others. The same traffic with the
/// reader running is the baseline.
#[derive(Debug)]
pub(crate) struct HeadOfLine;

impl Row for HeadOfLine {
    fn name(&self) -> String {
        "head-of-line".to_owned()
    }

    fn what(&self) -> String {
        "one reader is stopped (SIGSTOP): loss of the others, and their TCP_RR p99 against before"
            .to_owned()
    }

    fn metrics(&self) -> &'static [Metric] {
        const { &[Metric::lower("loss", "%"), Metric::lower("p99-ratio", "×")] }
    }

    fn topology(&self) -> Topology {
        Topology::stations(4)
    }

    fn is_quick(&self) -> bool {
        true
    }

    fn run(&self, lab: &mut Lab, effort: &Effort) -> Result<Vec<f64>, Trouble> {
        let [first, second, third, fourth] = lab.stations.as_slice() else {
            return Err(Trouble::Unsupported("needs four stations".to_owned()));
        };
        let mut pair = Pair::start(lab, first, second)?;
        let (a, b, c, d) = ([first], [second], [third], [fourth]);
        let mut others = Flows::new(&a, &b).start(lab)?;
        let mut towards = Flows::new(&c, &d).start(lab)?;
        let seconds = effort.stream_s / 2.0;
        let before = phase(&mut pair, &mut others, &mut towards, seconds)?;
        towards.end(seconds)?;
        // The socket's owner, and the process that reads the TAP where there is one.
        towards.sink().signal(Signal::STOP);
        let reader = lab
            .fabric
            .reader_of(&fourth.plug())
            .map(|pid| pid.cast_signed());
        let reader = reader.and_then(Pid::from_raw);
        let _continue = reader.map(Stopped::new);
        let during = phase(&mut pair, &mut others, &mut towards, seconds)?;
        towards.sink().signal(Signal::CONT);
        Ok(vec![during.loss * 100.0, during.p99_us / before.p99_us])
    }
}

struct Felt {
    loss: f64,
    p99_us: f64,
}

/// Loss and p99 of the others while station 3 is sent to. The caller fetches the outcome of that, if it can.
fn phase(
    pair: &mut Pair<'_>,
    others: &mut Traffic<'_>,
    towards: &mut Traffic<'_>,
    seconds: f64,
) -> Result<Felt, Trouble> {
    towards.begin(SIZE, Some(TOWARDS_RATE), seconds)?;
    others.begin(SIZE, Some(OTHERS_RATE), seconds)?;
    let latencies = pair.exchange(false, seconds * 0.9)?;
    let (sent, received) = others.end(seconds)?;
    pause(std::time::Duration::from_millis(50))?;
    let lost = sent.datagrams.saturating_sub(received);
    let loss =
        crate::statistics::count_f64(lost) / crate::statistics::count_f64(sent.datagrams.max(1));
    Ok(Felt {
        loss,
        p99_us: latencies.p99_us,
    })
}

/// A process that stands still while this lives.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Self {
        let _ = kill_process(pid, Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

const SIZE: usize = 512;
/// Datagrams a second: what every contender carries with ease.
const OTHERS_RATE: f64 = 5000.0;
const TOWARDS_RATE: f64 = 10_000.0;

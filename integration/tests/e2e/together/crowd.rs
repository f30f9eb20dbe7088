//! Fifty containers at once: a network costs little beside the containers themselves, and the agent answers meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::percentile;
use crate::harness::Host;

/// Both crowds run at the same time, so that whatever else the machine does meets them alike. The processor is shared then: who has
/// `r` times the work of the other ends after `(1 + r) / 2` of its time. Who waits for something else than the processor ends later.
#[test]
fn fifty_runs_at_once_take_little_longer_with_a_network_and_requests_are_answered_meanwhile() {
    let [host, other, idle] = [(); 3].map(|()| Host::start());
    host.tapestry(&["run", "--rm", "--", "true"]).ok();
    let (mut ratios, mut answers, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let [networked, alone] = std::thread::scope(|scope| {
            let crowds = [
                scope.spawn(|| ask_during(&host, &mut answers, || crowd(&host, true))),
                scope.spawn(|| ask_during(&idle, &mut elsewhere, || crowd(&other, false))),
            ];
            crowds.map(|crowd| crowd.join().unwrap())
        });
        let ratio = 2.0 * networked.as_secs_f64() / alone.as_secs_f64() - 1.0;
        println!(
            "{CROWD} runs: {networked:.2?}, with --network none {alone:.2?}: ratio {ratio:.2}"
        );
        ratios.push(ratio);
    }
    let (own, reference) = (
        report("this agent", &answers),
        report("an idle one", &elsewhere),
    );
    assert!(host.containers().is_empty() && host.network("bridge").endpoints.is_empty());

    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[PAIRS / 2];
    assert!(ratio <= RATIO_MAX, "the median of {ratios:.2?}");
    // A machine on which an idle agent is that slow says nothing of locks, unless this one is much slower.
    let limit = ANSWER_MAX.max(reference * 2);
    assert!(
        own <= limit,
        "{own:.2?} at the 99th percentile; {limit:.2?} is the limit"
    );
}

/// From the start of the first to the end of the last.
fn crowd(host: &Host, networked: bool) -> Duration {
    let network = if networked { "bridge" } else { "none" };
    let mut command = host.command(&["run", "--rm", "--network", network, "--", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let children: Vec<Child> = host
        .netns
        .enter(|| (0..CROWD).map(|_| command.spawn().unwrap()).collect());
    for mut child in children {
        let status = child.wait().unwrap();
        assert!(status.success(), "{network}: {status}");
    }
    start.elapsed()
}

/// Asks for the networks over one connection, every few milliseconds for as long as `act` goes on; collects how long
/// each answer took.
fn ask_during<T: Send>(
    host: &Host,
    times: &mut Vec<Duration>,
    act: impl FnOnce() -> T + Send,
) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut line = Line::open(host);
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                times.push(line.ask());
                std::thread::sleep(PAUSE);
            }
            times
        });
        let outcome = act();
        over.store(true, Ordering::Relaxed);
        times.extend(asking.join().unwrap());
        outcome
    })
}

/// A connection that is kept.
struct Line {
    stream: BufReader<UnixStream>,
}

impl Line {
    fn open(host: &Host) -> Self {
        let stream = UnixStream::connect(host.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn ask(&mut self) -> Duration {
        let start = Instant::now();
        let question = "GET /v1/networks HTTP/1.1\r\nHost: tapestry\r\n\r\n";
        self.stream
            .get_mut()
            .write_all(question.as_bytes())
            .unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200 "), "{line:?}");
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.expect("a length")];
        self.stream.read_exact(&mut body).unwrap();
        start.elapsed()
    }
}

/// Prints the figures; gives the 99th percentile.
fn report(who: &str, times: &[Duration]) -> Duration {
    let [half, most, all] = [50, 99, 100].map(|percent| percentile(times, percent));
    println!(
        "GET /v1/networks, {who}: {} answers, median {half:.2?}, p99 {most:.2?}, slowest {all:.2?}",
        times.len()
    );
    most
}

const CROWD: usize = 50;
const PAIRS: usize = 9;
/// What a network may cost, in time of the same containers without one.
const RATIO_MAX: f64 = 1.3;
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(60);

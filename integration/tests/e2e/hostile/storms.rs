//! A container that floods its network, and who else lives on the host.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use switch_core::Mac;

use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{PLAIN, ethernet};

/// Bytes that one endpoint sends to another, as long as `over` is not set.
fn stream(from: &Endpoint<'_>, to: &Endpoint<'_>, over: &AtomicBool, received: &AtomicU64) {
    let listener = to.netns.enter(|| TcpListener::bind("0.0.0.0:9").unwrap());
    let address = (to.ipv4(), 9);
    let mut sender = from.netns.enter(|| TcpStream::connect(address).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    let patience = Some(Duration::from_secs(1));
    sender.set_write_timeout(patience).unwrap();
    receiver.set_read_timeout(patience).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let chunk = vec![0; 1 << 16];
            while !over.load(Ordering::Relaxed) {
                let _ = sender.write(&chunk);
            }
        });
        let mut chunk = vec![0; 1 << 18];
        while !over.load(Ordering::Relaxed) {
            let count = receiver.read(&mut chunk).unwrap_or(0);
            received.fetch_add(u64::try_from(count).unwrap(), Ordering::Relaxed);
        }
    });
}

/// Sends frames at a pace, as long as `storms` is set, until it is over.
fn storm(noisy: &Endpoint<'_>, storms: &AtomicBool, over: &AtomicBool) {
    let wire = noisy.wire();
    let frame = ethernet(Mac::BROADCAST, noisy.mac(), 0x88b5, &[0; 46]);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        if storms.load(Ordering::Relaxed) {
            for _ in 0..PACE {
                // A full queue is the sender's loss.
                let _ = wire.send(&PLAIN, &frame);
            }
        }
        std::thread::sleep(STEP.saturating_sub(began.elapsed()));
    }
}

#[test]
fn a_storm_into_sixty_ports_leaves_another_network_its_throughput() {
    let host = Host::start();
    for network in ["noise", "peace"] {
        host.tapestry(&["network", "create", network]).ok();
    }
    let names: Vec<_> = (0..PORTS).map(|number| format!("n{number}")).collect();
    let crowd: Vec<_> = names
        .iter()
        .map(|name| host.endpoint("noise", name))
        .collect();
    let share = storm_alone(&host, &crowd[0]);
    println!("a storm takes the agent {share:.2} of a processor");
    let (from, to) = (host.endpoint("peace", "from"), host.endpoint("peace", "to"));
    let (over, storms, received) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        AtomicU64::new(0),
    );
    let ratios = std::thread::scope(|scope| {
        // A test that fails meanwhile ends them too.
        let _end = End(&over);
        scope.spawn(|| stream(&from, &to, &over, &received));
        scope.spawn(|| storm(&crowd[0], &storms, &over));
        eventually(Duration::from_secs(10), "a stream", || {
            (received.load(Ordering::Relaxed) > 10 << 20).then_some(())
        });
        let measure = |storming: bool| {
            storms.store(storming, Ordering::Relaxed);
            std::thread::sleep(SETTLE);
            let (before, began) = (received.load(Ordering::Relaxed), Instant::now());
            std::thread::sleep(WINDOW);
            let bytes = u32::try_from((received.load(Ordering::Relaxed) - before) >> 10).unwrap();
            f64::from(bytes) / began.elapsed().as_secs_f64()
        };
        // The first storm has a full bucket.
        measure(true);
        let rounds = (0..ROUNDS).map(|_| {
            let quiet = measure(false);
            measure(true) / quiet
        });
        rounds.collect::<Vec<_>>()
    });
    let mut sorted = ratios.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    println!("throughput in a storm / without: {median:.2}, of {ratios:.2?}");
    assert!(crowd[0].drops("bum_rate") > 0, "that was no storm");
    // Others on the machine change the ratio, and not what the agent has to do for the storm.
    assert!(share < 0.5, "{share:.2}");
    assert!(median > 0.3, "{ratios:.2?}");
}

/// The share of a processor that the agent needs for a storm, when the bucket is no longer full.
fn storm_alone(host: &Host, noisy: &Endpoint<'_>) -> f64 {
    let (over, storms) = (AtomicBool::new(false), AtomicBool::new(true));
    std::thread::scope(|scope| {
        let _end = End(&over);
        scope.spawn(|| storm(noisy, &storms, &over));
        eventually(Duration::from_secs(20), "a storm", || {
            (noisy.drops("bum_rate") > 0).then_some(())
        });
        let (before, began) = (host.agent_processor_time(), Instant::now());
        std::thread::sleep(Duration::from_millis(700));
        let used = host.agent_processor_time().saturating_sub(before);
        used.as_secs_f64() / began.elapsed().as_secs_f64()
    })
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const PORTS: usize = 60;
/// Frames in each step: more than any budget lets pass, and not so many that their sender needs a processor for itself.
const PACE: usize = 160;
const STEP: Duration = Duration::from_millis(4);
/// Many and short, so that what others do on the machine is in both halves of a round.
const ROUNDS: usize = 21;
const SETTLE: Duration = Duration::from_millis(40);
const WINDOW: Duration = Duration::from_millis(150);

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::{Header, frame};

const MS: Duration = Duration::from_millis(1);
const MBIT: u64 = 1_000_000;

fn limit(rate_bits_s: u64) -> Limit {
    // Two milliseconds.
    Limit {
        rate_bits_s,
        burst_bytes: Some((rate_bits_s / 4000).max(BURST_MIN)),
    }
}

/// A frame of a flow, so long on the wire.
fn envelope(flow: u16, len: usize) -> Vec<u8> {
    let header = Header {
        source_port: flow,
        ..Header::default()
    };
    let bytes = frame(&header, &vec![0; len - header.len()]);
    [&VnetHeader::NONE.to_bytes()[..], &bytes].concat()
}

fn superframe(flow: u16, payload: usize) -> Vec<u8> {
    let header = Header {
        source_port: flow,
        ..Header::default()
    };
    let (bytes, vnet) = header.superframe(&vec![7; payload], 1448);
    [&vnet.to_bytes()[..], &bytes].concat()
}

fn flow_of(envelope: &[u8]) -> u16 {
    u16::from_be_bytes([envelope[10 + 34], envelope[10 + 35]])
}

/// What leaves, and when, from `from` to `to`: popped when the shaper says that it is worth it.
fn run(shaper: &mut Shaper, from: Duration, to: Duration) -> Vec<(Duration, Vec<u8>)> {
    let mut left = Vec::new();
    let mut now = from;
    while let Some(at) = shaper.next_release() {
        now = now.max(at);
        if now >= to {
            break;
        }
        let before = left.len();
        while let Some(envelope) = shaper.pop(now) {
            left.push((now, envelope));
        }
        assert!(
            left.len() > before || shaper.waiting() == 0,
            "woken in vain at {now:?}"
        );
    }
    left
}

fn bytes<'a>(left: impl IntoIterator<Item = &'a (Duration, Vec<u8>)>) -> u64 {
    let wire = left
        .into_iter()
        .map(|(_, envelope)| Envelope::of(envelope).wire_bytes());
    wire.sum()
}

#[test]
fn what_is_below_the_rate_never_waits() {
    let mut shaper = Shaper::new(Some(limit(100 * MBIT)));
    for n in 0..1000 {
        assert!(shaper.pass(n * MS, &envelope(1, 1000)));
    }
    assert_eq!(shaper.counts().delayed, 0);
    assert_eq!(shaper.next_release(), None);
}

#[test]
fn without_a_limit_everything_passes() {
    let mut shaper = Shaper::new(None);
    assert!((0..1000).all(|_| shaper.pass(MS, &superframe(1, 60_000))));
}

#[test]
fn a_superframe_is_cut_where_the_burst_has_no_room_for_it() {
    let mut whole = Shaper::new(Some(limit(1000 * MBIT)));
    assert!(whole.pass(MS, &superframe(1, 60_000)));
    let mut cut = Shaper::new(Some(limit(100 * MBIT)));
    assert!(!cut.pass(MS, &superframe(1, 60_000)));
    assert_eq!(cut.push(MS, &superframe(1, 60_000)), 0);
    assert_eq!(cut.waiting(), 42);
    let left = run(&mut cut, MS, Duration::MAX);
    assert!(left.iter().all(|(_, envelope)| envelope.len() <= 10 + 1514));
    assert_eq!(left.len(), 42);
    let Some((last, _)) = left.last() else {
        panic!("nothing left")
    };
    let ideal = on_wire(bytes(&left) - limit(100 * MBIT).burst(), 100 * MBIT);
    assert!(
        *last >= MS + ideal && *last < MS + ideal + 2 * MS,
        "{last:?}"
    );
}

#[test]
fn nobody_is_woken_for_every_frame() {
    let mut shaper = Shaper::new(Some(limit(100 * MBIT)));
    for n in 0..80 {
        shaper.push(Duration::ZERO, &envelope(n % 2, 1514));
    }
    let times: std::collections::BTreeSet<_> = run(&mut shaper, Duration::ZERO, Duration::MAX)
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    assert!(times.len() <= 18, "{}", times.len());
}

#[test]
fn one_bulk_flow_does_not_starve_others() {
    let mut shaper = Shaper::new(Some(limit(100 * MBIT)));
    let mut sent = BTreeMap::<u16, u64>::new();
    let mut worst = Duration::ZERO;
    let (mut now, mut asked) = (Duration::ZERO, Duration::ZERO);
    while now < 1000 * MS {
        // Flow 1 floods; flow 2 sends as much as a quarter of the rate; flow 3 asks every 10 ms.
        for _ in 0..8 {
            shaper.push(now, &envelope(1, 1514));
        }
        shaper.push(now, &envelope(2, 1514));
        shaper.push(now, &envelope(2, 1514));
        if now.as_millis() % 10 == 0 {
            asked = now;
            shaper.push(now, &envelope(3, 80));
        }
        for (at, envelope) in run(&mut shaper, now, now + MS) {
            let flow = flow_of(&envelope);
            *sent.entry(flow).or_default() += 1;
            if flow == 3 {
                worst = worst.max(at - asked);
            }
        }
        now += MS;
    }
    assert_eq!(sent[&3], 100);
    assert!(worst <= MS, "{worst:?}");
    assert!(sent[&2] >= 1980, "{sent:?}");
    assert!(shaper.counts().dropped > 0);
}

#[test]
fn what_is_urgent_goes_first_and_leaves_a_quarter_to_the_others() {
    let mut shaper = Shaper::new(Some(limit(100 * MBIT)));
    let urgent = |flow| {
        let mut envelope = envelope(flow, 1514);
        envelope[10 + 15] = 46 << 2;
        envelope
    };
    let mut sent = [0, 0];
    for ms in 0..1000 {
        let now = ms * MS;
        for _ in 0..10 {
            shaper.push(now, &envelope(1, 1514));
            shaper.push(now, &urgent(2));
        }
        for (_, envelope) in run(&mut shaper, now, now + MS) {
            sent[usize::from(flow_of(&envelope) - 1)] += 1;
        }
    }
    let share = f64::from(sent[1]) / f64::from(sent[0] + sent[1]);
    assert!((0.73..0.77).contains(&share), "{share}");
    // Alone it has everything, and a little of it does not wait at all.
    let mut shaper = Shaper::new(Some(limit(100 * MBIT)));
    for _ in 0..60 {
        shaper.push(Duration::ZERO, &envelope(1, 1514));
    }
    assert_eq!(run(&mut shaper, Duration::ZERO, MS).len(), 12 + 6);
    shaper.push(MS, &urgent(2));
    assert_eq!(flow_of(&shaper.pop(MS).unwrap()), 2);
}

#[test]
fn a_queue_is_bounded_and_whoever_has_most_pays() {
    let mut shaper = Shaper::new(Some(limit(10 * MBIT)));
    let mut most = 0;
    for n in 0..10_000_u16 {
        shaper.push(Duration::ZERO, &envelope(1, 1514));
        if n % 100 == 0 {
            shaper.push(Duration::ZERO, &envelope(2, 100));
        }
        most = most.max(shaper.queue.wire_bytes());
    }
    assert!(most <= QUEUE_MIN, "{most}");
    let counts = shaper.counts();
    assert_eq!(
        counts.frames,
        counts.sent + counts.dropped + shaper.waiting()
    );
    let left = run(&mut shaper, Duration::ZERO, Duration::MAX);
    let small = left.iter().filter(|(_, envelope)| flow_of(envelope) == 2);
    assert_eq!(small.count(), 100);
}

#[test]
fn a_queue_that_stays_long_tells_its_sender() {
    let mut shaper = Shaper::new(Some(limit(10 * MBIT)));
    let mut now = Duration::ZERO;
    for ms in 0..1000 {
        // Half more than the rate.
        for _ in 0..1 + ms % 2 {
            shaper.push(now, &envelope(1, 1250));
        }
        run(&mut shaper, now, now + MS);
        now += MS;
        if shaper.counts().dropped > 0 {
            break;
        }
    }
    assert!(now > 100 * MS && now < 150 * MS, "{now:?}");
}

#[test]
fn a_change_keeps_what_waits_and_none_lets_it_go() {
    let mut shaper = Shaper::new(Some(limit(MBIT)));
    for _ in 0..30 {
        shaper.push(MS, &envelope(1, 1514));
    }
    run(&mut shaper, MS, 2 * MS);
    shaper.set(Some(limit(1000 * MBIT)));
    let waiting = shaper.waiting();
    assert!(waiting > 20);
    let soon = run(&mut shaper, 2 * MS, 3 * MS);
    assert_eq!(soon.len() as u64, waiting);
    shaper.set(Some(limit(MBIT)));
    for _ in 0..30 {
        shaper.push(3 * MS, &envelope(1, 1514));
    }
    shaper.set(None);
    assert_eq!(shaper.next_release(), Some(Duration::ZERO));
    while shaper.pop(3 * MS).is_some() {}
    assert_eq!(shaper.waiting(), 0);
    assert!(shaper.pass(3 * MS, &envelope(1, 1514)));
}

#[test]
fn draining_gives_everything_out_whatever_the_rate() {
    let mut shaper = Shaper::new(Some(limit(1000)));
    for _ in 0..9 {
        shaper.push(MS, &envelope(1, 1514));
    }
    let drained = std::iter::from_fn(|| shaper.drain()).count();
    assert_eq!((drained, shaper.waiting()), (9, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Over every window that begins and ends with a departure: no more than the rate has for it and a burst; and while something
    /// waits, no less than that to 1 % and a burst.
    #[test]
    fn a_rate_is_kept_over_any_window(
        rate in prop::sample::select(vec![10 * MBIT, 100 * MBIT, 1000 * MBIT, 10_000 * MBIT]),
        kinds in prop::collection::vec((1..6_u16, 0..3_u8), 50..200),
        burst in prop::option::of(3000..1_000_000_u64),
    ) {
        let limit = Limit { rate_bits_s: rate, burst_bytes: burst };
        let mut shaper = Shaper::new(Some(limit));
        for (flow, kind) in &kinds {
            let envelope = match kind {
                0 => envelope(*flow, 60),
                1 => envelope(*flow, 1514),
                _ => superframe(*flow, 60_000),
            };
            shaper.push(Duration::ZERO, &envelope);
        }
        let left = run(&mut shaper, Duration::ZERO, Duration::MAX);
        let counts = shaper.counts();
        prop_assert_eq!(counts.frames, counts.sent + counts.dropped);
        let sizes: Vec<_> = left.iter().map(|(at, envelope)| (*at, Envelope::of(envelope).wire_bytes())).collect();
        for from in (0..sizes.len()).step_by(7) {
            let mut sum = 0;
            for (at, size) in &sizes[from..] {
                sum += size;
                let window = (*at - sizes[from].0).as_secs_f64();
                let most = f64::from(u32::try_from(rate / 1000).unwrap()) * 125.0 * window;
                let slack = (limit.burst() + 1514) as f64 + most * 0.01;
                prop_assert!(sum as f64 <= most + slack, "{sum} in {window}");
            }
        }
        let total: u64 = sizes.iter().map(|(_, size)| size).sum();
        let took = sizes.last().map_or(Duration::ZERO, |(at, _)| *at);
        let needed = on_wire(total, rate);
        prop_assert!(took <= needed.mul_f64(1.01) + MS, "{took:?} for {needed:?}");
    }
}

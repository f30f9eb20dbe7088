use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::VnetHeader;
use crate::testing::Header;

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);

/// A frame of `len` bytes that has a number.
fn envelope(number: u32, len: usize) -> Vec<u8> {
    let mut envelope = vec![0; VnetHeader::LEN + len.max(18)];
    envelope[VnetHeader::LEN + 6] = 2;
    envelope[VnetHeader::LEN + 14..][..4].copy_from_slice(&number.to_be_bytes());
    envelope
}

fn number(envelope: &[u8]) -> u32 {
    let bytes = envelope[VnetHeader::LEN + 14..].first_chunk().unwrap();
    u32::from_be_bytes(*bytes)
}

/// Hands `count` frames in, `spacing` apart, and says which left when.
fn run(line: &mut Line, count: u32, spacing: Duration) -> Vec<(u32, Duration)> {
    let mut left = Vec::new();
    for n in 0..count {
        let now = spacing * n;
        drain(line, now, &mut left);
        line.push(now, &envelope(n, 100));
    }
    drain(line, Duration::MAX, &mut left);
    left
}

fn drain(line: &mut Line, until: Duration, left: &mut Vec<(u32, Duration)>) {
    while let Some(due) = line.next_release().filter(|due| *due <= until) {
        let envelope = line.pop(due).unwrap();
        left.push((number(&envelope), due));
    }
}

fn delayed(delay: Duration) -> Impairment {
    Impairment {
        delay,
        ..Impairment::default()
    }
}

fn unit(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

#[test]
fn frames_leave_in_order_after_the_delay() {
    let left = run(&mut Line::new(delayed(5 * MS), 1), 3, MS);
    assert_eq!(left, [(0, 5 * MS), (1, 6 * MS), (2, 7 * MS)]);
}

/// The probability that an observation is below `x` jitters, written down once more.
fn cumulative(law: Distribution, x: f64) -> f64 {
    // Abramowitz and Stegun 7.1.26, good to 1.5e-7.
    let erf = |x: f64| {
        let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
        let sum = [
            1.061_405_429,
            -1.453_152_027,
            1.421_413_741,
            -0.284_496_736,
            0.254_829_592,
        ];
        let sum = sum.iter().fold(0.0, |sum, c| (sum + c) * t);
        (1.0 - sum * (-x * x).exp()).copysign(x)
    };
    let value = match law {
        Distribution::Uniform => (x + 1.0) / 2.0,
        Distribution::Normal => 0.5 + 0.5 * erf(x / 2.0_f64.sqrt()),
        Distribution::Pareto => 1.0 - (0.75 * x + 1.5).max(1.0).powi(-3),
        Distribution::ParetoNormal => {
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..30 {
                let middle = f64::midpoint(low, high);
                let quantile = 0.25 * Distribution::Normal.quantile(middle)
                    + 0.75 * Distribution::Pareto.quantile(middle);
                if quantile < x {
                    low = middle
                } else {
                    high = middle
                }
            }
            low
        }
    };
    value.clamp(0.0, 1.0)
}

/// Kolmogorov and Smirnov's distance of the delays from the law.
fn distance(law: Distribution, seed: u64, count: u32) -> f64 {
    let (delay, jitter) = (100 * MS, 10 * MS);
    let impairment = Impairment {
        jitter,
        distribution: law,
        limit: Some(u64::MAX),
        ..delayed(delay)
    };
    let left = run(&mut Line::new(impairment, seed), count, 10 * US);
    let mut deviations: Vec<f64> = left
        .iter()
        .map(|(n, at)| ((*at - 10 * US * *n).as_secs_f64() - 0.1) / 0.01)
        .collect();
    deviations.sort_by(f64::total_cmp);
    let all = unit(deviations.len());
    let distances = deviations.iter().enumerate().map(|(rank, x)| {
        let expected = cumulative(law, *x);
        let (below, above) = (unit(rank) / all, unit(rank + 1) / all);
        (expected - below).abs().max((expected - above).abs())
    });
    distances.fold(0.0, f64::max)
}

#[test]
fn delays_are_of_the_distribution_by_kolmogorov_and_smirnov() {
    let laws = [
        Distribution::Uniform,
        Distribution::Normal,
        Distribution::Pareto,
        Distribution::ParetoNormal,
    ];
    for law in laws {
        for seed in 1..3 {
            let found = distance(law, seed, 8_000);
            // The critical value for one in a hundred.
            let critical = 1.628 / 8_000.0_f64.sqrt();
            // The tables' end at four jitters cuts off less than 1 % of Pareto's.
            let tail = 1.0 - cumulative(law, 3.999_99);
            assert!(found < critical + tail, "{law:?} {seed}: {found}");
        }
    }
}

#[test]
fn correlated_delays_resemble_those_before() {
    let impairment = Impairment {
        jitter: 10 * MS,
        jitter_correlation: 0.7,
        ..delayed(50 * MS)
    };
    let left = run(&mut Line::new(impairment, 3), 20_000, 100 * MS);
    let delays: Vec<f64> = left
        .iter()
        .map(|(n, at)| (*at - 100 * MS * *n).as_secs_f64() - 0.05)
        .collect();
    let variance = delays.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
    let shared = delays.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / 19_999.0;
    let correlation = shared / variance;
    assert!((0.67..0.73).contains(&correlation), "{correlation}");
}

#[test]
fn the_rate_is_kept_within_two_in_a_hundred_whatever_the_frames() {
    for (rate, burst, len) in [
        (1_000_000, 0, 64),
        (10_000_000, 15_000, 1514),
        (1_000_000_000, 125_000, 1514),
        (10_000_000_000, 0, 9014),
    ] {
        let impairment = Impairment {
            rate_bits_s: Some(rate),
            burst_bytes: burst,
            limit: Some(u64::MAX),
            ..delayed(MS)
        };
        let mut line = Line::new(impairment, 1);
        let count = 5_000;
        for n in 0..count {
            line.push(Duration::ZERO, &envelope(n, len));
        }
        let mut left = Vec::new();
        drain(&mut line, Duration::MAX, &mut left);
        let last = left.last().unwrap().1 - MS;
        let bits = f64::from(count) * 8.0 * unit(len);
        let found = bits / last.as_secs_f64();
        let wanted = bits / (bits - 8.0 * f64::from(u32::try_from(burst).unwrap()));
        let ratio = found / f64::from(u32::try_from(rate / 1000).unwrap()) / 1000.0 / wanted;
        assert!((0.98..1.02).contains(&ratio), "{rate}: {ratio}");
    }
}

#[test]
fn ten_thousand_frames_in_flight_keep_their_rate() {
    let impairment = Impairment {
        rate_bits_s: Some(1_211_200_000),
        ..delayed(100 * MS)
    };
    let mut line = Line::new(impairment, 1);
    // 10 µs a frame of 1514 bytes.
    let mut most = 0;
    let mut left = Vec::new();
    for n in 0..50_000 {
        drain(&mut line, 10 * US * n, &mut left);
        line.push(10 * US * n, &envelope(n, 1514));
        most = most.max(line.waiting());
    }
    drain(&mut line, Duration::MAX, &mut left);
    assert!((9_999..10_010).contains(&most), "{most}");
    assert_eq!((line.counts().overflowed, left.len()), (0, 50_000));
    let (first, last) = (left[0].1, left[49_999].1);
    assert_eq!(first, 100 * MS + 10 * US);
    assert_eq!(last, 100 * MS + 50_000 * 10 * US);
}

fn lossy(seed: u64, more: Impairment) -> Vec<u32> {
    let impairment = Impairment {
        loss: Loss::Random(Chance::of(0.3)),
        ..more
    };
    let mut left = run(&mut Line::new(impairment, seed), 500, MS);
    left.sort_unstable();
    left.dedup_by_key(|(n, _)| *n);
    left.into_iter().map(|(n, _)| n).collect()
}

#[test]
fn the_fate_of_a_frame_is_the_seeds_and_no_other_faults() {
    let alone = lossy(5, Impairment::default());
    assert_eq!(alone, lossy(5, Impairment::default()));
    assert_ne!(alone, lossy(6, Impairment::default()));
    let more = Impairment {
        duplicate: Chance::of(0.5),
        corrupt: Chance {
            share: 0.0,
            correlation: 0.5,
        },
        reorder: Chance::of(0.5),
        jitter: MS,
        rate_bits_s: Some(1_000_000),
        ..delayed(3 * MS)
    };
    assert_eq!(alone, lossy(5, more));
}

#[test]
fn the_seed_says_which_frames_come_twice_overtake_and_are_corrupt() {
    let impairment = Impairment {
        duplicate: Chance::of(0.1),
        reorder: Chance::of(0.25),
        corrupt: Chance::of(0.01),
        gap: 3,
        ..delayed(10 * MS)
    };
    let fates = |seed| {
        let mut line = Line::new(impairment, seed);
        let left = run(&mut line, 400, MS);
        (left, line.counts())
    };
    let (left, counts) = fates(42);
    assert_eq!((left.clone(), counts), fates(42));
    assert_ne!(left, fates(43).0);
    let expected = LineCounts {
        frames: 400,
        sent: 400 + counts.duplicated,
        delayed: counts.delayed,
        ..counts
    };
    assert_eq!(counts, expected);
    assert_eq!(
        (counts.duplicated, counts.reordered, counts.corrupted),
        (31, 69, 6)
    );
}

#[test]
fn with_a_gap_every_so_manieth_frame_overtakes() {
    let impairment = Impairment {
        reorder: Chance::of(1.0),
        gap: 5,
        ..delayed(10 * MS)
    };
    let left = run(&mut Line::new(impairment, 1), 20, MS);
    let overtook: Vec<_> = left
        .iter()
        .filter(|(n, at)| *at == MS * *n)
        .map(|(n, _)| *n)
        .collect();
    assert_eq!(overtook, [4, 9, 14, 19]);
}

#[test]
fn frames_beyond_the_limit_overflow() {
    let impairment = Impairment {
        limit: Some(2),
        ..delayed(MS)
    };
    let mut line = Line::new(impairment, 1);
    let taken: Vec<_> = (0..3)
        .map(|n| line.push(Duration::ZERO, &envelope(n, 60)))
        .collect();
    assert_eq!(taken.iter().map(|one| one.overflowed).sum::<u64>(), 1);
    assert_eq!((line.counts().overflowed, line.waiting()), (1, 2));
}

#[test]
fn a_change_of_times_releases_in_order_and_one_of_chances_does_not() {
    let mut line = Line::new(delayed(100 * MS), 1);
    line.push(Duration::ZERO, &envelope(1, 60));
    line.push(MS, &envelope(2, 60));
    let lossy = Impairment {
        loss: Loss::Random(Chance::of(0.5)),
        ..delayed(100 * MS)
    };
    line.set(lossy, 1);
    assert_eq!(line.next_release(), Some(100 * MS));
    line.set(Impairment::default(), 1);
    line.push(2 * MS, &envelope(3, 60));
    let left: Vec<_> = std::iter::from_fn(|| line.pop(2 * MS))
        .map(|envelope| number(&envelope))
        .collect();
    assert_eq!(left, [1, 2, 3]);
}

fn superframe(payload: usize) -> Vec<u8> {
    let (bytes, vnet) = Header::default().superframe(&vec![7; payload], 1448);
    [&vnet.to_bytes()[..], &bytes].concat()
}

#[test]
fn a_superframe_is_cut_where_single_frames_meet_a_fault() {
    let envelope = superframe(44 * 1448);
    let count = |impairment| {
        let mut line = Line::new(impairment, 1);
        let taken = line.push(Duration::ZERO, &envelope);
        let left = std::iter::from_fn(|| line.pop(Duration::MAX)).count();
        (taken.queued + taken.lost, left, line.counts())
    };
    let (frames, whole, _) = count(delayed(MS));
    assert_eq!((frames, whole), (44, 1));
    let fast = Impairment {
        rate_bits_s: Some(1_000_000_000),
        ..delayed(MS)
    };
    assert_eq!(count(fast).1, 1);
    let slow = Impairment {
        rate_bits_s: Some(100_000_000),
        ..delayed(MS)
    };
    assert_eq!(count(slow).1, 44);
    let lossy = Impairment {
        loss: Loss::Random(Chance::of(0.25)),
        ..Impairment::default()
    };
    let (frames, left, counts) = count(lossy);
    assert_eq!(frames, 44);
    assert!((1..30).contains(&counts.lost), "{counts:?}");
    assert_eq!(u64::try_from(left).unwrap(), 44 - counts.lost);
    // The limit counts what is on the wire.
    let short = Impairment {
        limit: Some(43),
        ..delayed(MS)
    };
    assert_eq!(count(short).2.overflowed, 44);
}

#[test]
fn the_rate_counts_the_bytes_of_all_frames_of_a_superframe() {
    let impairment = Impairment {
        rate_bits_s: Some(1_000_000_000),
        ..Impairment::default()
    };
    let mut line = Line::new(impairment, 1);
    line.push(Duration::ZERO, &superframe(40 * 1448));
    let bytes = 40 * (1448 + 54);
    assert_eq!(line.next_release(), Some(Duration::from_nanos(bytes * 8)));
}

fn chances() -> impl Strategy<Value = Chance> {
    (0.0..=1.0, 0.0..=1.0).prop_map(|(share, correlation)| Chance { share, correlation })
}

fn losses() -> impl Strategy<Value = Loss> {
    let share = || 0.0..=1.0;
    prop_oneof![
        chances().prop_map(Loss::Random),
        (share(), share(), share(), share(), share()).prop_map(|(p13, p31, p32, p23, p14)| {
            Loss::State {
                p13,
                p31,
                p32,
                p23,
                p14,
            }
        }),
        (share(), share(), share(), share()).prop_map(|(p, r, bad, good)| Loss::Gilbert {
            p,
            r,
            bad,
            good
        }),
    ]
}

fn slots() -> impl Strategy<Value = Option<Slot>> {
    proptest::option::of((0..50_u32, 0..50_u32, 0..4_u64, 0..4000_u64)).prop_map(|slot| {
        slot.map(|(min, more, packets, bytes)| Slot {
            min: MS * min,
            max: MS * (min + more),
            packets,
            bytes,
        })
    })
}

prop_compose! {
    fn impairments()(
        (delay, jitter, jitter_correlation) in (0..200_u32, 0..50_u32, 0.0..=1.0),
        law in 0..4_usize,
        (loss, duplicate, corrupt, reorder) in (losses(), chances(), chances(), chances()),
        (gap, rate, burst, limit) in (0..6_u32, proptest::option::of(0..1_000_000_000_u64), 0..100_000_u64, proptest::option::of(0..200_u64)),
        slot in slots(),
    ) -> Impairment {
        let laws = [Distribution::Uniform, Distribution::Normal, Distribution::Pareto, Distribution::ParetoNormal];
        Impairment {
            delay: MS * delay,
            jitter: MS * jitter,
            jitter_correlation,
            distribution: laws[law],
            loss,
            duplicate,
            corrupt,
            reorder,
            gap,
            rate_bits_s: rate,
            burst_bytes: burst,
            limit,
            slot,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_frame_is_sent_lost_overflowed_or_waiting(
        impairment in impairments(),
        other in impairments(),
        seed in any::<u64>(),
        steps in proptest::collection::vec((0..20_000_u32, 14..9000_usize, 0..30_u8), 1..200),
    ) {
        let mut line = Line::new(impairment, seed);
        let (mut now, mut out) = (Duration::ZERO, 0);
        for (n, (wait_us, len, kind)) in (0..).zip(steps) {
            now += US * wait_us;
            match kind {
                0 => line.set(other, seed),
                1 => { line.push(now, &superframe(len)); }
                2 => { line.push(now, &vec![255; len % 60]); }
                _ => { line.push(now, &envelope(n, len)); }
            }
            while line.pop(now).is_some() {
                out += 1;
            }
            prop_assert!(line.next_release().is_none_or(|due| due > now));
            let counts = line.counts();
            prop_assert_eq!(
                counts.frames + counts.duplicated,
                counts.sent + counts.lost + counts.overflowed + line.waiting()
            );
            prop_assert!(counts.duplicated <= counts.frames && counts.sent <= 2 * counts.frames);
            prop_assert!(out <= counts.sent);
        }
        while let Some(due) = line.next_release() {
            prop_assert!(line.pop(due).is_some());
        }
        prop_assert_eq!(line.waiting(), 0);
    }

    #[test]
    fn the_order_is_kept_unless_reordering_was_asked_for(
        impairment in impairments(),
        seed in any::<u64>(),
        spacing in 0..5_000_u32,
    ) {
        let impairment = Impairment {
            reorder: Chance::default(),
            corrupt: Chance::default(),
            jitter: if impairment.rate_bits_s.is_some_and(|rate| rate > 0) { impairment.jitter } else { Duration::ZERO },
            ..impairment
        };
        let left = run(&mut Line::new(impairment, seed), 200, US * spacing);
        prop_assert!(left.is_sorted_by_key(|(n, _)| *n));
        prop_assert!(left.is_sorted_by_key(|(_, at)| *at));
    }

    #[test]
    fn whatever_comes_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200), impairment in impairments()) {
        let mut line = Line::new(impairment, 1);
        line.push(MS, &bytes);
        while line.pop(Duration::MAX).is_some() {}
        prop_assert_eq!(line.waiting(), 0);
    }
}

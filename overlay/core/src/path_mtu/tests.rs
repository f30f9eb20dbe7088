use proptest::prelude::*;
use switch_lab::simulation::Random;

use super::*;

/// A path, and a host at its end.
struct World {
    search: PathMtu,
    now: u64,
    /// What crosses; nothing says so where it gets narrow.
    mtu: u32,
    loss_percent: usize,
    one_way_ms: u64,
    answers: bool,
    chance: Random,
    /// Answers on the way, and when they arrive.
    answered: Vec<(u64, SendProbe)>,
    sent: Vec<(u64, SendProbe)>,
}

impl World {
    fn new(underlay: Underlay, max: u32, mtu: u32) -> Self {
        Self {
            search: PathMtu::new(underlay, max, 7),
            now: 1,
            mtu,
            loss_percent: 0,
            one_way_ms: 1,
            answers: true,
            chance: Random(1),
            answered: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    fn lost(&mut self) -> bool {
        self.chance.chance(self.loss_percent)
    }

    fn step(&mut self) {
        self.search.handle_timeout(self.time());
        while let Some(probe) = self.search.poll_transmit() {
            self.sent.push((self.now, probe));
            if self.answers && probe.size <= self.mtu && !self.lost() && !self.lost() {
                let at = self.now + 2 * self.one_way_ms;
                self.answered.push((at, probe));
            }
        }
        let now = self.now;
        let (due, later) = self.answered.iter().partition(|(at, _)| *at <= now);
        self.answered = later;
        let due: Vec<_> = due;
        for (_, probe) in due {
            let (nonce, size) = (probe.nonce, probe.size);
            self.search.handle_answer(self.time(), nonce, size);
        }
    }

    /// When something happens next, and not after `end`.
    fn next(&self, end: u64) -> u64 {
        let answers = self.answered.iter().map(|(at, _)| *at);
        let due = self.search.poll_timeout().map(Time::as_millis);
        let next = answers.chain(due).min().unwrap_or(end);
        next.clamp(self.now + 1, end)
    }

    /// With traffic all the time.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.search.handle_traffic(self.time());
            self.step();
            self.now = self.next(end);
        }
    }

    fn rest(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
            self.now = self.next(end);
        }
    }

    fn complete(&self) -> bool {
        self.search.state() == PathState::SearchComplete
    }
}

#[test]
fn a_path_as_wide_as_its_link_takes_one_probe_and_nothing_without_traffic() {
    let mut world = World::new(Underlay::V4, 1500, 1500);
    world.rest(10_000);
    assert!(world.sent.is_empty() && world.search.poll_timeout().is_none());
    assert_eq!(world.search.finding(), PathFinding::Unknown);
    world.run(10);
    assert_eq!(world.search.finding(), PathFinding::Measured(1500));
    let sizes: Vec<_> = world.sent.iter().map(|(_, probe)| probe.size).collect();
    assert_eq!(sizes, [1500, 1280]);
    // Traffic was only at the start: one confirmation, and silence.
    world.rest(60_000);
    assert_eq!(world.sent.len(), 3);
    assert_eq!(world.search.poll_timeout(), None);
    // With traffic, one each three seconds.
    world.sent.clear();
    world.run(30_000);
    assert!((9..=11).contains(&world.sent.len()), "{}", world.sent.len());
}

#[test]
fn a_black_hole_is_found_to_the_byte_within_a_second() {
    for (underlay, mtu) in [
        (Underlay::V4, 1499),
        (Underlay::V4, 1400),
        (Underlay::V4, 1281),
        (Underlay::V4, 1280),
        (Underlay::V4, 1000),
        (Underlay::V4, 576),
        (Underlay::V6, 1420),
        (Underlay::V6, 1280),
    ] {
        let mut world = World::new(underlay, 1500, mtu);
        while !world.complete() {
            assert_eq!(world.search.current(), 1500, "not before it is known");
            world.run(1);
            assert!(world.now < 7000, "{mtu}");
        }
        assert_eq!(world.search.current(), mtu);
        if mtu >= 1280 {
            assert!(world.now < 1000, "{mtu}: {} ms", world.now);
        }
        world.run(60_000);
        assert_eq!(world.search.finding(), PathFinding::Measured(mtu));
    }
}

#[test]
fn a_path_that_becomes_narrow_is_found_within_seconds_and_one_that_grows_in_minutes() {
    let mut world = World::new(Underlay::V4, 1500, 1500);
    world.run(5000);
    world.mtu = 1400;
    world.run(5000);
    assert_eq!(world.search.current(), 1400);
    world.mtu = 1300;
    world.run(5000);
    assert_eq!(world.search.current(), 1300);
    world.mtu = 1450;
    world.run(500_000);
    assert_eq!(world.search.current(), 1300);
    world.run(110_000);
    assert_eq!(world.search.current(), 1450);
}

#[test]
fn a_long_sleep_ends_with_a_confirmation_at_once() {
    let mut world = World::new(Underlay::V4, 1500, 1500);
    world.run(100);
    world.rest(100_000);
    world.mtu = 1400;
    world.run(1000);
    assert_eq!(world.search.current(), 1400);
}

#[test]
fn a_host_that_goes_away_leaves_what_was_found() {
    let mut world = World::new(Underlay::V4, 1500, 1400);
    world.run(2000);
    world.answers = false;
    world.run(200_000);
    assert_eq!(world.search.state(), PathState::Unanswered);
    assert_eq!(world.search.finding(), PathFinding::Measured(1400));
    world.sent.clear();
    world.run(120_000);
    assert!(world.sent.len() <= 18, "{}", world.sent.len());
    world.answers = true;
    world.mtu = 1350;
    world.run(70_000);
    assert_eq!(world.search.finding(), PathFinding::Measured(1350));
}

#[test]
fn where_nobody_answers_it_is_unfindable_and_asked_less_and_less() {
    let mut world = World::new(Underlay::V4, 1500, 1400);
    world.answers = false;
    world.run(10_000);
    assert_eq!(world.search.finding(), PathFinding::Unfindable);
    assert_eq!(world.search.current(), 1500);
    world.run(200_000);
    world.sent.clear();
    world.run(600_000);
    assert!(world.sent.len() <= 6 * 10, "{}", world.sent.len());
    // One that was installed meanwhile.
    world.answers = true;
    world.run(70_000);
    assert_eq!(world.search.finding(), PathFinding::Measured(1400));
}

#[test]
fn what_routers_say_holds_whether_anybody_answers_or_not() {
    for answers in [false, true] {
        let mut world = World::new(Underlay::V4, 1500, 1500);
        world.answers = answers;
        world.run(1500);
        world.search.handle_told(world.time(), 1400);
        assert_eq!(world.search.current(), 1400);
        world.run(20_000);
        let expected = match answers {
            true => PathFinding::Measured(1400),
            false => PathFinding::Told(1400),
        };
        assert_eq!(world.search.finding(), expected);
        // They have forgotten.
        world.search.handle_told(world.time(), 1500);
        world.run(70_000);
        assert_eq!(world.search.current(), 1500);
    }
    let mut world = World::new(Underlay::V4, 1500, 1500);
    world.search.handle_told(world.time(), 60);
    assert_eq!(world.search.current(), 576, "nobody is believed so much");
}

#[test]
fn the_link_sets_the_limit() {
    let mut world = World::new(Underlay::V4, 1500, 9000);
    world.run(1000);
    world.search.set_max(world.time(), 1300);
    assert_eq!(world.search.current(), 1300);
    world.search.set_max(world.time(), 9000);
    assert_eq!(world.search.current(), 9000);
    world.run(1000);
    assert_eq!(world.search.finding(), PathFinding::Measured(9000));
    // What was found narrow stays so while a wider link is searched.
    world.mtu = 1400;
    world.run(6000);
    world.search.set_max(world.time(), 8000);
    assert_eq!(world.search.current(), 1400);
    world.run(1000);
    assert_eq!(world.search.current(), 1400);
    world.search.set_max(world.time(), 500);
    world.run(1000);
    assert_eq!(world.search.finding(), PathFinding::Measured(500));
}

#[test]
fn answers_to_what_was_not_asked_mean_nothing() {
    let mut world = World::new(Underlay::V4, 1500, 1500);
    world.answers = false;
    world.run(10);
    for nonce in 0..1000 {
        world.search.handle_answer(world.time(), nonce, 1500);
    }
    let (_, probe) = world.sent[0];
    assert_eq!(world.search.finding(), PathFinding::Unknown);
    world
        .search
        .handle_answer(world.time(), probe.nonce, probe.size);
    assert_eq!(world.search.finding(), PathFinding::Measured(1500));
    let before = world.search.current();
    world
        .search
        .handle_answer(world.time(), probe.nonce, probe.size);
    assert_eq!(world.search.current(), before);
}

proptest! {
    #[test]
    fn a_bad_path_is_not_taken_for_a_narrow_one_nor_a_narrow_one_for_a_wide_one(
        seed: u64,
        mtu in prop_oneof![576..1500_u32, Just(1500)],
        loss_percent in 0..15_usize,
        one_way_ms in 0..150_u64,
    ) {
        let mut world = World::new(Underlay::V4, 1500, mtu);
        world.loss_percent = loss_percent;
        world.one_way_ms = one_way_ms;
        world.chance = Random(seed);
        world.run(60_000);
        // Nothing that does not cross is ever found to.
        prop_assert!(world.search.current() <= mtu || world.search.found.is_none());
        prop_assert!(world.search.state() != PathState::Disabled);
        // Without loss it is exact.
        if loss_percent == 0 {
            prop_assert_eq!(world.search.finding(), PathFinding::Measured(mtu));
        }
    }

    #[test]
    fn whatever_happens_it_asks_a_bounded_number_of_times(
        seed: u64,
        steps in proptest::collection::vec((0..6_u8, 1..4000_u64, 500..9000_u32), 1..20),
    ) {
        let mut world = World::new(Underlay::V4, 1500, 1500);
        world.chance = Random(seed);
        for (what, ms, number) in steps {
            let now = world.time();
            match what {
                0 => world.mtu = number,
                1 => world.search.set_max(now, number),
                2 => world.search.handle_told(now, number),
                3 => world.answers = !world.answers,
                4 => world.loss_percent = usize::try_from(number % 60).unwrap(),
                _ => world.rest(ms),
            }
            world.run(ms);
            prop_assert!(world.search.current() <= world.search.max);
        }
        world.sent.clear();
        world.loss_percent = 0;
        world.run(60_000);
        // A search of thirteen steps, three rounds each, and confirmations.
        prop_assert!(world.sent.len() < 200, "{}", world.sent.len());
        world.rest(200_000);
        prop_assert_eq!(world.search.poll_timeout(), None);
    }
}

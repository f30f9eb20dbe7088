use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(second: u64) -> Time {
    Time::from_millis(second * 1000)
}

fn mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    Mac::new([2, 0, 0, 0, high, low])
}

fn fdb(learned_max: usize) -> Fdb {
    Fdb::new(FdbConfig {
        learned_max,
        ..FdbConfig::default()
    })
}

const A: PortId = PortId(1);
const B: PortId = PortId(2);

#[test]
fn a_source_is_found_behind_its_port() {
    let fdb = fdb(10);
    assert_eq!(fdb.lookup(mac(1)), None);
    assert_eq!(fdb.learn(at(0), mac(1), A, 10), Learned::New);
    assert_eq!(fdb.learn(at(0), mac(1), A, 10), Learned::Known);
    assert_eq!(fdb.lookup(mac(1)), Some(A));
}

#[test]
fn a_station_that_moves_is_counted_with_its_port() {
    let fdb = fdb(10);
    fdb.learn(at(0), mac(1), A, 10);
    assert_eq!(fdb.learn(at(1), mac(1), B, 10), Learned::Moved { from: A });
    assert_eq!((fdb.learned_count(A), fdb.learned_count(B)), (0, 1));
    assert_eq!(fdb.counts().moved, 1);
}

#[test]
fn a_silent_station_is_forgotten_after_the_limit_and_a_heard_one_is_not() {
    let fdb = fdb(10);
    fdb.learn(at(0), mac(1), A, 10);
    fdb.learn(at(0), mac(2), A, 10);
    fdb.learn(at(200), mac(2), A, 10);
    fdb.age(at(300));
    assert_eq!(fdb.lookup(mac(1)), Some(A));
    fdb.age(at(301));
    assert_eq!(fdb.lookup(mac(1)), None);
    assert_eq!(fdb.lookup(mac(2)), Some(A));
    assert_eq!(fdb.counts().aged, 1);
    fdb.age(at(501));
    assert_eq!(fdb.lookup(mac(2)), None);
    assert_eq!(fdb.learned_count(A), 0);
}

#[test]
fn configured_entries_never_age() {
    let fdb = fdb(10);
    fdb.insert(mac(1), A, FdbKind::Sticky);
    fdb.insert(mac(2), A, FdbKind::Static);
    fdb.age(at(1_000_000));
    assert_eq!(fdb.snapshot(at(0)).len(), 2);
}

#[test]
fn nobody_steals_a_sticky_mac_and_a_static_one_follows_its_station() {
    let fdb = fdb(10);
    fdb.insert(mac(1), A, FdbKind::Sticky);
    fdb.insert(mac(2), A, FdbKind::Static);
    assert_eq!(fdb.learn(at(0), mac(1), B, 10), Learned::Refused);
    assert!(fdb.is_refused(mac(1), B));
    assert!(!fdb.is_refused(mac(1), A));
    assert_eq!(fdb.lookup(mac(1)), Some(A));
    assert_eq!(fdb.learn(at(0), mac(2), B, 10), Learned::Moved { from: A });
    assert_eq!(fdb.snapshot(at(9))[1].kind, FdbKind::Static);
    assert_eq!(fdb.counts().refused, 1);
}

#[test]
fn a_full_port_learns_no_more_and_forgets_who_moved_to_it() {
    let fdb = fdb(10);
    fdb.learn(at(0), mac(1), A, 1);
    assert_eq!(fdb.learn(at(0), mac(2), A, 1), Learned::PortFull);
    fdb.learn(at(0), mac(3), B, 1);
    assert_eq!(fdb.learn(at(0), mac(3), A, 1), Learned::PortFull);
    assert_eq!(fdb.lookup(mac(3)), None);
    assert_eq!(fdb.counts().port_full, 2);
}

#[test]
fn a_port_that_invents_macs_pushes_out_its_own() {
    let fdb = fdb(8);
    for n in 0..4 {
        fdb.learn(at(u64::from(n)), mac(n), A, 100);
    }
    for n in 100..1000 {
        fdb.learn(at(u64::from(n)), mac(n), B, 100);
    }
    assert_eq!((fdb.learned_count(A), fdb.learned_count(B)), (4, 4));
    assert_eq!(fdb.lookup(mac(0)), Some(A));
    assert_eq!(fdb.lookup(mac(995)), None);
    assert_eq!(fdb.lookup(mac(999)), Some(B));
    assert_eq!(fdb.counts().evicted, 896);
}

#[test]
fn eviction_spares_who_was_heard_lately() {
    let fdb = fdb(2);
    fdb.learn(at(0), mac(1), A, 10);
    fdb.learn(at(1), mac(2), A, 10);
    fdb.learn(at(2), mac(1), A, 10);
    fdb.learn(at(3), mac(3), A, 10);
    assert_eq!(fdb.lookup(mac(1)), Some(A));
    assert_eq!(fdb.lookup(mac(2)), None);
}

#[test]
fn flushing_a_port_takes_every_kind_and_spares_the_others() {
    let fdb = fdb(10);
    fdb.learn(at(0), mac(1), A, 10);
    fdb.insert(mac(2), A, FdbKind::Sticky);
    fdb.learn(at(0), mac(3), B, 10);
    fdb.flush_learned(A);
    assert_eq!((fdb.lookup(mac(1)), fdb.lookup(mac(2))), (None, Some(A)));
    fdb.flush_port(A);
    assert_eq!(fdb.snapshot(at(0)).len(), 1);
    assert_eq!(fdb.learned_count(B), 1);
}

#[test]
fn ages_are_shown_to_the_second() {
    let fdb = fdb(10);
    fdb.learn(at(5), mac(1), A, 10);
    assert_eq!(fdb.snapshot(at(12))[0].age, Duration::from_secs(7));
}

/// The same table, slow and plain.
#[derive(Default)]
struct Model {
    entries: BTreeMap<Mac, (PortId, FdbKind, u32)>,
}

impl Model {
    fn learned_count(&self, port: PortId) -> usize {
        self.entries
            .values()
            .filter(|(at, kind, _)| *at == port && *kind == FdbKind::Learned)
            .count()
    }

    fn evict(&mut self) {
        let ports = self.entries.values().map(|(port, ..)| *port);
        let fullest = ports
            .max_by_key(|port| (self.learned_count(*port), *port))
            .unwrap();
        let oldest = self
            .entries
            .iter()
            .filter(|(_, (port, kind, _))| *port == fullest && *kind == FdbKind::Learned)
            .min_by_key(|(mac, (_, _, seen))| (*seen, **mac))
            .map(|(mac, _)| *mac)
            .unwrap();
        self.entries.remove(&oldest);
    }

    fn learn(&mut self, second: u32, mac: Mac, port: PortId, limit: usize, max: usize) -> Learned {
        let known = self.entries.get(&mac).copied();
        match known {
            Some((at, kind, seen)) if at == port => {
                self.entries.insert(mac, (port, kind, seen.max(second)));
                Learned::Known
            }
            Some((_, FdbKind::Sticky, _)) => Learned::Refused,
            Some((from, FdbKind::Static, _)) => {
                self.entries.insert(mac, (port, FdbKind::Static, second));
                Learned::Moved { from }
            }
            Some((from, FdbKind::Learned, _)) => {
                self.entries.remove(&mac);
                if self.learned_count(port) >= limit {
                    return Learned::PortFull;
                }
                self.entries.insert(mac, (port, FdbKind::Learned, second));
                Learned::Moved { from }
            }
            None if self.learned_count(port) >= limit => Learned::PortFull,
            None => {
                let learned = self
                    .entries
                    .values()
                    .filter(|entry| entry.1 == FdbKind::Learned);
                if learned.count() >= max {
                    self.evict();
                }
                self.entries.insert(mac, (port, FdbKind::Learned, second));
                Learned::New
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Learn(u16, u32, usize),
    Insert(u16, u32, bool),
    Remove(u16),
    Flush(u32),
    Wait(u32),
    Age,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..24_u16, 0..4_u32, 3..9_usize).prop_map(|(mac, port, limit)| Step::Learn(mac, port, limit)),
        1 => (0..24_u16, 0..4_u32, any::<bool>()).prop_map(|(mac, port, sticky)| Step::Insert(mac, port, sticky)),
        1 => (0..24_u16).prop_map(Step::Remove),
        1 => (0..4_u32).prop_map(Step::Flush),
        4 => (1..40_u32).prop_map(Step::Wait),
        1 => Just(Step::Age),
    ]
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..300)) {
        const MAX: usize = 10;
        let fdb = fdb(MAX);
        let mut model = Model::default();
        let mut now = 0;
        for step in steps {
            let time = at(u64::from(now));
            match step {
                Step::Learn(n, port, limit) => {
                    let expected = model.learn(now, mac(n), PortId(port), limit, MAX);
                    prop_assert_eq!(fdb.learn(time, mac(n), PortId(port), limit), expected);
                }
                Step::Insert(n, port, sticky) => {
                    let kind = if sticky { FdbKind::Sticky } else { FdbKind::Static };
                    fdb.insert(mac(n), PortId(port), kind);
                    model.entries.insert(mac(n), (PortId(port), kind, 0));
                }
                Step::Remove(n) => {
                    prop_assert_eq!(fdb.remove(mac(n)), model.entries.remove(&mac(n)).is_some());
                }
                Step::Flush(port) => {
                    fdb.flush_port(PortId(port));
                    model.entries.retain(|_, entry| entry.0 != PortId(port));
                }
                Step::Wait(seconds) => now += seconds,
                Step::Age => {
                    fdb.age(time);
                    model.entries.retain(|_, (_, kind, seen)| *kind != FdbKind::Learned || now - *seen <= 300);
                }
            }
            let entries: Vec<_> = fdb.snapshot(time).iter().map(|entry| (entry.mac, entry.port, entry.kind)).collect();
            let expected: Vec<_> = model.entries.iter().map(|(mac, (port, kind, _))| (*mac, *port, *kind)).collect();
            prop_assert_eq!(entries, expected);
            for port in (0..4).map(PortId) {
                prop_assert_eq!(fdb.learned_count(port), model.learned_count(port));
            }
        }
    }
}

#[test]
fn counts_stay_exact_under_workers_that_contend() {
    let fdb = fdb(64);
    std::thread::scope(|scope| {
        for worker in 0..4_u32 {
            let fdb = &fdb;
            scope.spawn(move || {
                for n in 0..20_000_u64 {
                    let chosen =
                        u16::try_from(n.wrapping_mul(2_654_435_761 + u64::from(worker)) % 128)
                            .unwrap();
                    fdb.learn(at(n / 100), mac(chosen), PortId(worker), 40);
                    fdb.lookup(mac(chosen ^ 1));
                    if n % 1000 == 0 {
                        fdb.age(at(n / 10));
                        fdb.flush_port(PortId((worker + 1) % 4));
                    }
                }
            });
        }
    });
    let snapshot = fdb.snapshot(at(0));
    assert!(snapshot.len() <= 64);
    for port in (0..4).map(PortId) {
        let held = snapshot.iter().filter(|entry| entry.port == port).count();
        assert_eq!(fdb.learned_count(port), held);
    }
}

#[test]
fn what_was_learned_before_is_as_old_as_it_was() {
    let fdb = fdb(3);
    fdb.insert(mac(9), B, FdbKind::Sticky);
    fdb.learn(at(1000), mac(8), B, 10);
    for (number, age) in [(1, 100), (2, 299), (3, 300), (8, 10), (9, 10)] {
        fdb.recall(at(1000), mac(number), A, Duration::from_secs(age), 10);
    }
    assert_eq!(fdb.lookup(mac(1)), Some(A));
    assert_eq!(fdb.lookup(mac(2)), Some(A));
    assert_eq!(fdb.lookup(mac(3)), None, "too old");
    assert_eq!(fdb.lookup(mac(8)), Some(B), "known meanwhile");
    assert_eq!(fdb.lookup(mac(9)), Some(B), "another's for good");
    fdb.recall(at(1000), mac(4), A, Duration::ZERO, 10);
    assert_eq!(fdb.lookup(mac(4)), None, "the table is full");
    assert!(fdb.has_learned());
    assert_eq!(fdb.counts().learned, 1, "recalling is no event");
    fdb.age(at(1002));
    assert_eq!(fdb.lookup(mac(2)), None);
    fdb.age(at(1200));
    assert_eq!(fdb.lookup(mac(1)), Some(A));
    fdb.age(at(1202));
    assert_eq!(fdb.lookup(mac(1)), None);
}

#[test]
fn counts_go_on_from_what_was_counted_before() {
    let fdb = fdb(10);
    fdb.learn(at(0), mac(1), A, 10);
    let before = FdbCounts {
        learned: 5,
        aged: 2,
        ..FdbCounts::default()
    };
    fdb.resume(before);
    assert_eq!((fdb.counts().learned, fdb.counts().aged), (6, 2));
}

#[test]
fn moves_are_told_once_and_only_so_many() {
    let fdb = fdb(100);
    fdb.learn(at(0), mac(1), A, 100);
    fdb.learn(at(1), mac(1), B, 100);
    let moved = Move {
        mac: mac(1),
        from: A,
        to: B,
    };
    let taken = fdb.take_moves();
    assert_eq!((taken.first, taken.others), (vec![moved], 0));
    for (second, port) in (2..102).zip([A, B].into_iter().cycle()) {
        fdb.learn(at(second), mac(1), port, 100);
    }
    let taken = fdb.take_moves();
    assert_eq!((taken.first.len(), taken.others), (MOVES_KEPT, 68));
    assert_eq!(
        taken.first[0],
        Move {
            from: B,
            to: A,
            ..moved
        }
    );
    assert_eq!(fdb.take_moves(), Moves::default());
    assert_eq!(fdb.counts().moved, 101);
}

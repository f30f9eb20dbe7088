//! Hosts made of the real bridges, directories, peers, cutting and reassembly, over a simulated network and store, beside a
//! reference model that knows where every endpoint is. Everything follows from a seed; a failure prints it.
//!
//! A build with optimisation goes through a thousand worlds, another one through a few; `SIM_SEEDS=5000` through that many. A
//! seed that failed is kept in [`KEPT`].

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read files, clocks and settings"
)]

use sim::world::{Shape, World};
use switch_lab::simulation::{seeds, with_seed};

#[test]
fn whatever_happens_the_switch_ends_as_the_model_says() {
    for seed in seeds(SEEDS) {
        with_seed(seed, || live_and_settle(seed));
    }
}

#[test]
fn seeds_that_failed_once_do_not_again() {
    for (seed, _) in KEPT {
        with_seed(*seed, || live_and_settle(*seed));
    }
}

fn live_and_settle(seed: u64) {
    let mut world = World::new(Shape::small(), seed);
    world.run(500);
    for _ in 0..60 {
        world.transition();
    }
    world.heal();
    world.run(6000);
    world.check_owners();
    world.lay_ghosts();
    world.run(1000);
    world.check_everything();
}

/// Every hour ends with nobody attached, and a while in which all that is remembered of the past may be forgotten. Some parts of frames
/// whose rest was lost may still wait then, so the least that is held in each half of the day is what has to stay.
#[test]
fn a_day_of_coming_and_going_leaves_no_more_than_its_first_hours() {
    let mut world = World::new(Shape::day(), 24);
    let mut held = Vec::new();
    for _ in 0..HOURS {
        for _ in 0..60 {
            world.spoil(5);
            (0..12).for_each(|_| world.transition());
            world.thin_out(40);
            world.heal();
            world.run(52_000);
        }
        world.lay_ghosts();
        world.thin_out(0);
        world.run(600_000);
        held.push(world.held());
    }
    let (morning, evening) = held.split_at(held.len() / 2);
    let (before, after) = (morning.iter().min(), evening.iter().min());
    let before = *before.expect("a day has a morning");
    assert!(
        after.is_some_and(|after| *after <= before + before / 10),
        "{held:?}"
    );
    let most = *morning.iter().max().expect("a day has a morning");
    assert!(evening.iter().all(|held| *held <= 2 * most), "{held:?}");
    world.look_closely();
    world.attach(0, 0);
    world.attach(1, 0);
    world.run(1000);
    world.check_everything();
}

#[test]
fn a_moved_endpoint_is_reached_from_everywhere_within_a_second() {
    for seed in 1..=10 {
        with_seed(seed, || {
            let mut world = World::new(Shape::small(), seed);
            let endpoint = world.attach(0, 0);
            world.attach(1, 0);
            world.attach(2, 0);
            world.run(1000);
            for target in [3, 1, 0, 2] {
                world.move_to(endpoint, target);
                world.run(999);
                world.check_everything();
            }
        });
    }
}

#[test]
fn an_address_used_again_is_answered_with_its_new_owner() {
    for seed in 1..=10 {
        with_seed(seed, || {
            let mut world = World::new(Shape::small(), seed);
            let mut owner = world.attach(0, 0);
            for host in 1..4 {
                world.attach(host, 0);
            }
            world.run(1000);
            for host in [1, 2, 3, 0, 2] {
                owner = world.reuse_address(owner, host);
                world.run(999);
                world.check_everything();
            }
        });
    }
}

#[test]
fn networks_with_the_same_addresses_do_not_meet() {
    let mut world = World::new(Shape::small(), 7);
    for host in 0..4 {
        // The same MACs and addresses in both networks.
        world.attach_as(host, 0, u16::try_from(host).unwrap());
        world.attach_as(host, 1, u16::try_from(host).unwrap());
    }
    world.run(2000);
    world.check_everything();
    assert!(world.delivered() > 0);
}

#[test]
fn a_host_that_lost_the_store_keeps_its_traffic_and_catches_up_in_two_seconds() {
    let mut world = World::new(Shape::small(), 3);
    let endpoints: Vec<_> = (0..4).map(|host| world.attach(host, 0)).collect();
    world.run(2000);
    world.cut_store_for_all();
    world.run(60_000);
    world.check_unicast(&endpoints);
    world.heal();
    world.run(2000);
    world.check_everything();
}

#[test]
fn a_dead_host_is_known_by_its_peers_in_a_second_and_forgotten_with_its_lease() {
    let mut world = World::new(Shape::small(), 5);
    for host in 0..4 {
        world.attach(host, 0);
    }
    world.run(2000);
    assert_eq!(world.links_up(), 12);
    world.crash(2);
    world.run(1000);
    assert_eq!(world.links_up(), 6);
    world.run(5000);
    assert_eq!(world.records_of(2), 0);
    world.check_everything();
    world.restart(2);
    world.attach(2, 0);
    world.run(1000);
    assert_eq!(world.links_up(), 12);
    world.check_everything();
}

#[test]
fn fifty_hosts_with_a_hundred_endpoints_each_converge_and_a_change_costs_a_message_a_host() {
    let mut per_change = Vec::new();
    for (hosts, endpoints) in [(10, 20), (50, 100)] {
        let mut world = World::new(Shape::large(hosts), 11);
        for host in 0..hosts {
            for _ in 0..endpoints {
                world.attach(host, host % 4);
            }
        }
        world.run(2000);
        assert_eq!(world.records_everywhere(), hosts * hosts * endpoints);
        let before = world.store_messages();
        let endpoint = world.attach(0, 0);
        world.move_to(endpoint, 4);
        world.run(1000);
        // Attached, moved, withdrawn: three changes.
        let messages = world.store_messages() - before;
        assert!(messages <= 3 * hosts, "{messages} messages, {hosts} hosts");
        per_change.push(messages / 3);
        world.check_sample(200);
    }
    assert!(per_change[1] <= per_change[0] * 6, "{per_change:?}");
}

const SEEDS: u64 = if cfg!(debug_assertions) { 15 } else { 1000 };
const HOURS: u32 = if cfg!(debug_assertions) { 2 } else { 24 };
/// With what was wrong.
const KEPT: &[(u64, &str)] = &[];

mod sim {
    pub(crate) mod host;
    pub(crate) mod net;
    pub(crate) mod store;
    pub(crate) mod world;
}

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Time = Time::from_millis(1000);
const STICKY: RecordFlags = RecordFlags {
    sticky: true,
    gateway: false,
};

fn network() -> NetworkId {
    NetworkId::new([42; 32])
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn directory(name: &str) -> Directory {
    let mut directory = Directory::new(DirectoryConfig::new(host(name), Epoch(1)));
    directory.attach_network(network());
    directory
}

fn record(name: &str, last: u8, sequence: u32) -> Record {
    Record {
        network: network(),
        mac: mac(last),
        addresses: vec![ip(last)],
        host: host(name),
        epoch: Epoch(1),
        sequence: Sequence(sequence),
        flags: STICKY,
    }
}

fn announce(directory: &mut Directory, last: u8) -> Record {
    let place = (network(), mac(last));
    directory
        .announce(NOW, place, &[ip(last)], STICKY, Sequence(0))
        .unwrap()
}

fn events(directory: &mut Directory) -> Vec<DirectoryEvent> {
    std::iter::from_fn(|| directory.poll_event()).collect()
}

fn is_at(directory: &Directory, last: u8) -> Option<&str> {
    let record = directory.locate(network(), mac(last))?;
    assert_eq!(directory.resolve(network(), ip(last)), Some(record));
    Some(record.host.as_str())
}

#[test]
fn after_a_store_was_set_back_a_life_with_a_lower_number_is_a_new_one() {
    let mut directory = directory("b");
    let of_life = |epoch, last| Record {
        epoch: Epoch(epoch),
        ..record("a", last, 9)
    };
    directory.apply(NOW, of_life(5, 1));
    let gone = of_life(5, 2);
    directory.apply(NOW, gone.clone());
    directory.apply_withdrawal(NOW, &gone.withdrawal());
    assert_eq!(directory.apply(NOW, of_life(3, 2)), Applied::OldEpoch);
    directory.forget_past();
    assert_eq!(directory.apply(NOW, of_life(3, 2)), Applied::Installed);
    assert_eq!(is_at(&directory, 2), Some("a"));
    assert_eq!(is_at(&directory, 1), None, "it was of the life before");
}

#[test]
fn a_host_that_is_alive_by_a_lower_number_is_in_a_store_that_was_set_back() {
    let mut directory = directory("b");
    let of_life = |name, epoch, last| Record {
        epoch: Epoch(epoch),
        ..record(name, last, 9)
    };
    let (a, gone) = (host("a"), of_life("a", 5, 1));
    let other = of_life("c", 4, 3);
    for record in [&gone, &other] {
        directory.apply(NOW, record.clone());
    }
    directory.apply_withdrawal(NOW, &gone.withdrawal());
    directory.host_gone(NOW, &a, Epoch(5));
    // It says so again while it lives.
    directory.host_lives(&a, Epoch(5));
    assert_eq!(directory.apply(NOW, of_life("a", 5, 1)), Applied::OldEpoch);
    directory.host_lives(&a, Epoch(3));
    assert_eq!(directory.apply(NOW, of_life("a", 3, 1)), Applied::Installed);
    assert_eq!(is_at(&directory, 1), Some("a"));
    assert_eq!(is_at(&directory, 3), Some("c"), "it was not asked about");
    assert_eq!(directory.apply(NOW, other), Applied::Stale);
}

#[test]
fn a_remote_endpoint_is_told_after_its_host_and_once() {
    let mut directory = directory("b");
    assert_eq!(directory.apply(NOW, record("a", 1, 1)), Applied::Installed);
    let (network, mac) = (network(), mac(1));
    let endpoint = Endpoint {
        host: host("a"),
        addresses: vec![ip(1)],
        flags: STICKY,
    };
    let told = events(&mut directory);
    assert_eq!(
        told,
        [
            DirectoryEvent::FloodJoin {
                network,
                host: host("a")
            },
            DirectoryEvent::Endpoint {
                network,
                mac,
                endpoint
            },
        ]
    );
    assert_eq!(directory.apply(NOW, record("a", 1, 1)), Applied::Stale);
    assert!(events(&mut directory).is_empty());
    directory.apply_withdrawal(NOW, &record("a", 1, 1).withdrawal());
    let told = events(&mut directory);
    assert_eq!(
        told,
        [
            DirectoryEvent::FloodLeave {
                network,
                host: host("a")
            },
            DirectoryEvent::EndpointGone { network, mac },
        ]
    );
    assert!(directory.is_empty());
}

#[test]
fn a_moved_endpoint_wins_before_the_old_host_withdraws() {
    let mut old = directory("a");
    let mut new = directory("b");
    let first = announce(&mut old, 1);
    new.apply(NOW, first.clone());
    let second = announce(&mut new, 1);
    assert_eq!(second.sequence, first.sequence.next());
    old.apply(NOW, second);
    assert_eq!((is_at(&old, 1), is_at(&new, 1)), (Some("b"), Some("b")));
    let withdrawal = old.withdraw(NOW, network(), mac(1)).unwrap();
    assert_eq!(withdrawal, first.withdrawal());
    new.apply_withdrawal(NOW, &withdrawal);
    assert_eq!((is_at(&old, 1), is_at(&new, 1)), (Some("b"), Some("b")));
}

#[test]
fn a_withdrawal_ends_only_what_its_owner_said_until_then() {
    let mut directory = directory("c");
    directory.apply(NOW, record("a", 1, 2));
    let other_owner = record("b", 1, 2).withdrawal();
    directory.apply_withdrawal(NOW, &other_owner);
    let earlier = record("a", 1, 1).withdrawal();
    directory.apply_withdrawal(NOW, &earlier);
    assert_eq!(is_at(&directory, 1), Some("a"));
}

#[test]
fn a_record_that_comes_after_its_withdrawal_stays_dead_for_a_while() {
    let mut directory = directory("c");
    let record = record("a", 1, 3);
    directory.apply_withdrawal(NOW, &record.withdrawal());
    assert_eq!(directory.apply(NOW, record.clone()), Applied::Stale);
    assert_eq!(is_at(&directory, 1), None);
    let later = directory.poll_timeout().unwrap();
    assert_eq!(later, NOW + Duration::from_secs(60));
    directory.handle_timeout(later);
    assert_eq!(directory.apply(later, record), Applied::Installed);
    assert_eq!(directory.poll_timeout(), None);
}

#[test]
fn the_end_of_a_lease_and_a_new_epoch_end_everything_of_the_old() {
    let mut directory = directory("c");
    for last in 1..=3 {
        directory.apply(NOW, record("a", last, 1));
    }
    let mut reborn = record("a", 1, 1);
    reborn.epoch = Epoch(2);
    assert_eq!(directory.apply(NOW, reborn.clone()), Applied::Installed);
    assert_eq!(directory.len(), 1);
    assert_eq!(directory.apply(NOW, record("a", 2, 9)), Applied::OldEpoch);
    directory.host_gone(NOW, &host("a"), Epoch(1));
    assert_eq!(directory.len(), 1, "the old lease is not the new");
    directory.host_gone(NOW, &host("a"), Epoch(2));
    assert!(directory.is_empty());
    assert_eq!(directory.apply(NOW, reborn), Applied::OldEpoch);
    assert!(!directory.is_member(network(), &host("a")));
}

#[test]
fn losing_the_best_claim_brings_back_the_second_best() {
    let mut directory = directory("a");
    announce(&mut directory, 1);
    directory.apply(NOW, record("b", 1, 5));
    assert_eq!(is_at(&directory, 1), Some("b"));
    directory.host_gone(NOW, &host("b"), Epoch(1));
    assert_eq!(is_at(&directory, 1), Some("a"));
}

#[test]
fn an_address_taken_by_another_mac_leaves_the_first() {
    let mut directory = directory("c");
    directory.apply(NOW, record("a", 1, 1));
    events(&mut directory);
    let mut taker = record("b", 2, 2);
    taker.addresses = vec![ip(1)];
    directory.apply(NOW, taker.clone());
    let owner = directory.resolve(network(), ip(1)).unwrap();
    assert_eq!(owner.mac, mac(2));
    let addresses: Vec<_> = events(&mut directory)
        .into_iter()
        .filter_map(|event| match event {
            DirectoryEvent::Endpoint { mac, endpoint, .. } => Some((mac, endpoint.addresses)),
            _ => None,
        })
        .collect();
    assert_eq!(addresses, [(mac(1), vec![]), (mac(2), vec![ip(1)])]);
    directory.apply_withdrawal(NOW, &taker.withdrawal());
    assert_eq!(directory.resolve(network(), ip(1)).unwrap().mac, mac(1));
}

#[test]
fn taking_an_address_outranks_its_owner_and_the_floor_orders_strangers() {
    let mut directory = directory("c");
    directory.apply(NOW, record("a", 1, 7));
    let place = (network(), mac(2));
    let taken = directory.announce(NOW, place, &[ip(1)], STICKY, Sequence(0));
    assert_eq!(taken.clone().unwrap().sequence, Sequence(8));
    let again = directory.announce(NOW, place, &[ip(1)], STICKY, Sequence(0));
    assert_eq!(again, taken);
    let floored = directory.announce(NOW, place, &[ip(1)], STICKY, Sequence(20));
    assert_eq!(floored.unwrap().sequence, Sequence(20));
}

#[test]
fn a_seen_mac_is_taken_over_until_it_is_taken_for_duplicate() {
    let mut directory = directory("c");
    let mut seen = record("a", 1, 1);
    seen.flags = RecordFlags::default();
    let mut takeovers = 0;
    for _ in 0..20 {
        directory.apply(NOW, seen.clone());
        if let Some(record) = directory.learn_local(NOW, network(), mac(1)) {
            takeovers += 1;
            seen.sequence = record.sequence.next();
        }
    }
    assert_eq!(takeovers, 3, "each takeover is two moves");
    assert!(directory.counts().damped > 10);
    let later = NOW + Duration::from_secs(180);
    assert!(directory.learn_local(later, network(), mac(1)).is_some());
}

#[test]
fn a_registered_mac_is_never_taken_over_by_being_seen() {
    let mut directory = directory("c");
    directory.apply(NOW, record("a", 1, 1));
    assert_eq!(directory.learn_local(NOW, network(), mac(1)), None);
    assert_eq!(directory.learn_local(NOW, network(), mac(9)), None);
    let mut seen = record("b", 1, 100);
    seen.flags = RecordFlags::default();
    directory.apply(NOW, seen);
    assert_eq!(is_at(&directory, 1), Some("a"));
}

#[test]
fn a_new_lease_publishes_the_same_claims_in_the_new_epoch() {
    let mut local = directory("a");
    let mut other = directory("b");
    other.apply(NOW, announce(&mut local, 1));
    other.host_gone(NOW, &host("a"), Epoch(1));
    assert_eq!(is_at(&other, 1), None);
    for record in local.renew(NOW, Epoch(2)) {
        other.apply(NOW, record);
    }
    assert_eq!((is_at(&local, 1), is_at(&other, 1)), (Some("a"), Some("a")));
}

#[test]
fn what_a_snapshot_does_not_name_is_gone_but_for_our_own() {
    let mut directory = directory("c");
    announce(&mut directory, 9);
    for last in 1..=3 {
        directory.apply(NOW, record("a", last, 1));
    }
    directory.resync(NOW, vec![record("a", 2, 1), record("b", 4, 1)]);
    let places: Vec<_> = [1, 2, 3, 4, 9].map(|last| is_at(&directory, last)).into();
    assert_eq!(places, [None, Some("a"), None, Some("b"), Some("c")]);
}

#[test]
fn a_network_attached_late_is_told_as_it_is() {
    let mut directory = directory("c");
    let other = NetworkId::new([43; 32]);
    let mut record = record("a", 1, 1);
    record.network = other;
    directory.apply(NOW, record);
    assert!(events(&mut directory).is_empty());
    directory.attach_network(other);
    assert_eq!(events(&mut directory).len(), 2);
    directory.detach_network(other);
    directory.host_gone(NOW, &host("a"), Epoch(1));
    assert!(events(&mut directory).is_empty());
}

#[test]
fn bounds_refuse_and_count() {
    let mut config = DirectoryConfig::new(host("c"), Epoch(1));
    (config.records_max, config.hosts_max) = (2, 2);
    let mut directory = Directory::new(config);
    let mut fat = record("a", 1, 1);
    fat.addresses = vec![ip(1); Record::ADDRESSES_MAX + 1];
    assert_eq!(directory.apply(NOW, fat), Applied::Refused);
    for (name, last, expected) in [
        ("a", 1, Applied::Installed),
        ("b", 2, Applied::Installed),
        ("a", 3, Applied::Refused),
        ("d", 1, Applied::Refused),
    ] {
        assert_eq!(directory.apply(NOW, record(name, last, 1)), expected);
    }
    let place = (network(), mac(5));
    let announced = directory.announce(NOW, place, &[], STICKY, Sequence(0));
    assert_eq!(announced, Err(AnnounceEndpoint::Full));
    assert_eq!(directory.counts().refused, 3);
}

#[test]
fn of_too_many_claims_to_a_mac_the_worst_goes() {
    let mut directory = directory("z");
    for name in ["a", "b", "d", "e", "f", "g", "h", "i", "j"] {
        directory.apply(NOW, record(name, 1, 1));
    }
    assert_eq!(directory.len(), 8);
    assert!(!directory.is_member(network(), &host("j")));
    assert_eq!(is_at(&directory, 1), Some("a"));
}

/// What the store says over time: each host's own changes in their order.
#[derive(Clone, Debug)]
enum Said {
    Record(Record),
    Withdrawal(Withdrawal),
}

fn histories() -> impl Strategy<Value = Vec<Said>> {
    let step = (0..4_u8, 1..4_u8, 0..3_u8, 1..4_u8, any::<bool>());
    proptest::collection::vec(step, 1..40).prop_map(|steps| {
        let mut sequences = [[0_u32; 4]; 4];
        let mut said = Vec::new();
        for (owner, last, kind, address, sticky) in steps {
            let name = ["a", "b", "c", "d"][usize::from(owner)];
            let sequence = &mut sequences[usize::from(owner)][usize::from(last)];
            if kind > 0 {
                *sequence += u32::from(kind);
                let mut record = record(name, last, *sequence);
                record.addresses = vec![ip(address)];
                record.flags.sticky = sticky;
                said.push(Said::Record(record));
            } else {
                said.push(Said::Withdrawal(record(name, last, *sequence).withdrawal()));
            }
        }
        said
    })
}

fn tell(directory: &mut Directory, said: &Said) {
    match said {
        Said::Record(record) => directory.apply(NOW, record.clone()),
        Said::Withdrawal(withdrawal) => directory.apply_withdrawal(NOW, withdrawal),
    };
}

/// What the events of a directory add up to.
fn replay(
    directory: &mut Directory,
    bridge: &mut BTreeMap<Mac, Endpoint>,
    flood: &mut BTreeSet<HostId>,
) {
    for event in events(directory) {
        match event {
            DirectoryEvent::Endpoint { mac, endpoint, .. } => {
                bridge.insert(mac, endpoint);
            }
            DirectoryEvent::EndpointGone { mac, .. } => {
                assert!(bridge.remove(&mac).is_some());
            }
            DirectoryEvent::FloodJoin { host, .. } => assert!(flood.insert(host)),
            DirectoryEvent::FloodLeave { host, .. } => assert!(flood.remove(&host)),
        }
    }
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_ends_in_the_same_state(
        said in histories(),
        order in proptest::collection::vec(any::<u16>(), 80),
    ) {
        let mut straight = directory("z");
        let mut mixed = directory("z");
        for said in &said {
            tell(&mut straight, said);
        }
        let mut twice: Vec<usize> = (0..said.len()).chain(0..said.len()).collect();
        let key = |place: usize| order[place % order.len()];
        let keys: Vec<u16> = (0..twice.len()).map(key).collect();
        let mut places: Vec<usize> = (0..twice.len()).collect();
        places.sort_by_key(|place| keys[*place]);
        twice = places.iter().map(|place| twice[*place]).collect();
        let (mut bridge, mut flood) = (BTreeMap::new(), BTreeSet::new());
        for (step, n) in twice.into_iter().enumerate() {
            tell(&mut mixed, &said[n]);
            if step % 3 == 0 {
                replay(&mut mixed, &mut bridge, &mut flood);
            }
        }
        for last in 0..5 {
            prop_assert_eq!(straight.locate(network(), mac(last)), mixed.locate(network(), mac(last)));
            prop_assert_eq!(straight.resolve(network(), ip(last)), mixed.resolve(network(), ip(last)));
        }
        prop_assert!(straight.flood(network()).eq(mixed.flood(network())));
        replay(&mut mixed, &mut bridge, &mut flood);
        let (mut fresh, mut fresh_flood) = (BTreeMap::new(), BTreeSet::new());
        replay(&mut straight, &mut fresh, &mut fresh_flood);
        prop_assert_eq!((bridge, flood), (fresh, fresh_flood));
    }
}

#[test]
fn of_a_network_that_has_gone_nothing_is_known_until_it_is_said_again() {
    let mut directory = directory("a");
    announce(&mut directory, 1);
    let other = record("b", 2, 1);
    directory.apply(NOW, other.clone());
    let elsewhere = Record {
        network: NetworkId::new([43; 32]),
        ..record("b", 3, 1)
    };
    directory.apply(NOW, elsewhere);
    events(&mut directory);
    directory.forget_network(network());
    assert_eq!((events(&mut directory), directory.len()), (Vec::new(), 1));
    directory.attach_network(network());
    assert_eq!(directory.apply(NOW, other), Applied::Installed);
    assert_eq!(is_at(&directory, 2), Some("b"));
}

#[test]
fn the_hosts_of_networks_are_the_others_with_endpoints_there() {
    let other = NetworkId::new([43; 32]);
    let mut directory = directory("a");
    announce(&mut directory, 1);
    directory.apply(NOW, record("b", 2, 1));
    directory.apply(NOW, record("b", 3, 1));
    directory.apply(
        NOW,
        Record {
            network: other,
            ..record("c", 4, 1)
        },
    );
    let names = |directory: &Directory, networks: &[NetworkId]| {
        let hosts = directory.hosts_of(networks.iter().copied()).into_iter();
        hosts.map(|host| host.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&directory, &[network()]), ["b"]);
    assert_eq!(names(&directory, &[network(), other]), ["b", "c"]);
    assert!(names(&directory, &[]).is_empty());
    directory.apply_withdrawal(NOW, &record("b", 2, 1).withdrawal());
    assert_eq!(names(&directory, &[network()]), ["b"]);
    directory.apply_withdrawal(NOW, &record("b", 3, 1).withdrawal());
    assert!(names(&directory, &[network()]).is_empty());
}

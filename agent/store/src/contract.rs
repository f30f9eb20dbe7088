//! What every store must do, as tests over the trait.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Change, Expected, Store, StoreError, Watch, WatchEvent};

/// Every clause, on a store that is empty.
pub(crate) fn hold(store: &dyn Store) {
    a_put_happens_only_in_the_expected_state(store);
    what_was_read_is_expected_with_its_value(store);
    a_transaction_happens_as_a_whole_or_not_at_all(store);
    a_list_holds_exactly_the_prefix_in_order(store);
    watchers_see_changes_under_their_prefix_in_order(store);
    leased_keys_go_with_their_lease(store);
    a_lease_that_nobody_keeps_runs_out(store);
    of_two_writers_one_wins(store);
}

fn a_put_happens_only_in_the_expected_state(store: &dyn Store) {
    let put = |expected| store.put_if("k", json!(1), expected);
    assert!(matches!(
        put(Expected::Revision(1)),
        Err(StoreError::Missing { .. })
    ));
    let first = put(Expected::Absent).unwrap();
    assert!(matches!(
        put(Expected::Absent),
        Err(StoreError::Exists { .. })
    ));
    let second = put(Expected::Revision(first)).unwrap();
    assert_eq!(second, first + 1);
    assert!(matches!(
        put(Expected::Revision(first)),
        Err(StoreError::Changed { .. })
    ));
    put(Expected::Anything).unwrap();
}

fn what_was_read_is_expected_with_its_value(store: &dyn Store) {
    let value = json!({"b": [1, "two"], "a": u64::MAX});
    let expected = |revision, value: &Value| Expected::Written {
        revision,
        value: value.clone(),
    };
    let put = |expected| store.put_if("w", value.clone(), expected);
    let missing = put(expected(1, &value)).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    let first = put(Expected::Absent).unwrap();
    // As after the store was set back: the revision is another write's.
    for other in [expected(first, &json!(1)), expected(first - 1, &value)] {
        let changed = put(other).unwrap_err();
        assert!(matches!(changed, StoreError::Changed { key } if key == "w"));
    }
    let read = store.get("w").unwrap().unwrap();
    assert_eq!(Expected::written(&read), expected(first, &value));
    store.delete("w", Expected::written(&read)).unwrap();
    assert!(store.get("w").unwrap().is_none());
}

fn a_transaction_happens_as_a_whole_or_not_at_all(store: &dyn Store) {
    store.put_if("b", json!(0), Expected::Absent).unwrap();
    let changes = [
        Change::put("a", json!(1), Expected::Absent),
        Change::put("b", json!(1), Expected::Absent),
    ];
    assert!(matches!(store.transact(&changes), Err(StoreError::Exists { key }) if key == "b"));
    assert!(store.get("a").unwrap().is_none());
    let revision = store.transact(&changes[..1]).unwrap();
    assert_eq!(store.get("a").unwrap().unwrap().revision, revision);
}

fn a_list_holds_exactly_the_prefix_in_order(store: &dyn Store) {
    for key in ["list/n/2", "list/n/1", "list/m/1", "list/n0", "list/o"] {
        store.put_if(key, json!(key), Expected::Absent).unwrap();
    }
    let keys = |prefix| -> Vec<String> {
        let entries = store.list(prefix).unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(keys("list/n/"), ["list/n/1", "list/n/2"]);
    assert_eq!(keys("list/").len(), 5);
    assert!(keys("").len() > 5);
}

fn watchers_see_changes_under_their_prefix_in_order(store: &dyn Store) {
    let mut watch = store.watch("w/n/");
    let revision = store.put_if("w/n/1", json!(1), Expected::Absent).unwrap();
    store.put_if("w/m/1", json!(1), Expected::Absent).unwrap();
    store.delete("w/n/1", Expected::Revision(revision)).unwrap();
    store.delete("w/n/1", Expected::Anything).unwrap();
    let Some(WatchEvent::Put(entry)) = next(&mut watch) else {
        panic!("no put");
    };
    assert_eq!((entry.key.as_str(), entry.revision), ("w/n/1", revision));
    assert!(matches!(next(&mut watch), Some(WatchEvent::Deleted { key, .. }) if key == "w/n/1"));
    assert_eq!(watch.try_next(), None);
}

fn leased_keys_go_with_their_lease(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(30)).unwrap();
    let put = |key: &str| Change::put(key, json!(1), Expected::Anything).under(lease);
    store.transact(&[put("leased/1"), put("leased/2")]).unwrap();
    // Written again without it, a key stays.
    store
        .put_if("leased/2", json!(2), Expected::Anything)
        .unwrap();
    store.keep_alive(lease).unwrap();
    let mut watch = store.watch("leased/");
    store.end_lease(lease).unwrap();
    assert!(matches!(next(&mut watch), Some(WatchEvent::Deleted { key, .. }) if key == "leased/1"));
    assert!(store.get("leased/1").unwrap().is_none());
    assert!(store.get("leased/2").unwrap().is_some());
    assert!(matches!(
        store.keep_alive(lease),
        Err(StoreError::LeaseGone)
    ));
    assert!(matches!(
        store.transact(&[put("leased/3")]),
        Err(StoreError::LeaseGone)
    ));
    store.end_lease(lease).unwrap();
}

fn a_lease_that_nobody_keeps_runs_out(store: &dyn Store) {
    let lease = store.grant(Duration::from_millis(900)).unwrap();
    let change = Change::put("short/1", json!(1), Expected::Absent).under(lease);
    store.transact(&[change]).unwrap();
    // etcd gives no lease below its election timeout, and looks every half second.
    let deadline = Instant::now() + Duration::from_secs(8);
    while store.get("short/1").unwrap().is_some() {
        assert!(Instant::now() < deadline, "the key outlives its lease");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn of_two_writers_one_wins(store: &dyn Store) {
    let won = std::thread::scope(|scope| {
        let race = |n| move || store.put_if("race", json!(n), Expected::Absent).is_ok();
        let racers: Vec<_> = (0..8).map(|n| scope.spawn(race(n))).collect();
        let won = racers.into_iter().map(|racer| racer.join().unwrap());
        won.filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

/// The next event, for which a remote store may take a moment.
pub(crate) fn next(watch: &mut Watch) -> Option<WatchEvent> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match watch.try_next() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            event => return event,
        }
    }
}

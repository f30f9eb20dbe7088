use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::contract;
use crate::{Expected, RedbStore, WatchEvent};

/// What a manager does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Serves,
    /// It takes the connection and says nothing.
    IsSilent,
    /// It answers, and its own way to the store is cut.
    IsCutOff,
    IsGone,
}

/// Managers of one store, dialed in turns.
struct Managers {
    store: Arc<dyn Store>,
    runtime: Handle,
    manners: Mutex<Vec<Manner>>,
    turn: AtomicU64,
    /// Of those who serve, by turn.
    serving: Mutex<Vec<(usize, JoinHandle<io::Result<()>>)>>,
    _dir: tempfile::TempDir,
}

impl Managers {
    fn new(manners: &[Manner]) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Arc::new(Self {
            store: Arc::new(RedbStore::open(dir.path()).unwrap()),
            runtime: handle,
            manners: Mutex::new(manners.to_vec()),
            turn: AtomicU64::new(0),
            serving: Mutex::default(),
            _dir: dir,
        })
    }

    fn kill(&self, manager: usize) {
        self.manners.lock().unwrap()[manager] = Manner::IsGone;
        let mut serving = self.serving.lock().unwrap();
        for (_, task) in serving.iter().filter(|(who, _)| *who == manager) {
            task.abort();
        }
        serving.retain(|(who, _)| *who != manager);
    }
}

impl Dial for Managers {
    fn dial(&self) -> Dialing<'_> {
        let manners = self.manners.lock().unwrap().clone();
        let connection: Result<Box<dyn Connection>, String> = (0..manners.len())
            .find_map(|_| {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let manager = usize::try_from(turn).unwrap() % manners.len();
                let (near, far) = tokio::io::duplex(64 * 1024);
                let task = match manners[manager] {
                    Manner::IsGone => return None,
                    Manner::Serves => self.runtime.spawn(serve(far, Arc::clone(&self.store))),
                    Manner::IsCutOff => self.runtime.spawn(serve(far, Arc::new(Nowhere))),
                    Manner::IsSilent => self.runtime.spawn(async move {
                        let _far = far;
                        std::future::pending().await
                    }),
                };
                self.serving.lock().unwrap().push((manager, task));
                Some(Box::new(near) as Box<dyn Connection>)
            })
            .ok_or_else(|| "nobody is there".to_owned());
        Box::pin(async move { connection })
    }

    fn leaves(&self) -> bool {
        self.manners.lock().unwrap().len() > 1
    }

    fn far_end(&self) -> String {
        "the test".to_owned()
    }
}

/// A store that is out of reach.
struct Nowhere;

impl Nowhere {
    fn fail<T>() -> Result<T, StoreError> {
        Err(StoreError::Unreachable {
            endpoints: "etcd".to_owned(),
            reason: "no leader".to_owned(),
        })
    }
}

impl Store for Nowhere {
    fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        Self::fail()
    }

    fn list(&self, _: &str) -> Result<Vec<Entry>, StoreError> {
        Self::fail()
    }

    fn transact(&self, _: &[Change]) -> Result<u64, StoreError> {
        Self::fail()
    }

    fn watch(&self, _: &str) -> Watch {
        let (_, events) = broadcast::channel(WATCH_BOUND);
        Watch::new("", events)
    }

    fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        Self::fail()
    }

    fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
        Self::fail()
    }

    fn end_lease(&self, _: LeaseId) -> Result<(), StoreError> {
        Self::fail()
    }
}

/// A store whose answers wait until the lock is free.
struct Stuck(Arc<Mutex<()>>);

impl Store for Stuck {
    fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        drop(self.0.lock().unwrap());
        Ok(None)
    }

    fn list(&self, _: &str) -> Result<Vec<Entry>, StoreError> {
        Nowhere::fail()
    }

    fn transact(&self, _: &[Change]) -> Result<u64, StoreError> {
        Nowhere::fail()
    }

    fn watch(&self, prefix: &str) -> Watch {
        Nowhere.watch(prefix)
    }

    fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        Nowhere::fail()
    }

    fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
        Nowhere::fail()
    }

    fn end_lease(&self, _: LeaseId) -> Result<(), StoreError> {
        Nowhere::fail()
    }
}

fn store(managers: &Arc<Managers>) -> ManagerStore {
    ManagerStore::new(Arc::clone(managers) as _).unwrap()
}

#[test]
fn the_contract_holds_through_a_manager() {
    let managers = Managers::new(&[Manner::Serves]);
    contract::hold(&store(&managers));
}

#[test]
fn another_manager_goes_on_where_one_died() {
    let managers = Managers::new(&[Manner::Serves, Manner::Serves]);
    let store = store(&managers);
    let lease = store.grant(Duration::from_secs(30)).unwrap();
    store.put_if("a", json!(1), Expected::Absent).unwrap();
    let mut watch = store.watch("");
    let turns = managers.turn.load(Ordering::Relaxed);
    managers.kill(0);
    // A lease is the store's, whoever the manager is.
    store.keep_alive(lease).unwrap();
    assert!(store.get("a").unwrap().is_some());
    assert!(managers.turn.load(Ordering::Relaxed) > turns);
    let deadline = Instant::now() + Duration::from_secs(10);
    while watch.try_next() != Some(WatchEvent::Lagged) {
        assert!(
            Instant::now() < deadline,
            "nothing says that the watch missed something"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let revision = store.put_if("b", json!(2), Expected::Absent).unwrap();
    let event = loop {
        assert!(Instant::now() < deadline, "the watch does not go on");
        match watch.try_next() {
            Some(event @ WatchEvent::Put(_)) => break event,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(matches!(event, WatchEvent::Put(entry) if entry.revision == revision));
}

#[test]
fn a_silent_manager_is_left_for_one_that_answers() {
    let managers = Managers::new(&[Manner::IsSilent, Manner::Serves]);
    let store = store(&managers);
    assert!(store.get("a").unwrap().is_none());
}

#[test]
fn a_manager_that_does_not_reach_the_store_is_left_for_one_that_does() {
    let managers = Managers::new(&[Manner::IsCutOff, Manner::Serves]);
    let store = store(&managers);
    // Who asked hears of it, and the next call goes elsewhere.
    assert!(store.get("a").is_err());
    store.put_if("a", json!(1), Expected::Absent).unwrap();
}

#[test]
fn the_only_manager_is_kept_though_it_does_not_reach_the_store() {
    let managers = Managers::new(&[Manner::IsCutOff]);
    let store = store(&managers);
    for _ in 0..3 {
        assert!(store.get("a").is_err());
    }
    assert_eq!(managers.turn.load(Ordering::Relaxed), 1, "it dialed again");
}

#[test]
fn without_a_manager_a_call_says_so() {
    let managers = Managers::new(&[Manner::IsGone]);
    let error = store(&managers).get("a").unwrap_err();
    assert!(error.to_string().contains("the test"), "{error}");
    assert!(error.to_string().contains("nobody is there"), "{error}");
}

#[test]
fn a_watch_that_nobody_follows_ends_at_the_far_end() {
    let managers = Managers::new(&[Manner::Serves]);
    let store = store(&managers);
    // More than a connection may have at once, one after another.
    for round in 0..20 {
        drop(store.watch("a/"));
        store
            .put_if("a/1", json!(round), Expected::Anything)
            .unwrap();
    }
    assert_eq!(managers.turn.load(Ordering::Relaxed), 1, "it dialed again");
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the store is away as long")]
async fn who_asks_whether_a_manager_is_there_hears_it_though_every_call_waits_for_the_store() {
    let is_away = Arc::new(Mutex::new(()));
    let held = is_away.lock().unwrap();
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(serve(far, Arc::new(Stuck(Arc::clone(&is_away)))));
    // As many as are carried out at once.
    for number in 0..64 {
        let call = Call::Get("a".to_owned());
        wire::send(&mut near, &wire::Asked { number, call })
            .await
            .unwrap();
    }
    let ping = wire::Asked {
        number: 64,
        call: Call::Ping,
    };
    wire::send(&mut near, &ping).await.unwrap();
    let limit = Duration::from_secs(5);
    let heard = tokio::time::timeout(limit, wire::receive::<wire::Said>(&mut near, 1024)).await;
    drop(held);
    let expected = wire::Said::Answer {
        number: 64,
        answer: Answer::Done,
    };
    assert_eq!(heard.ok().map(Result::unwrap), Some(expected));
    serving.abort();
}

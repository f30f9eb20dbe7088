//! The store of a cluster: etcd.
//!
//! # Theory of operation
//!
//! One thread with a runtime of its own carries the connections, so that a slow etcd never delays the agent's edges. Calls
//! come from other threads and wait, at most [`CALL_LIMIT`]. Every key lives under a root, so that an etcd may be shared.
//!
//! A transaction is etcd's own: comparisons of create and mod revisions and of values, puts and deletes. Where it did not
//! happen, the reads of its else-branch say which key was not as expected. etcd compares a value by its bytes. Where somebody
//! wrote the same in other words, the transaction is tried again with the bytes that were read.
//!
//! Whoever watches one prefix has one stream in common ([`watches`]), so that what happens comes from etcd once, and not once for
//! each member of the cluster that a manager tells of it.
//!
//! Certificates of a cluster are short-lived: [`EtcdStore::reconnect`] changes the clients for ones with a new certificate.
//! Where etcd has several members, the first one that was given is asked, and another one where that does not answer
//! ([`endpoints`]).

mod endpoints;
mod members;
mod watches;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, KeyValue,
    LeaseGrantOptions, PutOptions, ResponseHeader, TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use self::endpoints::{Endpoints, Repeat};
pub use self::members::{ChangeMembers, EtcdMember};
use self::watches::{Follower, Watches};
use crate::watch::Watch;
use crate::{Change, Entry, Expected, LeaseId, Store, StoreError};

/// Where etcd is, and as whom to speak to it.
#[derive(Clone)]
pub struct EtcdOptions {
    /// URLs of its members, the one that is asked first.
    pub endpoints: Vec<String>,
    /// What all keys begin with, such as `/tapestry/`.
    pub root: String,
    pub tls: Option<EtcdTls>,
}

/// Mutual TLS, all as PEM.
#[derive(Clone)]
pub struct EtcdTls {
    pub ca: String,
    pub certificate: String,
    pub key: String,
    /// The name that etcd's certificate must have; the URL's host where absent.
    pub server_name: Option<String>,
}

/// A connection to etcd that mends itself.
pub struct EtcdStore {
    root: String,
    shared: Arc<Shared>,
    runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

struct Shared {
    endpoints: Endpoints,
    watches: Watches,
    /// Changes when calls and watches over older clients are to be given up.
    starts: watch::Sender<u64>,
    /// For people.
    urls: Mutex<String>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectEtcd {
    #[error("no URL of etcd was given")]
    NoEndpoint,
    #[error("etcd at {endpoints} cannot be used: {reason}")]
    Client { endpoints: String, reason: String },
    #[error("no thread for etcd: {0}")]
    Thread(std::io::Error),
}

impl EtcdStore {
    /// Prepares the client. Whether etcd answers shows with the first call; it need not be there yet.
    pub fn connect(options: &EtcdOptions) -> Result<Self, ConnectEtcd> {
        if options.endpoints.is_empty() {
            return Err(ConnectEtcd::NoEndpoint);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ConnectEtcd::Thread)?;
        let handle = runtime.handle().clone();
        let clients = runtime.block_on(clients(options))?;
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("etcd".to_owned())
            .spawn(move || {
                // Either way the store is gone.
                let _ = runtime.block_on(stopped);
            })
            .map_err(ConnectEtcd::Thread)?;
        Ok(Self {
            root: options.root.clone(),
            shared: Arc::new(Shared {
                endpoints: Endpoints::new(clients),
                watches: Watches::default(),
                starts: watch::Sender::new(0),
                urls: Mutex::new(options.endpoints.join(",")),
            }),
            runtime: handle,
            _stop: stop,
        })
    }

    /// Goes on with other endpoints or another certificate. Watches change over when their connection ends.
    pub fn reconnect(&self, options: &EtcdOptions) -> Result<(), ConnectEtcd> {
        let clients = self.runtime.block_on(clients(options))?;
        self.shared.endpoints.replace(clients);
        *self.shared.urls() = options.endpoints.join(",");
        Ok(())
    }

    /// The same at once, where the connections that are there lead nowhere: calls that wait fail, watches start again.
    pub fn start_over(&self, options: &EtcdOptions) -> Result<(), ConnectEtcd> {
        self.reconnect(options)?;
        self.shared.starts.send_modify(|starts| *starts += 1);
        Ok(())
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// Waits for a call, on the caller's thread.
    fn call<T>(
        &self,
        repeat: Repeat,
        work: impl AsyncFn(&mut Client) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.ask(repeat, work)?.map_err(|error| self.failed(&error))
    }

    /// The same, with etcd's own error where it has answered with one.
    fn ask<T>(
        &self,
        repeat: Repeat,
        work: impl AsyncFn(&mut Client) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, StoreError> {
        let mut starts = self.shared.starts.subscribe();
        let limited = async {
            tokio::select! {
                done = self.shared.endpoints.ask(repeat, work) => Ok(done),
                _ = starts.changed() => Err(self.shared.unreachable("the connection was given up".into())),
                () = tokio::time::sleep(CALL_LIMIT) => Err(self
                    .shared
                    .unreachable(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
            }
        };
        self.runtime.block_on(limited)
    }

    fn failed(&self, error: &Error) -> StoreError {
        match error {
            Error::LeaseKeepAliveError(_) => StoreError::LeaseGone,
            Error::GRpcStatus(status) if status.message().contains(LEASE_NOT_FOUND) => {
                StoreError::LeaseGone
            }
            error => self.shared.unreachable(reason(error)),
        }
    }

    /// Tries all of it once; `known` is what a try before read of the keys. Returns the revision, or what this one read.
    fn attempt(
        &self,
        changes: &[Change],
        known: &[Option<KeyValue>],
    ) -> Result<Result<u64, Vec<Option<KeyValue>>>, StoreError> {
        let known = known.iter().map(Option::as_ref);
        let known = known.chain(std::iter::repeat(None));
        let compares: Vec<_> = changes
            .iter()
            .zip(known)
            .flat_map(|(change, known)| compares(&self.key(&change.key), &change.expected, known))
            .collect();
        let deeds: Vec<_> = changes
            .iter()
            .map(|change| deed(self.key(&change.key), change))
            .collect();
        let reads: Vec<_> = changes
            .iter()
            .map(|change| TxnOp::get(self.key(&change.key), None))
            .collect();
        let txn = Txn::new().when(compares).and_then(deeds).or_else(reads);
        let response = self.call(Repeat::Never, async |client| client.txn(txn.clone()).await)?;
        if response.succeeded() {
            return Ok(Ok(response
                .header()
                .map(header_revision)
                .unwrap_or_default()));
        }
        let read = response.op_responses().into_iter();
        let present = read.map(|response| match response {
            TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
            _ => None,
        });
        Ok(Err(present.collect()))
    }

    /// Fails with the first change whose expectation is not met by what was read.
    fn check(&self, changes: &[Change], read: &[Option<KeyValue>]) -> Result<(), StoreError> {
        changes.iter().zip(read).try_for_each(|(change, present)| {
            let is = |value: &Value| {
                let entry = present.as_ref().map(|kv| entry(&self.root, kv));
                matches!(entry, Some(Ok(entry)) if entry.value == *value)
            };
            let revision = present.as_ref().map(revision);
            change.expected.check(&change.key, revision, is)
        })
    }
}

impl Store for EtcdStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut got = self.call(Repeat::Harmless, async |client| {
            client.get(self.key(key), None).await
        })?;
        let found = got.take_kvs();
        found.first().map(|kv| entry(&self.root, kv)).transpose()
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let options = GetOptions::new().with_prefix();
        let mut got = self.call(Repeat::Harmless, async |client| {
            client.get(self.key(prefix), Some(options.clone())).await
        })?;
        let found = got.take_kvs();
        found.iter().map(|kv| entry(&self.root, kv)).collect()
    }

    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        let mut known = Vec::new();
        for _ in 0..TRIES {
            match self.attempt(changes, &known)? {
                Ok(revision) => return Ok(revision),
                Err(read) => known = read,
            }
            self.check(changes, &known)?;
        }
        Err(StoreError::Changed {
            key: changes
                .first()
                .map(|change| change.key.clone())
                .unwrap_or_default(),
        })
    }

    fn watch(&self, prefix: &str) -> Watch {
        let key = self.key(prefix);
        let (mut joined, opening) = self.shared.watches.join(&key);
        if let Some(opening) = opening {
            let follower = Follower::new(Arc::clone(&self.shared), &self.root, key, opening);
            self.runtime.spawn(follower.follow());
        }
        // Without etcd it starts later, and says then that something was missed.
        self.runtime.block_on(joined.wait());
        Watch::new(prefix, joined.events)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let granted = self.call(Repeat::Harmless, async |client| {
            client.lease_grant(seconds, None::<LeaseGrantOptions>).await
        })?;
        Ok(LeaseId(granted.id()))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(Repeat::Harmless, async |client| {
            client.lease_keep_alive(lease.0).await
        })
        .map(drop)
    }

    fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ended = self.call(Repeat::Harmless, async |client| {
            client.lease_revoke(lease.0).await
        });
        match ended {
            Ok(_) | Err(StoreError::LeaseGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Shared {
    fn urls(&self) -> MutexGuard<'_, String> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, reason: String) -> StoreError {
        StoreError::Unreachable {
            endpoints: self.urls().clone(),
            reason,
        }
    }
}

/// Pauses that double, each cut by a random part, so that hosts do not come back all at once.
#[derive(Debug, Default)]
pub struct Pause(u32);

impl Pause {
    /// How long to wait now, 0.05 to 0.8 s.
    pub fn take(&mut self) -> Duration {
        let whole = PAUSE_FIRST * 2u32.pow(self.0);
        self.0 = (self.0 + 1).min(PAUSE_DOUBLINGS_MAX);
        let mut byte = [0u8; 1];
        // Without a random byte it is the whole pause.
        let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
        whole - whole * u32::from(byte[0]) / 512
    }
}

/// One for each endpoint.
async fn clients(options: &EtcdOptions) -> Result<Vec<Client>, ConnectEtcd> {
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
        .with_keep_alive_while_idle(true)
        // A member that is cut off from the others would leave its watches silent.
        .with_require_leader(true);
    if let Some(tls) = &options.tls {
        let mut with = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.certificate, &tls.key));
        if let Some(name) = &tls.server_name {
            with = with.domain_name(name);
        }
        connect = connect.with_tls(with);
    }
    let mut clients = Vec::new();
    for endpoint in &options.endpoints {
        let client = Client::connect([endpoint], Some(connect.clone())).await;
        clients.push(client.map_err(|error| ConnectEtcd::Client {
            endpoints: endpoint.clone(),
            reason: reason(&error),
        })?);
    }
    Ok(clients)
}

fn compares(key: &str, expected: &Expected, known: Option<&KeyValue>) -> Vec<Compare> {
    let written_by = |revision: u64| {
        // etcd counts in i64 and never gave us more.
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        Compare::mod_revision(key, CompareOp::Equal, revision)
    };
    match expected {
        Expected::Anything => Vec::new(),
        Expected::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
        Expected::Revision(revision) => vec![written_by(*revision)],
        Expected::Written { revision, value } => {
            let bytes = known.map_or_else(|| value.to_string().into(), |kv| kv.value().to_vec());
            let is = Compare::value(key, CompareOp::Equal, bytes);
            vec![written_by(*revision), is]
        }
    }
}

fn deed(key: String, change: &Change) -> TxnOp {
    let Some(value) = &change.value else {
        return TxnOp::delete(key, None);
    };
    let lease = change
        .lease
        .map(|lease| PutOptions::new().with_lease(lease.0));
    TxnOp::put(key, value.to_string(), lease)
}

fn entry(root: &str, kv: &KeyValue) -> Result<Entry, StoreError> {
    let key = name(root, kv);
    match serde_json::from_slice::<Value>(kv.value()) {
        Ok(value) => Ok(Entry {
            key,
            value,
            revision: revision(kv),
        }),
        Err(source) => Err(StoreError::Value { key, source }),
    }
}

/// The key without the root.
fn name(root: &str, kv: &KeyValue) -> String {
    let key = String::from_utf8_lossy(kv.key());
    key.strip_prefix(root).unwrap_or(&key).to_owned()
}

fn revision(kv: &KeyValue) -> u64 {
    u64::try_from(kv.mod_revision()).unwrap_or_default()
}

fn header_revision(header: &ResponseHeader) -> u64 {
    u64::try_from(header.revision()).unwrap_or_default()
}

/// The innermost cause, which says most.
fn reason(error: &Error) -> String {
    let mut text = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// Once by the bytes that this agent would write, and once by those that were read.
const TRIES: u32 = 2;
/// etcd has answered or is not there.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// Together with the longest pause less than the 2 s after etcd's return within which a cluster is in step.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A connection that is silent for twice as long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// At most 0.8 s.
const PAUSE_DOUBLINGS_MAX: u32 = 3;
/// etcd's own words (api/v3rpc/rpctypes/error.go).
const LEASE_NOT_FOUND: &str = "requested lease not found";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::{WatchEvent, contract};

    /// An etcd of the test's own, on loopback.
    struct Etcd {
        dir: tempfile::TempDir,
        client_url: String,
        peer_url: String,
        child: Child,
    }

    impl Etcd {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let [client_url, peer_url] = [(); 2].map(|()| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                format!("http://{}", listener.local_addr().unwrap())
            });
            let child = spawn(&dir, &client_url, &peer_url);
            Self {
                dir,
                client_url,
                peer_url,
                child,
            }
        }

        fn store(&self) -> EtcdStore {
            let store = EtcdStore::connect(&EtcdOptions {
                endpoints: vec![self.client_url.clone()],
                root: "/test/".to_owned(),
                tls: None,
            })
            .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while let Err(error) = store.get("k") {
                assert!(Instant::now() < deadline, "{error}");
            }
            store
        }

        fn stop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }

        fn start_again(&mut self) {
            self.child = spawn(&self.dir, &self.client_url, &self.peer_url);
        }
    }

    impl Drop for Etcd {
        fn drop(&mut self) {
            self.stop();
        }
    }

    fn spawn(dir: &tempfile::TempDir, client_url: &str, peer_url: &str) -> Child {
        Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--listen-client-urls", client_url])
            .args(["--advertise-client-urls", client_url])
            .args(["--listen-peer-urls", peer_url])
            .args(["--initial-advertise-peer-urls", peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("scripts/setup test installs etcd")
    }

    #[test]
    fn the_contract_holds() {
        let etcd = Etcd::start();
        contract::hold(&etcd.store());
    }

    #[test]
    fn a_watch_and_a_lease_survive_a_restart_of_etcd() {
        let mut etcd = Etcd::start();
        let store = etcd.store();
        let lease = store.grant(Duration::from_secs(10)).unwrap();
        let put = Change::put("a/1", json!(1), Expected::Absent).under(lease);
        store.transact(&[put]).unwrap();
        let mut watch = store.watch("a/");
        etcd.stop();
        let error = store.get("a/1").unwrap_err();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        etcd.start_again();
        let deadline = Instant::now() + Duration::from_secs(20);
        while watch.try_next() != Some(WatchEvent::Lagged) {
            assert!(Instant::now() < deadline, "the watch does not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
        store.keep_alive(lease).unwrap();
        assert!(store.get("a/1").unwrap().is_some());
    }

    #[test]
    fn those_who_watch_one_prefix_have_one_stream_as_long_as_one_of_them_watches() {
        let mut etcd = Etcd::start();
        let store = etcd.store();
        let followed = || store.shared.watches.count();
        let [mut one, mut two] = [(); 2].map(|()| store.watch("a/"));
        let other = store.watch("b/");
        assert_eq!(followed(), 2);
        let revision = store.put_if("a/1", json!(1), Expected::Absent).unwrap();
        for watch in [&mut one, &mut two] {
            let Some(WatchEvent::Put(entry)) = contract::next(watch) else {
                panic!("it was not told");
            };
            assert_eq!(entry.revision, revision);
        }
        drop(one);
        etcd.stop();
        // Where there is no etcd nobody waits for long.
        let mut late = store.watch("a/");
        etcd.start_again();
        for watch in [&mut two, &mut late] {
            assert_eq!(contract::next(watch), Some(WatchEvent::Lagged));
        }
        store.put_if("a/2", json!(2), Expected::Absent).unwrap();
        for watch in [&mut two, &mut late] {
            let event = contract::next(watch);
            assert!(matches!(event, Some(WatchEvent::Put(entry)) if entry.key == "a/2"));
        }
        drop((two, late));
        let deadline = Instant::now() + Duration::from_secs(5);
        while followed() > 1 {
            assert!(Instant::now() < deadline, "nobody follows it any more");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(other);
    }

    #[test]
    fn what_was_planned_before_the_store_was_set_back_is_not_done_after_it() {
        let mut etcd = Etcd::start();
        let store = etcd.store();
        let put = |value: u64| store.put_if("k", json!(value), Expected::Anything);
        put(1).unwrap();
        etcd.stop();
        let copy = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(etcd.dir.path().join("."))
            .arg(copy.path())
            .status();
        assert!(copied.unwrap().success());
        etcd.start_again();
        let again = |value: u64| {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                match put(value) {
                    Ok(revision) => return revision,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            }
        };
        let before = again(2);
        let read = store.get("k").unwrap().unwrap();
        etcd.stop();
        etcd.dir = copy;
        etcd.start_again();
        assert_eq!(again(3), before, "another write has the revision");
        let planned = store.put_if("k", json!(4), Expected::written(&read));
        let planned = planned.unwrap_err();
        assert!(matches!(planned, StoreError::Changed { .. }), "{planned}");
        assert_eq!(store.get("k").unwrap().unwrap().value, json!(3));
    }

    #[test]
    fn a_value_that_somebody_wrote_in_other_words_is_what_it_means() {
        let etcd = Etcd::start();
        let store = etcd.store();
        let odd = r#"{ "b": 2,  "a": 1 }"#;
        let put = async |client: &mut Client| client.put("/test/k", odd, None).await;
        store.call(Repeat::Never, put).unwrap();
        let read = store.get("k").unwrap().unwrap();
        store
            .put_if("k", json!(1), Expected::written(&read))
            .unwrap();
        let late = store.delete("k", Expected::written(&read)).unwrap_err();
        assert!(matches!(late, StoreError::Changed { .. }), "{late}");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..20).map(|_| pause.take()).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_FIRST * 8));
        assert!(pauses[0] <= PAUSE_FIRST && pauses[0] >= PAUSE_FIRST / 2);
        assert!(pauses[10..].iter().any(|pause| *pause != pauses[10]));
    }
}

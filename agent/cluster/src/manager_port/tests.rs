use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agent_store::Store;
use agent_store::wire::{receive, send};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::ask::out_of_date;
use super::*;
use crate::ca::{Ca, MANAGER_NAME, Subject, ca_hash, host_subject};
use crate::clock::now_s;
use crate::identity::{Candidate, Identity, certificates, pinned_asking};
use crate::trust::{Shown, Standing};

fn identity(ca: &Ca, names: &[&str], lifetime: Duration) -> Identity {
    let candidate = Candidate::new().unwrap();
    let subject = Subject {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: vec![[127, 0, 0, 1].into()],
    };
    let issued = ca.sign(&candidate.request, &subject, lifetime).unwrap();
    Identity {
        host: names[0].to_owned(),
        ca: ca.certificate().to_owned(),
        certificate: issued.certificate,
        key: candidate.key,
    }
}

/// Answers with the host that the client has shown a certificate of.
struct Mirror {
    service: Identity,
    asked: AtomicUsize,
    store: Arc<agent_store::RedbStore>,
    departures: watch::Sender<()>,
    /// Locked while the store is away.
    away: Mutex<()>,
    _dir: tempfile::TempDir,
}

impl Decide for Mirror {
    fn server_config(&self) -> Option<Arc<ServerConfig>> {
        let clients = certificates(&self.service.ca).unwrap();
        Some(Arc::new(self.service.server_config(&clients).unwrap()))
    }

    fn join(&self, _from: IpAddr, request: &JoinRequest) -> Reply {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Reply::Refused(format!("joined {}", request.name))
    }

    fn renew(&self, shown: &Shown, _request: &RenewRequest) -> Reply {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Reply::Renewed(Renewed {
            certificate: shown.host.clone(),
            ca: None,
        })
    }

    fn manage(&self, host: &str, _request: &ManageRequest) -> Reply {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Reply::Refused(format!("no order for {host}"))
    }

    fn is_manager(&self, host: &str) -> Option<bool> {
        let _waits = self.away.lock().unwrap();
        Some(host == "0a0b")
    }

    fn generation(&self) -> Option<u64> {
        Some(7)
    }

    fn standing(&self, shown: &Shown) -> Standing {
        match shown.is_good_at(now_s()) {
            true => Standing::Good,
            false => Standing::Renewable,
        }
    }

    fn store(&self, host: &str) -> Option<Arc<dyn Store>> {
        (host == "0a0b").then(|| Arc::clone(&self.store) as _)
    }

    fn is_cut_off(&self) -> bool {
        false
    }

    fn departures(&self) -> watch::Receiver<()> {
        self.departures.subscribe()
    }
}

async fn server(service: Identity) -> (SocketAddr, Arc<Mirror>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mirror = Arc::new(Mirror {
        service,
        asked: AtomicUsize::new(0),
        store: Arc::new(agent_store::RedbStore::open(dir.path()).unwrap()),
        departures: watch::Sender::new(()),
        away: Mutex::default(),
        _dir: dir,
    });
    tokio::spawn(serve(listener, Arc::clone(&mirror) as _, Arc::default()));
    (address, mirror)
}

fn renew(_: IpAddr) -> Request {
    Request::Renew(RenewRequest {
        request: "request".to_owned(),
        now_s: Some(now_s()),
    })
}

fn join(_: IpAddr) -> Request {
    Request::Join(JoinRequest {
        token_id: "id".into(),
        secret: "secret".into(),
        name: "new".into(),
        address: [127, 0, 0, 1].into(),
        request: "request".into(),
        now_s: Some(now_s()),
    })
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_member_is_who_its_certificate_says() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, _) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let member = identity(&ca, &["0a0b"], HOUR);
    let reply = ask(address, member.asking().unwrap(), renew).await;
    assert!(
        matches!(&reply, Ok(Reply::Renewed(renewed)) if renewed.certificate == "0a0b"),
        "{reply:?}"
    );
}

#[tokio::test]
async fn who_has_no_certificate_may_only_join() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, _) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let pinned = || pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
    let joined = ask(address, pinned(), join).await.unwrap_err();
    assert_eq!(joined.to_string(), "joined new");
    let refused = ask(address, pinned(), renew).await.unwrap_err();
    assert!(matches!(refused, AskManager::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_manager_with_another_ca_or_another_name_is_told_nothing() {
    let ((ours, _), (other, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
    let pinned = || pinned_asking(ca_hash(ours.certificate()).unwrap()).unwrap();
    for service in [
        identity(&other, &[MANAGER_NAME], HOUR),
        identity(&ours, &["0a0b"], HOUR),
    ] {
        let (address, mirror) = server(service).await;
        let refused = ask(address, pinned(), join).await.unwrap_err();
        assert!(
            matches!(refused, AskManager::Stranger { .. }),
            "{refused:?}"
        );
        assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn certificates_of_another_ca_are_refused() {
    let ((ours, _), (other, _)) = (Ca::create("c").unwrap(), Ca::create("c").unwrap());
    let (address, mirror) = server(identity(&ours, &[MANAGER_NAME], HOUR)).await;
    let mut stranger = identity(&other, &["0a0b"], HOUR);
    stranger.ca = ours.certificate().to_owned();
    let refused = ask(address, stranger.asking().unwrap(), renew).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
}

/// A certificate of which nothing is left.
async fn ended(ca: &Ca, names: &[&str]) -> Identity {
    let ended = identity(ca, names, Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ended
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_renewed_and_good_for_nothing_else() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, _) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let (ended, good) = (ended(&ca, &["0a0b"]).await, identity(&ca, &["0a0c"], HOUR));
    let renewed = ask(address, ended.asking().unwrap(), renew).await;
    assert!(
        matches!(&renewed, Ok(Reply::Renewed(renewed)) if renewed.certificate == "0a0b"),
        "{renewed:?}"
    );
    for (identity, must_renew) in [(ended, true), (good, false)] {
        let greeted = ask(address, identity.asking().unwrap(), |_| Request::Greet).await;
        let Ok(Reply::Greeted(greeted)) = greeted else {
            panic!("{greeted:?}");
        };
        assert_eq!(greeted.must_renew, must_renew);
        assert_eq!(greeted.is_manager, Some(must_renew));
        assert!(greeted.now_s.abs_diff(now_s()) < 60);
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the store is away as long")]
async fn who_greets_a_manager_whose_store_is_away_hears_from_it_all_the_same() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, mirror) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let away = mirror.away.lock().unwrap();
    let member = identity(&ca, &["0a0b"], HOUR).asking().unwrap();
    let greeted = ask(address, member, |_| Request::Greet).await;
    drop(away);
    let Ok(Reply::Greeted(greeted)) = greeted else {
        panic!("{greeted:?}");
    };
    assert_eq!((greeted.must_renew, greeted.is_manager), (false, None));
    assert_eq!(greeted.generation, Some(7));
}

#[tokio::test]
async fn whose_certificate_has_ended_is_told_nothing_and_named() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, mirror) = server(ended(&ca, &[MANAGER_NAME]).await).await;
    let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
    let member = identity(&ca, &["0a0b"], HOUR).asking().unwrap();
    for (asking, make) in [(pinned, join as fn(_) -> _), (member, renew)] {
        let refused = ask(address, asking, make).await.unwrap_err();
        assert!(matches!(refused, AskManager::OutOfDate { .. }), "{refused}");
    }
    assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_ca_key_is_not_even_asked_for_without_a_good_certificate() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, mirror) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let manage = |_| Request::Manage(ManageRequest::default());
    let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
    let ended = ended(&ca, &["0a0b"]).await.asking().unwrap();
    for asking in [pinned, ended] {
        let refused = ask(address, asking, manage).await.unwrap_err();
        assert!(matches!(refused, AskManager::Refused(_)), "{refused:?}");
    }
    assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
    let good = identity(&ca, &["0a0c"], HOUR).asking().unwrap();
    let refused = ask(address, good, manage).await.unwrap_err();
    assert_eq!(refused.to_string(), "no order for 0a0c");
}

#[test]
fn a_clock_that_is_off_is_named_in_both_directions() {
    let address = "192.0.2.1:4790".parse().unwrap();
    let said = |its_s, own_s| out_of_date(address, its_s, own_s).to_string();
    let ahead = said(1_000_000, 1_090_000);
    assert!(
        ahead.starts_with(
            "the clock of this host is 1 d 1 h ahead of the clock of the host at 192.0.2.1;"
        ),
        "{ahead}"
    );
    let behind = said(1_090_000, 1_000_000);
    assert!(
        behind.starts_with(
            "the clock of the host at 192.0.2.1 is 1 d 1 h ahead of the clock of this host;"
        ),
        "{behind}"
    );
    let ended = said(1_000_000, 1_000_200);
    assert!(
        ended.starts_with("the certificate of 192.0.2.1:4790 has ended"),
        "{ended}"
    );
}

/// The CA that comes after `old`, with the bridge to it.
fn successor(old: &Ca) -> (Ca, String) {
    let (new, _) = Ca::create("c").unwrap();
    let bridge = old.bridge_to(&new).unwrap();
    (new, bridge)
}

#[tokio::test]
async fn a_host_that_knows_only_a_former_ca_finds_its_way_over_the_bridges() {
    let (first, _) = Ca::create("c").unwrap();
    let (second, bridge) = successor(&first);
    let (third, last_bridge) = successor(&second);
    let mut service = identity(&third, &[MANAGER_NAME], HOUR);
    service.certificate += &(last_bridge + &bridge);
    service.ca += &(second.certificate().to_owned() + first.certificate());
    let (address, _) = server(service).await;
    let was_off = identity(&first, &["0a0b"], HOUR);
    let renewed = ask(address, was_off.asking().unwrap(), renew).await;
    assert!(renewed.is_ok(), "{renewed:?}");
}

#[tokio::test]
async fn a_token_from_before_a_rotation_is_told_as_that() {
    let (old, _) = Ca::create("c").unwrap();
    let (new, bridge) = successor(&old);
    let mut service = identity(&new, &[MANAGER_NAME], HOUR);
    service.certificate += &bridge;
    service.ca += old.certificate();
    let (address, mirror) = server(service).await;
    let pinned = pinned_asking(ca_hash(old.certificate()).unwrap()).unwrap();
    let refused = ask(address, pinned, join).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("before the cluster's CA was rotated"),
        "{refused}"
    );
    assert_eq!(mirror.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_store_is_for_members_that_show_a_certificate() {
    let (ca, _) = Ca::create("c").unwrap();
    let (address, mirror) = server(identity(&ca, &[MANAGER_NAME], HOUR)).await;
    let client = |name: &str| identity(&ca, &[name], HOUR).asking().unwrap();
    let mut stream = ask_for_store(address, client("0a0b")).await.unwrap();
    mirror
        .store
        .put_if("a", serde_json::json!(1), agent_store::Expected::Absent)
        .unwrap();
    let asked = agent_store::wire::Asked {
        number: 1,
        call: agent_store::wire::Call::Get("a".to_owned()),
    };
    send(&mut stream, &asked).await.unwrap();
    let said: agent_store::wire::Said = receive(&mut stream, MESSAGE_LEN_MAX).await.unwrap();
    assert!(format!("{said:?}").contains("Entry(Some("), "{said:?}");
    let refused = ask_for_store(address, client("0a0c")).await.unwrap_err();
    assert!(matches!(refused, AskManager::Refused(_)), "{refused:?}");
    let pinned = pinned_asking(ca_hash(ca.certificate()).unwrap()).unwrap();
    let refused = ask_for_store(address, pinned).await.unwrap_err();
    assert!(matches!(refused, AskManager::Refused(_)), "{refused:?}");
}

#[test]
fn the_ca_names_whom_it_knows_and_not_what_a_request_says() {
    let (ca, _) = Ca::create("c").unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let wish = rcgen::CertificateParams::new(vec![MANAGER_NAME.to_owned()]).unwrap();
    let request = wish.serialize_request(&key).unwrap().pem().unwrap();
    let subject = host_subject("0a0b", [192, 0, 2, 1].into());
    let issued = ca.sign(&request, &subject, HOUR).unwrap();
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    assert_eq!(Shown::read(&der).unwrap().host, "0a0b");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 2);
}

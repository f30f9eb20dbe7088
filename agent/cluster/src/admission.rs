//! The signer's decisions: who is admitted, whose certificate is renewed, who may use the store.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::ClusterOptions;
use crate::authority::Authority;
use crate::ca::{Issued, MANAGER_NAME, UseCa, host_subject};
use crate::clock::{ClocksDiffer, compare, now_s};
use crate::error::UseCluster;
use crate::etcd_plan::EtcdPlan;
use crate::etcd_process::EtcdProcess;
use crate::files::{Files, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::handover::ManageRequest;
use crate::hex;
use crate::host_id::new_member_id;
use crate::host_store::{HostStore, Managed};
use crate::identity::Identity;
use crate::life::Session;
use crate::lock::lock;
use crate::manager_port::{Decide, JoinRequest, Joined, NO_MEMBER, RenewRequest, Renewed, Reply};
use crate::settings::Settings;
use crate::token::{secret_hash, sha256};
use crate::trust::{Shown, Standing};
use crate::unrecorded::{Signing, Unrecorded, on_record};
use agent_core::shared::managers::managers;
use agent_core::shared::permit::is_revoked;
use agent_core::shared::{
    HOSTS, HostRecord, ISSUED, IssuedRecord, RENEWABLE_S, TOKENS, TokenRecord,
};
use agent_store::{Change, EtcdStore, Expected, Store, StoreError};

/// The CA at work.
pub(crate) struct Admission {
    pub(crate) authority: Mutex<Arc<Authority>>,
    pub(crate) files: Files,
    /// As they are now: this host may move.
    pub(crate) settings: Mutex<Settings>,
    pub(crate) managed: Arc<Managed>,
    pub(crate) options: ClusterOptions,
    pub(crate) unrecorded: Unrecorded,
    pub(crate) lifetime: Duration,
    /// The same store, for what only etcd does.
    pub(crate) etcd_store: Option<Arc<EtcdStore>>,
    /// Absent where etcd was given, and while this host has lost its address.
    pub(crate) etcd: Mutex<Option<EtcdProcess>>,
    /// Changes when a host may be a member no more.
    pub(crate) departures: watch::Sender<()>,
    /// Absent while this host is out of step; since when it is, as far as somebody looked.
    pub(crate) session: Arc<Mutex<Option<Session>>>,
    pub(crate) out_since: Mutex<Option<Instant>>,
    /// How often somebody asked for the CA's key who is no manager.
    pub(crate) keys_denied: AtomicU64,
    /// Whether this host is a manager no more.
    pub(crate) is_retired: AtomicBool,
}

/// Why a host is not admitted.
#[derive(Debug, thiserror::Error)]
enum Admit {
    #[error("the token is unknown, used or expired; make a new one with `tapestry cluster token`")]
    Token,
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("{NO_MEMBER}")]
    NoMember,
    #[error(
        "the certificate of this host ended more than {} days ago; run `tapestry cluster leave` there and join again",
        RENEWABLE_S / 86_400
    )]
    Over,
    #[error(
        "the certificate of this host is good no more, and not on record here; run `tapestry cluster leave` there and join again"
    )]
    NotOnRecord,
    #[error(transparent)]
    Clocks(#[from] ClocksDiffer),
    #[error(transparent)]
    Ca(#[from] UseCa),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Admission {
    fn admit(&self, request: &JoinRequest) -> Result<Joined, Admit> {
        if agent_core::name::check_name(&request.name).is_err() {
            return Err(Admit::Malformed("no host name"));
        }
        self.compare_clocks(&request.name, request.now_s)?;
        let used = self.checked_token(request)?;
        // Chosen here: nobody gets a certificate for an id of their own choice.
        let id = new_member_id();
        let subject = host_subject(&id, request.address);
        let authority = self.authority();
        let issued = authority.certify(&request.request, &subject, self.lifetime)?;
        let host = HostRecord {
            name: request.name.clone(),
            address: request.address,
            joined_s: now_s(),
        };
        let key = format!("{HOSTS}{id}");
        let admitted = self.managed.store.transact(&[
            used,
            Change::encode(key, &host, Expected::Absent)?,
            self.issue(&id, &issued)?,
        ]);
        match admitted {
            Ok(_) => {}
            // Another host was faster.
            Err(StoreError::Missing { .. } | StoreError::Changed { .. }) => {
                return Err(Admit::Token);
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(host = id, name = request.name, address = %request.address, "a host joined");
        let settings = lock(&self.settings).clone();
        Ok(Joined {
            cluster: settings.cluster,
            host: id,
            ca: authority.bundle(),
            certificate: issued.certificate,
            signer_host: settings.host,
        })
    }

    /// The change that uses the token up.
    fn checked_token(&self, request: &JoinRequest) -> Result<Change, Admit> {
        if hex::decode::<8>(&request.token_id).is_none() {
            return Err(Admit::Token);
        }
        let key = format!("{TOKENS}{}", request.token_id);
        let entry = self.managed.store.get(&key)?.ok_or(Admit::Token)?;
        let record: TokenRecord = entry.decode()?;
        // Hashes are compared: how long it takes tells nothing about the secret.
        if record.secret_hash != secret_hash(&request.secret) || record.expires_s <= now_s() {
            return Err(Admit::Token);
        }
        Ok(Change::delete(key, Expected::written(&entry)))
    }

    fn certify_again(&self, shown: &Shown, request: &RenewRequest) -> Result<Renewed, Admit> {
        let host = &shown.host;
        let key = format!("{HOSTS}{host}");
        let entry = self.managed.store.get(&key)?.ok_or(Admit::NoMember)?;
        let record: HostRecord = entry.decode()?;
        self.compare_clocks(&record.name, request.now_s)?;
        let authority = self.authority();
        match authority.standing(shown, now_s()) {
            Standing::Over => return Err(Admit::Over),
            // Whoever has stolen the key of a former CA certifies what is not on record.
            Standing::Renewable if !self.is_on_record(shown)? => return Err(Admit::NotOnRecord),
            Standing::Renewable | Standing::Good => {}
        }
        let subject = host_subject(host, record.address);
        let issued = authority.certify(&request.request, &subject, self.lifetime)?;
        let issue = self.issue(host, &issued)?;
        // One that is revoked meanwhile gets nothing.
        let expected = Expected::written(&entry);
        let unchanged = Change::put(key, entry.value, expected);
        match self.managed.store.transact(&[unchanged, issue]) {
            Ok(_) => Ok(Renewed {
                certificate: issued.certificate,
                ca: Some(authority.bundle()),
            }),
            Err(StoreError::Missing { .. }) => Err(Admit::NoMember),
            Err(error) => Err(error.into()),
        }
    }

    /// This host's own certificate, for which it asks nobody: a manager that was off for long comes back with it. It is on
    /// record where the store can be written now, and otherwise when this host is in step.
    pub(crate) fn certify_self(
        &self,
        request: &str,
        is_in_step: bool,
    ) -> Result<Renewed, UseCluster> {
        let subject = {
            let settings = lock(&self.settings);
            host_subject(&settings.host, settings.address)
        };
        let authority = self.authority();
        let certificate = self.signing(&authority).sign_own(request, &subject)?;
        if is_in_step {
            patiently(
                || self.put_on_record(),
                |error| matches!(error, StoreError::Unreachable { .. }),
            )?;
        }
        Ok(Renewed {
            certificate,
            ca: Some(authority.bundle()),
        })
    }

    /// What this host has signed for itself meanwhile.
    pub(crate) fn put_on_record(&self) -> Result<(), StoreError> {
        self.unrecorded.put(&*self.managed.store, self.lifetime)
    }

    fn signing<'a>(&'a self, authority: &'a Authority) -> Signing<'a> {
        Signing {
            authority,
            files: &self.files,
            unrecorded: &self.unrecorded,
            lifetime: self.lifetime,
        }
    }

    pub(crate) fn authority(&self) -> Arc<Authority> {
        Arc::clone(&lock(&self.authority))
    }

    /// With the clock of a host that asks.
    fn compare_clocks(&self, name: &str, its_s: Option<u64>) -> Result<(), ClocksDiffer> {
        let own = lock(&self.settings).name.clone();
        let its_s = its_s.map(|its_s| compare((name, its_s), (&own, now_s())));
        its_s.unwrap_or(Ok(()))
    }

    fn is_on_record(&self, shown: &Shown) -> Result<bool, StoreError> {
        let key = format!("{ISSUED}{}/{}", shown.host, shown.serial);
        let record = self.managed.store.get(&key)?.map(|entry| entry.decode());
        let record: Option<IssuedRecord> = record.transpose()?;
        let sha256 = hex::encode(&sha256(&shown.certificate));
        Ok(record.is_some_and(|record| record.sha256 == sha256))
    }

    /// The change that keeps a certificate on record as long as it may be renewed.
    fn issue(&self, host: &str, issued: &Issued) -> Result<Change, StoreError> {
        let lease = self.managed.store.grant(on_record(self.lifetime))?;
        let key = format!("{ISSUED}{host}/{}", issued.serial);
        Ok(Change::encode(key, &issued.record, Expected::Anything)?.under(lease))
    }

    /// A new certificate for what the signer serves.
    pub(crate) fn renew_service(&self) -> Result<(), UseCluster> {
        let addresses = lock(&self.settings).service_addresses();
        self.signing(&self.authority()).certify_service(&addresses)
    }

    /// Who this host is while it serves.
    pub(crate) fn service(&self) -> Result<Identity, UseCluster> {
        Ok(Identity {
            host: MANAGER_NAME.to_owned(),
            ca: self.authority().bundle(),
            certificate: self.files.read_needed(SERVICE_CERTIFICATE)?,
            key: self.files.read_needed(SERVICE_KEY)?,
        })
    }

    /// Lets everybody go, and ends etcd.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        // Nobody may be connected.
        self.departures.send_replace(());
        *lock(&self.etcd) = None;
    }

    /// Serves at another address. What was served at the old one has ended then.
    pub(crate) fn move_to(&self, settings: Settings) -> Result<(), UseCluster> {
        // Held all through: two moves at once would open the data twice. Only the list of the revoked waits for it.
        let mut etcd = lock(&self.etcd);
        // The old one has to be gone before another one opens its data.
        *etcd = None;
        *lock(&self.settings) = settings.clone();
        self.renew_service()?;
        if settings.duty.etcd_managed {
            *etcd = Some(EtcdProcess::start(&self.files, EtcdPlan::of(&settings))?);
        }
        Ok(())
    }
}

impl Decide for Admission {
    fn server_config(&self) -> Option<Arc<ServerConfig>> {
        let config = || self.authority().server_config(self.service()?);
        match config() {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                tracing::warn!(%error, "no host can join");
                None
            }
        }
    }

    fn join(&self, _from: IpAddr, request: &JoinRequest) -> Reply {
        match patiently(|| self.admit(request), is_unreachable) {
            Ok(joined) => Reply::Joined(joined),
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    fn renew(&self, shown: &Shown, request: &RenewRequest) -> Reply {
        match patiently(|| self.certify_again(shown, request), is_unreachable) {
            Ok(renewed) => Reply::Renewed(renewed),
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    fn manage(&self, host: &str, request: &ManageRequest) -> Reply {
        match self.hand_over(host, request) {
            Ok(handover) => Reply::Managing(handover),
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    fn is_manager(&self, host: &str) -> Option<bool> {
        // Out of step, this manager has nothing to say about it.
        (*lock(&self.session))?;
        // Of what its copy does not have, it may not have heard yet.
        match managers(&lock(&self.managed.world))
            .iter()
            .any(|known| known == host)
        {
            true => Some(true),
            false => Self::is_manager(self, host).ok(),
        }
    }

    fn generation(&self) -> Option<u64> {
        lock(&self.managed.world).generation()
    }

    fn standing(&self, shown: &Shown) -> Standing {
        self.authority().standing(shown, now_s())
    }

    fn store(&self, host: &str) -> Option<Arc<dyn Store>> {
        let is_retired = self.is_retired.load(Ordering::Acquire);
        if is_retired || is_revoked(&lock(&self.managed.world), host) {
            return None;
        }
        let managed = Arc::clone(&self.managed);
        Some(Arc::new(HostStore::new(host.to_owned(), managed)))
    }

    fn is_cut_off(&self) -> bool {
        let is_alone = managers(&lock(&self.managed.world)).len() <= 1;
        let mut since = lock(&self.out_since);
        if is_alone || lock(&self.session).is_some() {
            *since = None;
            return false;
        }
        since.get_or_insert_with(Instant::now).elapsed() > OUT_LIMIT
    }

    fn departures(&self) -> watch::Receiver<()> {
        self.departures.subscribe()
    }
}

fn is_unreachable(error: &Admit) -> bool {
    matches!(error, Admit::Store(StoreError::Unreachable { .. }))
}

/// Tries again for a while: etcd may be starting.
pub(crate) fn patiently<T, E>(
    attempt: impl Fn() -> Result<T, E>,
    is_passing: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_passing(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// A session that broke has another one after it by then.
const OUT_LIMIT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

//! The signer's decisions: who is admitted, whose certificate is renewed, who is on the list of the revoked.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::ca::{Ca, ETCD_NAME, SIGNER_NAME, Subject, UseCa, host_subject};
use crate::clock::now_s;
use crate::error::UseCluster;
use crate::etcd_process::EtcdProcess;
use crate::files::{Files, REVOKED as REVOKED_FILE, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::hex;
use crate::identity::{Candidate, Identity};
use crate::lock::lock;
use crate::settings::Settings;
use crate::signer::{Decide, JoinRequest, Joined, Reply};
use crate::token::secret_hash;
use agent_core::shared::{HOSTS, HostRecord, ISSUED, REVOKED, RevokedRecord, TOKENS, TokenRecord};
use agent_store::{Change, EtcdStore, Expected, Store, StoreError};

/// The CA at work.
pub(crate) struct Admission {
    pub(crate) ca: Ca,
    pub(crate) files: Files,
    /// As they are now: this host may move.
    pub(crate) settings: Mutex<Settings>,
    pub(crate) store: Arc<EtcdStore>,
    pub(crate) lifetime: Duration,
    /// Absent where etcd was given, and while this host has lost its address.
    pub(crate) etcd: Mutex<Option<EtcdProcess>>,
}

/// Why a host is not admitted.
#[derive(Debug, thiserror::Error)]
enum Admit {
    #[error("the token is unknown, used or expired; make a new one with `tapestry cluster token`")]
    Token,
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    #[error("this host is revoked or has left; run `tapestry cluster leave` there and join again")]
    NoMember,
    #[error(transparent)]
    Ca(#[from] UseCa),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Admission {
    fn admit(&self, request: &JoinRequest) -> Result<Joined, Admit> {
        if hex::decode::<8>(&request.host).is_none() {
            return Err(Admit::Malformed("no host id"));
        }
        if agent_core::name::check_name(&request.name).is_err() {
            return Err(Admit::Malformed("no host name"));
        }
        let used = self.checked_token(request)?;
        let subject = host_subject(&request.host, request.address);
        let issued = self.ca.sign(&request.request, &subject, self.lifetime)?;
        let host = HostRecord {
            name: request.name.clone(),
            address: request.address,
            joined_s: now_s(),
        };
        let key = format!("{HOSTS}{}", request.host);
        let admitted = self.store.transact(&[
            used,
            Change::encode(key, &host, Expected::Absent)?,
            self.issue(&request.host, &issued.serial)?,
        ]);
        match admitted {
            Ok(_) => {}
            // Another host was faster.
            Err(StoreError::Missing { .. } | StoreError::Changed { .. }) => {
                return Err(Admit::Token);
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(host = request.host, name = request.name, address = %request.address, "a host joined");
        let settings = lock(&self.settings).clone();
        Ok(Joined {
            cluster: settings.cluster,
            ca: self.ca.certificate().to_owned(),
            certificate: issued.certificate,
            etcd: settings.etcd,
            etcd_managed: settings.etcd_managed,
            signer_host: Some(settings.host),
        })
    }

    /// The change that uses the token up.
    fn checked_token(&self, request: &JoinRequest) -> Result<Change, Admit> {
        if hex::decode::<8>(&request.token_id).is_none() {
            return Err(Admit::Token);
        }
        let key = format!("{TOKENS}{}", request.token_id);
        let entry = self.store.get(&key)?.ok_or(Admit::Token)?;
        let record: TokenRecord = entry.decode()?;
        // Hashes are compared: how long it takes tells nothing about the secret.
        if record.secret_hash != secret_hash(&request.secret) || record.expires_s <= now_s() {
            return Err(Admit::Token);
        }
        Ok(Change::delete(key, Expected::Revision(entry.revision)))
    }

    fn certify_again(&self, host: &str, request: &str) -> Result<String, Admit> {
        let key = format!("{HOSTS}{host}");
        let entry = self.store.get(&key)?.ok_or(Admit::NoMember)?;
        let record: HostRecord = entry.decode()?;
        let subject = host_subject(host, record.address);
        let issued = self.ca.sign(request, &subject, self.lifetime)?;
        let issue = self.issue(host, &issued.serial)?;
        // One that is revoked meanwhile gets nothing.
        let unchanged = Change::put(key, entry.value, Expected::Revision(entry.revision));
        match self.store.transact(&[unchanged, issue]) {
            Ok(_) => Ok(issued.certificate),
            Err(StoreError::Missing { .. }) => Err(Admit::NoMember),
            Err(error) => Err(error.into()),
        }
    }

    /// The change that keeps a certificate on record as long as it is good.
    fn issue(&self, host: &str, serial: &str) -> Result<Change, StoreError> {
        let lease = self.store.grant(self.lifetime + CLOCK_SKEW)?;
        let key = format!("{ISSUED}{host}/{serial}");
        Ok(Change::encode(key, &now_s(), Expected::Anything)?.under(lease))
    }

    /// A new certificate for what the signer serves.
    pub(crate) fn renew_service(&self) -> Result<(), UseCluster> {
        let address = lock(&self.settings).signer.ip();
        certify_service(&self.ca, &self.files, address, self.lifetime)
    }

    /// Serves at another address. What was served at the old one has ended then.
    pub(crate) fn move_to(&self, settings: Settings) -> Result<(), UseCluster> {
        // Held all through: two moves at once would open the data twice. Only the list of the revoked waits for it.
        let mut etcd = lock(&self.etcd);
        // The old one has to be gone before another one opens its data.
        *etcd = None;
        *lock(&self.settings) = settings.clone();
        self.renew_service()?;
        if settings.etcd_managed {
            *etcd = Some(EtcdProcess::start(&self.files, settings.signer)?);
        }
        Ok(())
    }

    /// Writes the list of the revoked for etcd, and ends open connections to etcd. False where the list was up to date.
    pub(crate) fn list_revoked(&self) -> Result<bool, UseCluster> {
        let serials = self.revoked_serials()?;
        if !self.remember(&serials)? {
            return Ok(false);
        }
        if let Some(etcd) = &*lock(&self.etcd) {
            etcd.restart();
        }
        Ok(true)
    }

    fn revoked_serials(&self) -> Result<Vec<String>, StoreError> {
        let mut serials = Vec::new();
        for revoked in self.store.list(REVOKED)? {
            let record: RevokedRecord = revoked.decode()?;
            let host = revoked.key.trim_start_matches(REVOKED);
            let prefix = format!("{ISSUED}{host}/");
            let issued = self.store.list(&prefix)?;
            tracing::debug!(
                host,
                name = record.name,
                certificates = issued.len(),
                "revoked"
            );
            serials.extend(
                issued
                    .iter()
                    .filter_map(|entry| entry.key.strip_prefix(&prefix).map(str::to_owned)),
            );
        }
        Ok(serials)
    }

    /// False where the list says so already.
    fn remember(&self, serials: &[String]) -> Result<bool, UseCluster> {
        let text = serials.join("\n");
        if self
            .files
            .read_needed(REVOKED_SERIALS)
            .is_ok_and(|known| known == text)
        {
            return Ok(false);
        }
        let list = self.ca.revocation_list(serials)?;
        self.files.write(REVOKED_FILE, &list)?;
        self.files.write(REVOKED_SERIALS, &text)?;
        Ok(true)
    }
}

impl Decide for Admission {
    fn server_config(&self) -> Option<Arc<ServerConfig>> {
        let config = || -> Result<ServerConfig, UseCluster> {
            let service = Identity {
                host: SIGNER_NAME.to_owned(),
                ca: self.ca.certificate().to_owned(),
                certificate: self.files.read_needed(SERVICE_CERTIFICATE)?,
                key: self.files.read_needed(SERVICE_KEY)?,
            };
            Ok(service.server_config()?)
        };
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

    fn renew(&self, host: &str, request: &str) -> Reply {
        match patiently(|| self.certify_again(host, request), is_unreachable) {
            Ok(certificate) => Reply::Renewed { certificate },
            Err(error) => Reply::Refused(error.to_string()),
        }
    }
}

fn is_unreachable(error: &Admit) -> bool {
    matches!(error, Admit::Store(StoreError::Unreachable { .. }))
}

/// Tries again for a while: etcd restarts after a revocation.
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

/// Makes a certificate, with a key of its own, for what the signer serves: its endpoint and etcd.
pub(crate) fn certify_service(
    ca: &Ca,
    files: &Files,
    address: IpAddr,
    lifetime: Duration,
) -> Result<(), UseCluster> {
    let subject = Subject {
        names: vec![SIGNER_NAME.to_owned(), ETCD_NAME.to_owned()],
        addresses: vec![address, [127, 0, 0, 1].into()],
    };
    let candidate = Candidate::new()?;
    let issued = ca.sign(&candidate.request, &subject, lifetime)?;
    files.write(SERVICE_KEY, &candidate.key)?;
    files.write(SERVICE_CERTIFICATE, &issued.certificate)?;
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(5);
/// The serials that are on the list for etcd, one a line.
pub(crate) const REVOKED_SERIALS: &str = "revoked";
/// Clocks differ: a certificate stays on record until it is over by all of them.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

//! Renewing this host's certificate, in time.
//!
//! # Theory of operation
//!
//! From half of its life on, a certificate is renewed; at once where it is of another CA than the one that signs. What fails is
//! tried again, after pauses that grow with each failure and with the life of certificates. A host that is out of step with the
//! cluster asks what its certificate is worth, since it may have missed that the CA was replaced.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_core::shared::{ALIVE, AliveRecord};
use agent_store::{LeaseId, StoreError};

use crate::access::managers;
use crate::admission::Admission;
use crate::clock::{compare, now_s};
use crate::error::{Refusal, UseCluster};
use crate::follow::Follow;
use crate::handover::ManageRequest;
use crate::identity::{Candidate, Identity};
use crate::lock::lock;
use crate::manager_port::{AskManager, Greeted, RenewRequest, Renewed, Reply, Request, ask};
use crate::member::Member;

impl Member {
    /// Renews the certificate where it is time to.
    pub(crate) fn renew_if_due(&self, follower: Option<&dyn Follow>) {
        let Ok(validity) = self.certified_s() else {
            return;
        };
        let is_due = {
            let renewal = lock(&self.renewal);
            renewal.may_try(Instant::now())
                && (renewal.is_due(validity, now_s()) || !self.is_certified_by_present_ca())
        };
        if is_due {
            self.renew_now(validity, follower);
        }
    }

    /// Asks a manager whether the certificate is still good for anything else than being renewed. For a host that is out of step
    /// and does not know why.
    pub(crate) fn renew_if_told(&self, follower: Option<&dyn Follow>) {
        let Ok(validity) = self.certified_s() else {
            return;
        };
        if !lock(&self.renewal).may_ask(Instant::now()) {
            return;
        }
        if self.signs() {
            return self.ask_what_was_missed(follower);
        }
        match self.must_renew() {
            Ok(true) => self.renew_now(validity, follower),
            Ok(false) => {}
            Err(error) => self.renewal_failed(&error, validity, follower),
        }
    }

    /// As a manager that is out of step, and may have been for long: it may be none any more, or the CA may be another one.
    fn ask_what_was_missed(&self, follower: Option<&dyn Follow>) {
        let done = match self.greet() {
            Ok((greeted, next)) if greeted.is_manager == Some(false) && !self.is_on_trial() => {
                self.step_down(next)
            }
            Ok((greeted, _)) if greeted.must_renew => self.catch_up_with_ca(follower),
            Ok(_) => Ok(()),
            // This host may be the only manager, or the only one that is up.
            Err(error) => return tracing::debug!(%error, "no other manager says what is wrong"),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "this manager does not catch up with the others yet");
        }
    }

    /// Certified by another manager like a member, it may ask for the key of the CA that signs now.
    fn catch_up_with_ca(&self, follower: Option<&dyn Follow>) -> Result<(), UseCluster> {
        let candidate = Candidate::new()?;
        let Renewed { certificate, ca } = self.ask_to_renew(&candidate)?;
        let old = self.identity();
        let identity = self.adopt(Identity {
            host: old.host,
            ca: ca.unwrap_or(old.ca),
            certificate,
            key: candidate.key,
        })?;
        let handover = self.ask_for_handover(ManageRequest::default())?;
        self.take_ca_key(&handover.ca, &handover)?;
        if let Some(admission) = lock(&self.admission).clone() {
            admission.take_up(&handover.ca)?;
            admission.serve_by_ca(Duration::ZERO)?;
        }
        if let Some(follower) = follower {
            follower.recertified(&identity);
        }
        self.access
            .start_over(&self.means(&self.present_settings()))
    }

    pub(crate) fn is_on_trial(&self) -> bool {
        lock(&self.duty).is_on_trial
    }

    /// In step again: the next time out of step, a manager is asked at once.
    pub(crate) fn forget_questions(&self) {
        lock(&self.renewal).forget_questions();
    }

    fn renew_now(&self, validity: (u64, u64), follower: Option<&dyn Follow>) {
        match self.renew(&self.identity()) {
            Ok(identity) => {
                lock(&self.renewal).succeed();
                tracing::info!("this host has a new certificate");
                if let Some(follower) = follower {
                    follower.recertified(&identity);
                }
            }
            Err(error) => self.renewal_failed(&error, validity, follower),
        }
    }

    /// Tells the others which certificate this host has, where they know of another one.
    pub(crate) fn tell_certificate(&self, lease: LeaseId) -> Result<(), StoreError> {
        let key = format!("{ALIVE}{}", self.settings.host);
        let told = self.world().find::<AliveRecord>(&key);
        let is_told = told.is_none_or(|(told, _)| told.certificate == self.identity().shared());
        if !is_told {
            self.store().transact(&[self.alive(lease)?])?;
        }
        Ok(())
    }

    /// As a manager: the certificates that it has signed for itself.
    pub(crate) fn put_on_record(&self) -> Result<(), StoreError> {
        let admission = lock(&self.admission).clone();
        admission.map_or(Ok(()), |admission| admission.put_on_record())
    }

    fn renewal_failed(
        &self,
        error: &UseCluster,
        validity: (u64, u64),
        follower: Option<&dyn Follow>,
    ) {
        let mut renewal = lock(&self.renewal);
        if renewal.fail(&error.to_string(), validity, Instant::now()) {
            tracing::warn!(%error, "the certificate is not renewed yet");
        } else {
            tracing::debug!(%error, "the certificate is not renewed yet");
        }
        drop(renewal);
        if let Some(follower) = follower {
            self.look_for_signer(follower);
        }
    }

    /// The validity of this host's certificate; on a manager until the end of the one under which it serves, if that is sooner.
    fn certified_s(&self) -> Result<(u64, u64), UseCluster> {
        let (from_s, until_s) = self.identity().validity_s()?;
        let admission = lock(&self.admission).clone();
        let Some(admission) = admission else {
            return Ok((from_s, until_s));
        };
        let (_, served_until_s) = admission.service()?.validity_s()?;
        Ok((from_s, until_s.min(served_until_s)))
    }

    fn is_certified_by_present_ca(&self) -> bool {
        let admission = lock(&self.admission).clone();
        let is_served = |admission: &Arc<Admission>| {
            let service = admission.service();
            service.is_ok_and(|service| service.is_up_to_date())
        };
        self.identity().is_up_to_date() && admission.as_ref().is_none_or(is_served)
    }

    /// What a manager says to this host, and which one.
    fn greet(&self) -> Result<(Greeted, SocketAddr), UseCluster> {
        match self.ask_one(|_| Request::Greet)? {
            (Reply::Greeted(greeted), manager) => Ok((greeted, manager)),
            _ => Err(Refusal::OddAnswer.into()),
        }
    }

    /// Asks one manager after another, until one answers.
    pub(crate) fn ask_any(&self, make: impl Fn(IpAddr) -> Request) -> Result<Reply, UseCluster> {
        self.ask_one(make).map(|(reply, _)| reply)
    }

    fn ask_one(&self, make: impl Fn(IpAddr) -> Request) -> Result<(Reply, SocketAddr), UseCluster> {
        let identity = self.identity();
        let mut first = None;
        for manager in self.managers_to_ask() {
            let asking = ask(manager, identity.asking()?, &make);
            let asked = self.runtime.block_on(async {
                tokio::select! {
                    asked = asking => asked,
                    () = self.stopped() => Err(AskManager::Connect {
                        address: manager,
                        source: std::io::ErrorKind::Interrupted.into(),
                    }),
                }
            });
            match asked {
                Ok(reply) => return Ok((reply, manager)),
                // Another one may answer, or have a clock that is right.
                Err(error) => first.get_or_insert(error),
            };
        }
        Err(first.map_or(Refusal::NoOtherManager.into(), UseCluster::from))
    }

    /// The one that this host prefers, then the others, then hosts that may be managers by now; never itself.
    fn managers_to_ask(&self) -> Vec<SocketAddr> {
        let signer = self.signer();
        let is_manager = self.signs();
        let preferred = Some(signer).filter(|_| !is_manager);
        let (others, perhaps) = (managers(&self.world()), self.access.perhaps());
        let mut all: Vec<_> = preferred.into_iter().collect();
        for manager in others.into_iter().chain(perhaps) {
            if manager != signer && !all.contains(&manager) {
                all.push(manager);
            }
        }
        all
    }

    async fn stopped(&self) {
        while !self.is_stopping() {
            tokio::time::sleep(STOP_LOOK).await;
        }
    }

    fn must_renew(&self) -> Result<bool, UseCluster> {
        let (greeted, manager) = self.greet()?;
        let manager = format!("the host at {}", manager.ip());
        compare((&self.settings.name, now_s()), (&manager, greeted.now_s))
            .map_err(AskManager::from)?;
        Ok(greeted.must_renew)
    }

    fn renew(&self, old: &Identity) -> Result<Identity, UseCluster> {
        let candidate = Candidate::new()?;
        let admission = lock(&self.admission).clone();
        let Renewed { certificate, ca } = match admission {
            Some(admission) => {
                admission.renew_service()?;
                admission.certify_self(&candidate.request, self.session().is_some())?
            }
            None => self.ask_to_renew(&candidate)?,
        };
        let identity = Identity {
            host: old.host.clone(),
            ca: ca.unwrap_or_else(|| old.ca.clone()),
            certificate,
            key: candidate.key,
        };
        self.adopt(identity)
    }

    fn ask_to_renew(&self, candidate: &Candidate) -> Result<Renewed, UseCluster> {
        let renew = |_| {
            Request::Renew(RenewRequest {
                request: candidate.request.clone(),
                now_s: Some(now_s()),
            })
        };
        match self.ask_any(renew)? {
            Reply::Renewed(renewed) => Ok(renewed),
            _ => Err(Refusal::OddAnswer.into()),
        }
    }

    /// From now on this host shows and trusts what `identity` says.
    pub(crate) fn adopt(&self, identity: Identity) -> Result<Identity, UseCluster> {
        self.files.save_identity(&identity)?;
        let old = std::mem::replace(&mut *lock(&self.identity), identity.clone());
        let settings = self.present_settings();
        let is_new = old.certificate != identity.certificate;
        self.access.renew(is_new, &self.means(&settings))?;
        Ok(identity)
    }
}

const STOP_LOOK: Duration = Duration::from_millis(50);

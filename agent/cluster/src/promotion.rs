//! This host becomes a manager.
//!
//! # Theory of operation
//!
//! An order that names this host is obeyed on a thread of its own, while the session goes on. The host asks a manager for what a
//! manager has, who first looks whether it is reached ([`crate::doorstep`]), starts its etcd as a learner where managers run it, and from then on reaches the store by etcd. When its etcd is
//! in step it gets its vote; then the host serves, and says so in place of the order.
//!
//! Until that is said the host is *on trial*, which is on disk: an agent that was killed goes on from there. Whatever fails, and
//! an order that is taken back, makes it a member again as it was before, and the order is answered with the reason.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_core::shared::{MANAGERS, ManagerRecord, OrderRecord, PROMOTE};
use agent_store::{Change, ChangeMembers, Expected, StoreError};

use crate::admission::patiently;
use crate::authority::Authority;
use crate::doorstep::Doorstep;
use crate::error::{Refusal, UseCluster};
use crate::etcd_plan::EtcdPlan;
use crate::etcd_process::EtcdProcess;
use crate::files::{CA_KEY, CA_RECORD, ETCD_CREDENTIALS};
use crate::handover::{EtcdGiven, Handover, ManageRequest, PlaceGiven};
use crate::lock::lock;
use crate::manager_port::{Reply, Request};
use crate::member::Member;
use crate::office;
use crate::settings::{Duty, client_url, peer_url};
use crate::unrecorded::{Signing, Unrecorded};

impl Member {
    /// Begins to obey an order of promotion, or goes on with it, unless that is under way.
    pub(crate) fn begin_promotion(self: &Arc<Self>) {
        if self.is_promoting.swap(true, Ordering::AcqRel) {
            return;
        }
        let member = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("promotion".to_owned())
            .spawn(move || {
                member.obey_promotion();
                member.is_promoting.store(false, Ordering::Release);
            });
        match thread {
            Ok(thread) => lock(&self.tasks).promotion = Some(thread),
            Err(error) => {
                self.is_promoting.store(false, Ordering::Release);
                tracing::warn!(%error, "this host does not become a manager");
            }
        }
    }

    fn obey_promotion(&self) {
        match self.become_manager() {
            Ok(()) => tracing::info!("this host is a manager"),
            // What is on disk goes on with the next agent.
            Err(_) if self.is_stopping() => {}
            Err(error) => {
                tracing::warn!(%error, "this host does not become a manager");
                self.leave_etcd();
                let left = self.another_manager();
                if let Err(error) = left.and_then(|next| self.step_down(next)) {
                    tracing::warn!(%error, "this host is no member as before; start its agent again");
                }
                if let Err(error) = self.answer_order(&error.to_string()) {
                    tracing::debug!(%error, "nobody hears why");
                }
            }
        }
    }

    fn become_manager(&self) -> Result<(), UseCluster> {
        if !self.signs() {
            let handover = self.be_reached()?;
            self.take_office(handover)?;
        }
        self.get_a_vote()?;
        self.listen()?;
        self.swear_in()
    }

    /// Asks for what a manager needs, and is there for those who look whether it can be reached.
    fn be_reached(&self) -> Result<Handover, UseCluster> {
        // An etcd that was left behind would have a port.
        office::clear(&self.files);
        let own = SocketAddr::new(self.address(), self.signer().port());
        let doorstep = Doorstep::at(own)?;
        self.ask_for_handover(ManageRequest {
            word: Some(doorstep.word().to_owned()),
            ..ManageRequest::default()
        })
    }

    /// Asks one manager after another. The key of the CA in `request` where that has one, or else all that a manager needs.
    pub(crate) fn ask_for_handover(&self, request: ManageRequest) -> Result<Handover, UseCluster> {
        let reply = self.ask_any(|_: IpAddr| Request::Manage(request.clone()))?;
        match reply {
            Reply::Managing(handover) => Ok(handover),
            _ => Err(Refusal::OddAnswer.into()),
        }
    }

    /// Takes all that, and the way to the store that a manager goes.
    fn take_office(&self, handover: Handover) -> Result<(), UseCluster> {
        let Some(PlaceGiven { address, etcd }) = handover.place else {
            return Err(Refusal::OddAnswer.into());
        };
        let own = SocketAddr::new(self.address(), address.port());
        let files = &self.files;
        let record =
            serde_json::to_string(&handover.ca).map_err(|error| files.garbled(CA_RECORD, error))?;
        files.write(CA_RECORD, &record)?;
        files.write(CA_KEY, &handover.ca_key)?;
        let authority = Authority::load(files)?;
        let unrecorded = Unrecorded::new(files, &self.settings.host);
        let signing = Signing {
            authority: &authority,
            files,
            unrecorded: &unrecorded,
            lifetime: self.options.certificate_lifetime,
        };
        let duty = match etcd {
            EtcdGiven::Outside { urls, credentials } => {
                if let Some(credentials) = credentials {
                    let text = serde_json::to_string(&credentials)
                        .map_err(|error| files.garbled(ETCD_CREDENTIALS, error))?;
                    files.write(ETCD_CREDENTIALS, &text)?;
                }
                Duty {
                    etcd: urls,
                    ..Duty::default()
                }
            }
            EtcdGiven::Member { members } => Duty {
                etcd: vec![client_url(own)],
                etcd_managed: true,
                etcd_joins: members,
                ..Duty::default()
            },
        };
        *lock(&self.duty) = Duty {
            signs: true,
            is_on_trial: true,
            ..duty
        };
        lock(&self.place).signer = own;
        let settings = self.present_settings();
        signing.certify_service(&settings.service_addresses())?;
        files.save_settings(&settings)?;
        let etcd = match settings.duty.etcd_managed {
            true => Some(EtcdProcess::start(files, EtcdPlan::of(&settings))?),
            false => None,
        };
        self.access.change(&self.means(&settings))?;
        // What follows the store finds out that it is another one.
        self.wake.notify_one();
        *lock(&self.open_signer()?.etcd) = etcd;
        Ok(())
    }

    /// Waits until this host's etcd is in step, and a voter.
    fn get_a_vote(&self) -> Result<(), UseCluster> {
        if !lock(&self.duty).etcd_managed {
            return Ok(());
        }
        let etcd = self.access.etcd().ok_or(Refusal::OrderGone)?;
        let url = peer_url(self.signer_told());
        let deadline = Instant::now() + VOTE_LIMIT;
        loop {
            self.check_order()?;
            let voted = etcd
                .members()
                .map_err(ChangeMembers::from)
                .and_then(|members| {
                    let is_own =
                        |member: &&agent_store::EtcdMember| member.peer_urls.contains(&url);
                    match members.iter().find(is_own) {
                        Some(own) if own.is_learner => etcd.promote_learner(own.id).map(|()| true),
                        own => Ok(own.is_some()),
                    }
                });
            match voted {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Refusal::OrderGone.into()),
                Err(
                    ChangeMembers::NotInStep
                    | ChangeMembers::Unhealthy
                    | ChangeMembers::Store(StoreError::Unreachable { .. }),
                ) if Instant::now() < deadline => std::thread::sleep(STEP),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says that this host is a manager, in place of the order. Only where the order still stands.
    fn swear_in(&self) -> Result<(), UseCluster> {
        let host = &self.settings.host;
        let (order_key, manager_key) = (format!("{PROMOTE}{host}"), format!("{MANAGERS}{host}"));
        let manager = ManagerRecord {
            address: self.signer_told(),
        };
        let put = Change::encode(&manager_key, &manager, Expected::Anything)?;
        let say = || -> Result<(), StoreError> {
            let Some(order) = self.store().get(&order_key)? else {
                // An answer may have been lost, and this is the second try.
                return match self.store().get(&manager_key)? {
                    Some(_) => Ok(()),
                    None => Err(StoreError::Missing {
                        key: order_key.clone(),
                    }),
                };
            };
            let taken = Change::delete(&order_key, Expected::Revision(order.revision));
            self.store().transact(&[put.clone(), taken]).map(drop)
        };
        match patiently(say, |error| matches!(error, StoreError::Unreachable { .. })) {
            Err(StoreError::Missing { .. } | StoreError::Changed { .. }) => {
                return Err(Refusal::OrderGone.into());
            }
            said => said?,
        }
        lock(&self.duty).is_on_trial = false;
        Ok(self.files.save_settings(&self.present_settings())?)
    }

    /// An error where the order was taken back, or the agent stops.
    fn check_order(&self) -> Result<(), UseCluster> {
        let key = format!("{PROMOTE}{}", self.settings.host);
        let order = self.world().find::<OrderRecord>(&key);
        let stands = order.is_some_and(|(order, _)| order.failed.is_none());
        match stands && !self.is_stopping() {
            true => Ok(()),
            false => Err(Refusal::OrderGone.into()),
        }
    }

    fn answer_order(&self, why: &str) -> Result<(), StoreError> {
        let key = format!("{PROMOTE}{}", self.settings.host);
        let Some(entry) = self.store().get(&key)? else {
            return Ok(());
        };
        let answer = OrderRecord {
            failed: Some(OrderRecord::reason(why)),
            ..entry.decode()?
        };
        let change = Change::encode(key, &answer, Expected::Revision(entry.revision))?;
        self.store().transact(&[change]).map(drop)
    }

    /// Takes this host's etcd from among the members. Whoever gave the order does so too.
    fn leave_etcd(&self) {
        let url = peer_url(self.signer_told());
        let Some(etcd) = self.access.etcd().filter(|_| self.signs()) else {
            return;
        };
        let members = etcd.members().unwrap_or_default();
        let own = members
            .iter()
            .find(|member| member.peer_urls.contains(&url));
        if let Some(Err(error)) = own.map(|own| etcd.remove_member(own.id)) {
            tracing::debug!(%error, "another manager takes this host's etcd away");
        }
    }
}

/// To be in step takes a second, or as long as everything that is shared takes on its way.
const VOTE_LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(100);

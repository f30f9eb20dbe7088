//! Putting another CA in the place of the cluster's.
//!
//! # Theory of operation
//!
//! The manager that is told to rotate makes a CA, keeps its key in a file beside that of the old one, and writes the cluster's
//! record of CAs ([`CaRecord`]). Other managers ask for the key when they see the record. All the rest follows from that record. Every host compares it with what it trusts, and takes
//! it up where bridges lead to it from there. A host whose certificate is not of the CA that signs renews it. It tells the
//! others of which CA its certificate is; when all that are alive have one of the new CA, a manager writes the record in which
//! the old one is retired. Whoever is interrupted compares again when it is back.

use std::sync::Arc;
use std::time::Duration;

use agent_core::shared::managers::managers;
use agent_core::shared::{ALIVE, AliveRecord, CA, CaRecord, Difference, HOSTS, HostRecord, TOKENS};
use agent_store::{Change, Expected, StoreError};
use rustls::pki_types::CertificateDer;

use crate::admission::{Admission, patiently};
use crate::authority::{Authority, next_key};
use crate::ca::{Ca, digits_of};
use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::files::{CA_KEY, CA_RECORD};
use crate::follow::Follow;
use crate::handover::{Handover, ManageRequest};
use crate::identity::{Identity, UseIdentity, certificates};
use crate::lock::lock;
use crate::member::Member;
use crate::trust::{is_bridge, is_signed_by};

/// The cluster's CA, as this host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaState {
    /// When the one that signs ends, in seconds since 1970.
    pub until_s: u64,
    /// While another one is replaced.
    pub rotation: Option<Rotation>,
}

/// How many of the hosts that are alive have a certificate of the new CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub renewed: usize,
    pub alive: usize,
}

impl Member {
    /// Begins to replace the CA, or with `finish` ends that though some hosts have no certificate of the new one.
    pub fn rotate_ca(&self, finish: bool) -> Result<(), UseCluster> {
        let admission = lock(&self.admission).clone();
        let Some(admission) = admission else {
            return Err(self.no_manager("ca rotate"));
        };
        let authority = admission.authority();
        // etcd may start again just now, because of the rotation before.
        let entry = patiently(
            || self.store().get(CA),
            |error| matches!(error, StoreError::Unreachable { .. }),
        )?;
        let (record, expected) = match &entry {
            Some(entry) => (entry.decode()?, Expected::written(entry)),
            None => (authority.record().clone(), Expected::Absent),
        };
        if record.certificate != authority.record().certificate {
            return Err(Refusal::TakesUpCa.into());
        }
        let (next, key) = match finish {
            true => (record.finished(now_s()), None),
            false => {
                let (ca, key) = Ca::create(&self.settings.cluster)?;
                let bridge = authority.ca().bridge_to(&ca)?;
                let certificate = ca.certificate().to_owned();
                (record.begun(certificate, bridge, now_s()), Some(key))
            }
        };
        let refusal = match finish {
            true => Refusal::NotRotating,
            false => Refusal::Rotating,
        };
        let next = next.ok_or(refusal)?;
        if let Some(key) = key {
            // First of all: a CA whose key nobody has would be the end of the cluster.
            self.files.write(&next_key(&next.certificate)?, &key)?;
        }
        let written = self
            .store()
            .transact(&[Change::encode(CA, &next, expected)?]);
        if let Err(StoreError::Exists { .. } | StoreError::Changed { .. }) = written {
            // Another manager was faster.
            self.files.forget(&next_key(&next.certificate)?);
        }
        written?;
        if !finish {
            self.forget_tokens()?;
        }
        Ok(())
    }

    /// They are good for the CA before.
    fn forget_tokens(&self) -> Result<(), StoreError> {
        for token in self.store().list(TOKENS)? {
            self.store().delete(&token.key, Expected::Anything)?;
        }
        Ok(())
    }

    /// Takes up the cluster's CAs where `differences` are about them.
    pub(crate) fn mind_ca(&self, differences: &[Difference], always: bool, follower: &dyn Follow) {
        let is_about = |difference: &Difference| match difference {
            Difference::Put(entry) | Difference::Deleted(entry) => entry.key == CA,
        };
        if !always && !differences.iter().any(is_about) {
            return;
        }
        let Some((record, _)) = self.world().find::<CaRecord>(CA) else {
            return;
        };
        if let Err(error) = self.take_up_ca(&record, follower) {
            tracing::warn!(%error, "this host does not follow the cluster's CA");
        }
    }

    fn take_up_ca(&self, record: &CaRecord, follower: &dyn Follow) -> Result<(), UseCluster> {
        let identity = self.identity();
        let admission = lock(&self.admission).clone();
        let is_authority = |admission: &Arc<Admission>| admission.authority().record() == record;
        let is_known = certificates(&identity.ca)? == of_all(record.trusted())?;
        if is_known && admission.as_ref().is_none_or(is_authority) {
            return Ok(());
        }
        if !is_credible(record, &certificates(&identity.ca)?)? {
            return Err(Refusal::StrangeCa.into());
        }
        if let Some(admission) = &admission {
            self.have_ca_key(admission, record)?;
            admission.take_up(record)?;
        }
        let identity = Identity {
            ca: record.trusted().collect(),
            ..identity
        };
        let identity = self.adopt(identity)?;
        follower.recertified(&identity);
        tracing::info!(
            ca = digits_of(&record.certificate)?,
            is_rotating = record.is_rotating(),
            "the cluster's CA is taken up"
        );
        // A manager puts its own certificate on record before etcd starts again.
        self.renew_if_due(Some(follower));
        if let Some(admission) = &admission {
            admission.serve_by_ca(self.turn())?;
            // Nobody may be connected.
            admission.departures.send_replace(());
        }
        Ok(())
    }

    /// Has the key of the CA that signs by the record, from another manager where it is not here.
    fn have_ca_key(&self, admission: &Admission, record: &CaRecord) -> Result<(), UseCluster> {
        let signs_already = admission.authority().record().certificate == record.certificate;
        if signs_already || self.files.read(&next_key(&record.certificate)?)?.is_some() {
            return Ok(());
        }
        let handover = self.ask_for_handover(ManageRequest {
            ca: Some(record.certificate.clone()),
            ..ManageRequest::default()
        })?;
        self.take_ca_key(record, &handover)
    }

    /// Keeps the key until the CA is taken up. An error where it is another CA's.
    pub(crate) fn take_ca_key(
        &self,
        record: &CaRecord,
        handover: &Handover,
    ) -> Result<(), UseCluster> {
        Ca::load(record.certificate.clone(), &handover.ca_key)?;
        Ok(self
            .files
            .write(&next_key(&record.certificate)?, &handover.ca_key)?)
    }

    /// How long this manager waits until its etcd starts again, so that not all of them do so at once.
    fn turn(&self) -> Duration {
        let managers = managers(&self.world());
        let before = managers.iter().filter(|other| **other < self.settings.host);
        RESTART_PAUSE * u32::try_from(before.count()).unwrap_or_default()
    }

    /// As a manager: retires the CA before when everybody who is alive has a certificate of the one that signs.
    pub(crate) fn finish_rotation(&self) -> Result<(), StoreError> {
        if lock(&self.admission).is_none() {
            return Ok(());
        }
        let known = self.world().entry(CA).cloned();
        let Some((record, known)) = known.and_then(|known| {
            let record = known.decode::<CaRecord>().ok()?;
            record.is_rotating().then_some((record, known))
        }) else {
            return Ok(());
        };
        let Rotation { renewed, alive } = self.rotation(&record);
        let finished = record.finished(now_s()).filter(|_| renewed == alive);
        let Some(finished) = finished else {
            return Ok(());
        };
        let expected = Expected::Written {
            revision: known.revision,
            value: known.value,
        };
        let change = Change::encode(CA, &finished, expected)?;
        match self.store().transact(&[change]) {
            // Another manager was faster, or somebody has finished it by hand.
            Err(StoreError::Changed { .. } | StoreError::Missing { .. }) => Ok(()),
            changed => changed.map(drop),
        }
    }

    fn rotation(&self, record: &CaRecord) -> Rotation {
        let signs = digits_of(&record.certificate).unwrap_or_default();
        let world = self.world();
        let hosts = world.under::<HostRecord>(HOSTS);
        let alive = hosts.filter_map(|(host, _)| {
            let alive = world.find::<AliveRecord>(&format!("{ALIVE}{host}"));
            alive.map(|(alive, _)| alive)
        });
        let has_new = |alive: AliveRecord| alive.certificate.is_some_and(|own| own.ca == signs);
        let renewed = alive.map(has_new).collect::<Vec<_>>();
        Rotation {
            renewed: renewed.iter().filter(|renewed| **renewed).count(),
            alive: renewed.len(),
        }
    }

    pub fn ca_state(&self) -> CaState {
        let record = self.world().find::<CaRecord>(CA);
        let rotating = record.filter(|(record, _)| record.is_rotating());
        let signs = certificates(&self.identity().ca).unwrap_or_default();
        let until_s = signs.first().and_then(crate::certificate_end_s);
        CaState {
            until_s: until_s.unwrap_or_default(),
            rotation: rotating.map(|(record, _)| self.rotation(&record)),
        }
    }
}

impl Identity {
    /// Whether a host that showed this certificate when its connection began may keep the connection.
    pub fn trusts(&self, certificate: &CertificateDer<'_>) -> bool {
        certificates(&self.ca).is_ok_and(|cas| {
            let mut cas = cas.iter();
            cas.any(|ca| is_signed_by(certificate, ca))
        })
    }

    /// Whether the certificate is of the CA that signs now.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let cas = certificates(&self.ca).unwrap_or_default();
        let shown = self.shown().ok();
        let both = shown.zip(cas.first());
        both.is_some_and(|(shown, ca)| is_signed_by(&shown.certificate, ca))
    }
}

impl Admission {
    /// From now on certifies by the record's CA. Its key is in a file of its own until it is the only one.
    pub(crate) fn take_up(&self, record: &CaRecord) -> Result<(), UseCluster> {
        let next = next_key(&record.certificate)?;
        let key = self.files.read(&next)?;
        if key.is_none() && self.authority().record().certificate != record.certificate {
            return Err(Refusal::NoCaKey.into());
        }
        let text =
            serde_json::to_string(record).map_err(|error| self.files.garbled(CA_RECORD, error))?;
        self.files.write(CA_RECORD, &text)?;
        *lock(&self.authority) = Arc::new(Authority::load(&self.files)?);
        if let Some(key) = key {
            self.files.write(CA_KEY, &key)?;
            self.files.forget(&next);
        }
        Ok(())
    }

    /// What is served changes over to the CAs that are trusted now: etcd reads them when it starts.
    pub(crate) fn serve_by_ca(&self, restart_after: Duration) -> Result<(), UseCluster> {
        if !self.service()?.is_up_to_date() {
            self.renew_service()?;
        }
        if let Some(etcd) = &*lock(&self.etcd) {
            etcd.restart(restart_after);
        }
        Ok(())
    }
}

/// An etcd that starts again has a leader by then.
const RESTART_PAUSE: Duration = Duration::from_secs(3);

/// Whether all that the record would have this host trust is what it trusts already, or is vouched for by that.
fn is_credible(record: &CaRecord, known: &[CertificateDer<'_>]) -> Result<bool, UseIdentity> {
    let one = |pem: &str| {
        let cas = certificates(pem)?;
        Ok::<_, UseIdentity>(cas.into_iter().next())
    };
    let (mut credible, mut waiting) = (Vec::new(), Vec::new());
    let mut ca = one(&record.certificate)?;
    let mut former = record.former.iter();
    // Down from the one that signs to one that is known; those on the way are vouched for.
    while let Some(now) = ca {
        if known.contains(&now) {
            credible.append(&mut waiting);
            credible.push(now);
            break;
        }
        let Some(before) = former.next() else {
            break;
        };
        let (before_der, bridge) = (one(&before.certificate)?, one(&before.bridge)?);
        let leads_here = before_der
            .as_ref()
            .zip(bridge)
            .is_some_and(|(before, bridge)| is_bridge(&bridge, before, &now));
        if !leads_here {
            break;
        }
        waiting.push(now);
        ca = before_der;
    }
    let trusted = of_all(record.trusted())?;
    Ok(trusted
        .iter()
        .all(|ca| credible.contains(ca) || known.contains(ca)))
}

fn of_all<'a>(
    pems: impl Iterator<Item = &'a str>,
) -> Result<Vec<CertificateDer<'static>>, UseIdentity> {
    certificates(&pems.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> Ca {
        Ca::create("c").unwrap().0
    }

    fn known(cas: &[&Ca]) -> Vec<CertificateDer<'static>> {
        of_all(cas.iter().map(|ca| ca.certificate())).unwrap()
    }

    fn begun(record: &CaRecord, from: &Ca, to: &Ca) -> CaRecord {
        let bridge = from.bridge_to(to).unwrap();
        record
            .begun(to.certificate().to_owned(), bridge, 1)
            .unwrap()
    }

    #[test]
    fn a_new_ca_is_taken_up_where_bridges_lead_to_it() {
        let (one, two, three) = (ca(), ca(), ca());
        let first = CaRecord::new(one.certificate().to_owned());
        let second = begun(&first, &one, &two);
        let done = second.finished(2).unwrap();
        let third = begun(&done, &two, &three);
        let of_one = known(&[&one]);
        // A host may have missed a whole rotation.
        for record in [&first, &second, &done, &third, &third.finished(3).unwrap()] {
            assert!(is_credible(record, &of_one).unwrap(), "{record:?}");
        }
        assert!(is_credible(&done, &known(&[&two, &one])).unwrap());
    }

    #[test]
    fn a_ca_that_nobody_vouches_for_is_not_taken_up() {
        let (one, two, other) = (ca(), ca(), ca());
        let first = CaRecord::new(one.certificate().to_owned());
        let of_one = known(&[&one]);
        let without = CaRecord::new(two.certificate().to_owned());
        assert!(!is_credible(&without, &of_one).unwrap());
        // Its own bridge instead of the old CA's.
        let forged = begun(&first, &other, &two);
        assert!(!is_credible(&forged, &of_one).unwrap());
        // The one that signs is known, and beside it stands one that is not.
        let beside = begun(&CaRecord::new(other.certificate().to_owned()), &other, &one);
        assert!(!is_credible(&beside, &of_one).unwrap());
    }

    #[test]
    fn a_rotated_ca_makes_a_certificate_out_of_date() {
        use crate::ca::host_subject;
        use crate::identity::Candidate;
        let (one, two) = (ca(), ca());
        let candidate = Candidate::new().unwrap();
        let subject = host_subject("0a0b", [192, 0, 2, 1].into());
        let life = std::time::Duration::from_secs(3600);
        let issued = one.sign(&candidate.request, &subject, life).unwrap();
        let identity = |ca: String| Identity {
            host: "0a0b".into(),
            ca,
            certificate: issued.certificate.clone(),
            key: candidate.key.clone(),
        };
        let both = two.certificate().to_owned() + one.certificate();
        assert!(identity(one.certificate().to_owned()).is_up_to_date());
        assert!(!identity(both.clone()).is_up_to_date());
        let shown = identity(both.clone()).shown().unwrap().certificate;
        assert!(identity(both).trusts(&shown));
        assert!(!identity(two.certificate().to_owned()).trusts(&shown));
    }
}

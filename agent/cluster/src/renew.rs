//! Renewing this host's certificate, in time.

use crate::clock::now_s;
use crate::error::{Refusal, UseCluster};
use crate::etcd_access::etcd_options;
use crate::follow::Follow;
use crate::hex;
use crate::identity::{Candidate, Identity};
use crate::lock::lock;
use crate::member::Member;
use crate::signer::{Decide, Reply, Request, ask};

/// When a certificate is renewed: after a half of its life at the earliest and two thirds at the latest, at random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RenewalPlan {
    /// 0 to 255.
    jitter: u8,
}

impl RenewalPlan {
    pub(crate) fn new() -> Self {
        let [jitter] = hex::random();
        Self { jitter }
    }

    /// Whether a certificate that is good from and until these seconds is to be renewed at `now_s`.
    pub(crate) fn is_due(self, (from_s, until_s): (u64, u64), now_s: u64) -> bool {
        // The CA dates the beginning back by the skew that it allows, which would be most of a short life.
        let life_s = until_s.saturating_sub(from_s).saturating_sub(SKEW_S);
        let third = life_s / 3;
        let left_s = third + third / 2 * u64::from(self.jitter) / 255;
        now_s >= until_s.saturating_sub(left_s)
    }
}

impl Member {
    pub(crate) fn renew_if_due(&self, renewal: RenewalPlan, follower: Option<&dyn Follow>) {
        let identity = self.identity();
        let due = identity
            .validity_s()
            .is_ok_and(|validity| renewal.is_due(validity, now_s()));
        if !due {
            return;
        }
        match self.renew(&identity) {
            Ok(identity) => {
                tracing::info!("this host has a new certificate");
                if let Some(follower) = follower {
                    follower.recertified(&identity);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate is not renewed yet");
                if let Some(follower) = follower {
                    self.look_for_signer(follower);
                }
            }
        }
    }

    fn renew(&self, old: &Identity) -> Result<Identity, UseCluster> {
        let candidate = Candidate::new()?;
        let admission = lock(&self.admission).clone();
        let reply = match admission {
            Some(admission) => {
                admission.renew_service()?;
                admission.renew(&self.settings.host, &candidate.request)
            }
            None => {
                let request = candidate.request.clone();
                let asking = ask(self.signer(), old.client_config()?, |_| Request::Renew {
                    request,
                });
                self.runtime.block_on(asking)?
            }
        };
        let certificate = match reply {
            Reply::Renewed { certificate } => certificate,
            Reply::Refused(why) => return Err(Refusal::BySigner(why).into()),
            Reply::Joined(_) => return Err(Refusal::OddAnswer.into()),
        };
        let identity = Identity {
            host: old.host.clone(),
            ca: old.ca.clone(),
            certificate,
            key: candidate.key,
        };
        self.files.save_identity(&identity)?;
        self.store.reconnect(&etcd_options(
            &self.options,
            &self.present_settings(),
            &identity,
        )?)?;
        *lock(&self.identity) = identity.clone();
        Ok(identity)
    }
}

const SKEW_S: u64 = 5 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_second_half_of_its_life() {
        let validity = (1_000_000 - SKEW_S, 1_000_000 + 86_400);
        for jitter in [0, 128, 255] {
            let plan = RenewalPlan { jitter };
            assert!(!plan.is_due(validity, 1_000_000 + 43_000));
            assert!(plan.is_due(validity, 1_000_000 + 58_000));
        }
        assert!(RenewalPlan { jitter: 255 }.is_due(validity, 1_000_000 + 43_300));
        assert!(!RenewalPlan { jitter: 0 }.is_due(validity, 1_000_000 + 57_000));
    }
}

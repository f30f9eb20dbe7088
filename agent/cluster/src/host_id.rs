//! Ids of hosts.

use crate::hex;

/// The id of a host that makes a cluster.
pub(crate) fn new_founder_id() -> String {
    host_id(FOUNDER)
}

/// The id of a host that joins.
pub(crate) fn new_member_id() -> String {
    host_id(OTHERS)
}

/// A new id. The names in certificates are ids, and no such name is of digits alone.
fn host_id(prefix: &str) -> String {
    format!("{prefix}{}", hex::encode(&hex::random::<7>()))
}

/// What the signer's id begins with. Of two hosts, the one with the lower id dials. Only a connection that a host dialed
/// follows it to another address (RFC 9000 §9). The signer has the lowest id and dials everybody: after it has moved, the
/// others see by its connections where it is.
const FOUNDER: &str = "0a";
const OTHERS: &str = "a0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_founder_dials_everybody_and_every_id_is_a_name() {
        let (founder, other) = (new_founder_id(), new_member_id());
        assert!(founder < other);
        for id in [founder, other] {
            assert!(hex::decode::<8>(&id).is_some());
            assert!(rustls::pki_types::DnsName::try_from(id).is_ok());
        }
    }
}

//! What is random: ids, MAC addresses, seeds.

use agent_core::name::{BadId, check_id};
use rustix::rand::{GetRandomFlags, getrandom};
use switch_core::Mac;

/// 256 random bits as 64 hexadecimal digits, as Docker's ids.
pub(crate) fn new_id() -> String {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // getrandom(2) only fails where the kernel lacks it (before 3.17) or a signal interrupts it.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    agent_core::name::id_of(bytes)
}

/// The id by which the caller knows a thing already, or a new one.
pub(crate) fn id_for(known: Option<&String>) -> Result<String, BadId> {
    match known {
        Some(id) => check_id(id).map(|()| id.clone()),
        None => Ok(new_id()),
    }
}

/// A locally administered unicast address (IEEE 802, U/L bit) for an endpoint without an IPv4 address.
pub(crate) fn random_mac() -> Mac {
    let mut bytes = [0u8; 6];
    // Six bytes come at once or not at all; getrandom(2) is not interrupted below 256 bytes.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes[0] = bytes[0] & 0xfc | 0x02;
    Mac::new(bytes)
}

pub(crate) fn random_seed() -> u64 {
    let mut bytes = [0u8; 8];
    // A short read leaves zeros in the seed, which only makes sequence numbers a little more guessable.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// What nobody else can guess.
pub(crate) fn random_secret() -> u128 {
    u128::from(random_seed()) << 64 | u128::from(random_seed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_macs_differ_from_the_last() {
        assert_ne!(new_id(), new_id());
        assert_ne!(random_mac(), random_mac());
        assert!(random_mac().is_station());
    }
}

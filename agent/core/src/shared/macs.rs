//! Which endpoints have a MAC, for who asks by MAC.

use std::collections::{BTreeMap, BTreeSet};

use super::{ENDPOINTS, Entry};

/// Keys of endpoints by network and MAC.
#[derive(Debug, Default)]
pub(super) struct Macs(BTreeMap<(String, [u8; 6]), BTreeSet<String>>);

impl Macs {
    pub(super) fn put(&mut self, entry: &Entry) {
        if let Some(place) = place(entry) {
            self.0.entry(place).or_default().insert(entry.key.clone());
        }
    }

    pub(super) fn forget(&mut self, entry: &Entry) {
        let Some(place) = place(entry) else { return };
        if let Some(keys) = self.0.get_mut(&place) {
            keys.remove(&entry.key);
            if keys.is_empty() {
                self.0.remove(&place);
            }
        }
    }

    pub(super) fn keys(&self, network: &str, mac: [u8; 6]) -> impl Iterator<Item = &str> {
        let keys = self.0.get(&(network.to_owned(), mac));
        keys.into_iter().flatten().map(String::as_str)
    }
}

/// An endpoint's network and MAC; read from the record without the rest of it, as this is done for every record.
fn place(entry: &Entry) -> Option<(String, [u8; 6])> {
    let (network, _) = entry.key.strip_prefix(ENDPOINTS)?.split_once('/')?;
    let octets = entry.value.get("mac")?.as_array()?;
    let mut mac = [0; 6];
    if octets.len() != mac.len() {
        return None;
    }
    for (octet, told) in mac.iter_mut().zip(octets) {
        *octet = u8::try_from(told.as_u64()?).ok()?;
    }
    Some((network.to_owned(), mac))
}

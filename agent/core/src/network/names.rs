//! The options of a network that concern its names.

use std::net::IpAddr;

use dns_core::check_name;

use super::option_list::{OPTION_REBIND, OPTION_RECORD};
use crate::record::NetworkRecord;

impl NetworkRecord {
    /// What `-o dns.record` asks for.
    pub fn dns_records(&self) -> Vec<(String, IpAddr)> {
        // It was checked when the network was made.
        self.options
            .get(OPTION_RECORD)
            .and_then(|value| parse_records(value))
            .unwrap_or_default()
    }

    /// Whether answers from outside may not point to private addresses.
    pub fn blocks_private_answers(&self) -> bool {
        self.options
            .get(OPTION_REBIND)
            .is_some_and(|value| value == "block")
    }
}

/// `name=address[,name=address]...`; a name may come again with another address. `None` where it is not that.
pub(super) fn parse_records(value: &str) -> Option<Vec<(String, IpAddr)>> {
    let record = |text: &str| {
        let (name, address) = text.split_once('=')?;
        let name = name.strip_suffix('.').unwrap_or(name);
        check_name(name).ok()?;
        Some((name.to_owned(), address.parse().ok()?))
    };
    value.split(',').map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_names_and_addresses() {
        let records = parse_records("db=10.0.0.1,db=fd00::1,www.example.com.=192.0.2.1").unwrap();
        let names: Vec<_> = records.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["db", "db", "www.example.com"]);
        for wrong in ["", "db", "db=", "=10.0.0.1", "a b=10.0.0.1", "db=10.0.0.1,"] {
            assert_eq!(parse_records(wrong), None, "{wrong}");
        }
    }
}

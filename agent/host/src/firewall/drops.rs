//! Reading what the packet filter dropped, by network and reason.

use agent_core::firewall::{Count, Drops, FilterDrop};
use serde_json::Value;

use super::nft::objects;

/// From `nft -j list sets`.
pub(super) fn read_drops(listing: &Value) -> Drops {
    let mut drops = Drops::default();
    for set in objects(listing, "set") {
        note(&mut drops, set);
    }
    drops
}

fn note(drops: &mut Drops, set: &Value) {
    let Some(reason) = FilterDrop::ALL
        .into_iter()
        .find(|reason| set["name"] == reason.set())
    else {
        return;
    };
    for element in set["elem"].as_array().into_iter().flatten() {
        let (link, counter) = (&element["elem"]["val"], &element["elem"]["counter"]);
        if let (Some(link), Some(packets), Some(bytes)) = (
            link.as_str(),
            counter["packets"].as_u64(),
            counter["bytes"].as_u64(),
        ) {
            drops.note(reason, link, Count { packets, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read_by_reason_and_link() {
        let counted = |link: &str, packets: u64| json!({"elem": {"val": link, "counter": {"packets": packets, "bytes": 30 * packets}}});
        let drops = read_drops(&json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"set": {"name": "dropped_source", "elem": [counted("tsy1", 3), counted("tsy2", 0)]}},
            {"set": {"name": "dropped_invalid"}},
            {"set": {"name": "own4", "elem": [counted("tsy1", 7)]}},
            {"set": {"name": "dropped_underlay", "elem": [counted("tsy1", 1)]}},
        ]}));
        let expected = [(FilterDrop::Source, 3), (FilterDrop::Underlay, 1)];
        assert_eq!(drops.of("tsy1"), expected.into());
        assert!(drops.of("tsy2").is_empty());
        assert_eq!(drops.count(FilterDrop::Source, "tsy1").bytes, 90);
    }

    #[test]
    fn what_is_no_listing_counts_nothing() {
        for listing in [json!(null), json!([]), json!({"nftables": [{"set": 1}]})] {
            assert_eq!(read_drops(&listing), Drops::default());
        }
    }
}

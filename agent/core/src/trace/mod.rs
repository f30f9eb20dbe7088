//! A traced frame: which one a request means, and how its way reads.
//!
//! # Theory of operation
//!
//! The switch decides ([`switch_core::Rehearsal`]). Here is what comes before and after: the frame that a station would send to
//! whom somebody names ([`plan`]), the words for each step ([`words`]), and what the packet filter does with what leaves by the
//! host port ([`walk`]), read from the same rules that its table is made of. Where frames are followed on several hosts, the agents write to each other
//! ([`letter`]).

mod letter;
mod plan;
mod walk;
mod words;

pub use letter::{Correspondent, TraceLetter};
pub use plan::{Planned, Sender, Surroundings, Target, TracePlan, plan};
pub use walk::{Passing, Walk, Way, inbound, outbound};
pub use words::{Who, judgement, step, verdict};

#[cfg(test)]
mod tests {
    use switch_core::DropReason;

    use crate::firewall::FilterDrop;

    #[test]
    fn each_reason_to_drop_has_its_entry_with_cause_and_remedy() {
        let page = include_str!("../../../../docs/drops.md");
        let entries: Vec<(&str, &str)> = page
            .split("\n### ")
            .skip(1)
            .map(|entry| entry.split_once('\n').unwrap())
            .collect();
        let filter = FilterDrop::ALL.map(FilterDrop::name).into_iter();
        let reasons = DropReason::ALL.iter().map(|reason| reason.name());
        let names: Vec<_> = reasons.chain(filter).collect();
        for name in &names {
            let heading = format!("`{name}`");
            let found: Vec<_> = entries
                .iter()
                .filter(|(head, _)| *head == heading)
                .collect();
            let [(_, text)] = found[..] else {
                panic!("docs/drops.md has {} entries {heading}", found.len());
            };
            let has = |word: &str| text.lines().any(|line| line.starts_with(word));
            assert!(has("**Cause:**") && has("**Remedy:**"), "{name}");
        }
        assert_eq!(entries.len(), names.len(), "an entry is of no reason");
    }
}

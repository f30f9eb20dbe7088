//! Records beside a model of them: the sets of RFC 3376 §6.4 as sets, without times.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::FilterMode;
use super::super::address::Address;
use super::super::message::Change;
use super::super::record::{Doubt, Record};
use super::network::source;
use crate::{Family, Time};

type Set = BTreeSet<u8>;

/// INCLUDE(A), or EXCLUDE(X,Y).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Model {
    Include(Set),
    Exclude(Set, Set),
}

impl Model {
    /// RFC 3376 §6.4.1 and §6.4.2, line by line: the next state, and what is asked.
    fn hear(&self, change: Change, list: &Set) -> (Self, bool, Set) {
        use Change::{Allow, Block, IsExclude, IsInclude, ToExclude, ToInclude};
        let b = list;
        match (self, change) {
            (Self::Include(a), IsInclude | Allow) => (Self::Include(a | b), false, Set::new()),
            (Self::Include(a), IsExclude) => (Self::Exclude(a & b, b - a), false, Set::new()),
            (Self::Include(a), Block) => (self.clone(), false, a & b),
            (Self::Include(a), ToExclude) => (Self::Exclude(a & b, b - a), false, a & b),
            (Self::Include(a), ToInclude) => (Self::Include(a | b), false, a - b),
            (Self::Exclude(x, y), IsInclude | Allow) => {
                (Self::Exclude(x | b, y - b), false, Set::new())
            }
            (Self::Exclude(_, y), IsExclude) => (Self::Exclude(b - y, y & b), false, Set::new()),
            (Self::Exclude(x, y), Block) => (Self::Exclude(x | &(b - y), y.clone()), false, b - y),
            (Self::Exclude(_, y), ToExclude) => (Self::Exclude(b - y, y & b), false, b - y),
            (Self::Exclude(x, y), ToInclude) => (Self::Exclude(x | b, y - b), true, x - b),
        }
    }

    /// Nobody answers: what was asked for is over.
    fn lapse(&self, group: bool, sources: &Set) -> Self {
        match self {
            Self::Include(a) => Self::Include(a - sources),
            Self::Exclude(x, _) if group => Self::Include(x - sources),
            Self::Exclude(x, y) => Self::Exclude(x - sources, y | &(x & sources)),
        }
    }
}

fn numbers(sources: impl IntoIterator<Item = Address>) -> Set {
    let last = |address: Address| *address.to_wire().last().unwrap();
    sources.into_iter().map(last).collect()
}

fn state(record: &Record) -> Model {
    let of = |is_wanted: bool| {
        let sources = record.sources().iter();
        let sources = sources.filter(|(_, until)| until.is_some() == is_wanted);
        numbers(sources.map(|(source, _)| *source))
    };
    match record.mode() {
        FilterMode::Include => Model::Include(of(true)),
        FilterMode::Exclude => Model::Exclude(of(true), of(false)),
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    prop::sample::select(vec![
        Change::IsInclude,
        Change::IsExclude,
        Change::ToInclude,
        Change::ToExclude,
        Change::Allow,
        Change::Block,
    ])
}

proptest! {
    #[test]
    fn a_record_does_as_the_rfc_says(
        steps in prop::collection::vec((any_change(), prop::collection::btree_set(0..8_u8, 0..6), any::<bool>()), 1..30),
    ) {
        let mut record = Record::new();
        let mut model = Model::Include(Set::new());
        let mut now = Time::from_millis(0);
        for (change, list, lapses) in steps {
            now = now + std::time::Duration::from_millis(10);
            let sources: Vec<_> = list.iter().map(|number| source(Family::V4, *number)).collect();
            let Doubt { group, sources } = record.hear(now, change, &sources);
            let (next, asks_group, asked) = model.hear(change, &list);
            prop_assert_eq!(state(&record), next.clone());
            prop_assert_eq!((group, numbers(sources.iter().copied())), (asks_group, asked.clone()));
            model = next;
            if lapses {
                record.shorten(&Doubt { group, sources }, now);
                record.age(now);
                model = model.lapse(asks_group, &asked);
                prop_assert_eq!(state(&record), model.clone());
            }
            for number in 0..9 {
                let passes = match &model {
                    Model::Include(a) => a.contains(&number),
                    Model::Exclude(_, y) => !y.contains(&number),
                };
                prop_assert_eq!(record.passes(source(Family::V4, number)), passes);
            }
        }
    }
}

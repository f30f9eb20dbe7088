//! Where frames for groups go.
//!
//! # Theory of operation
//!
//! What forwarding reads: a list of ports for every group, and one more for each source of it that some record has an opinion
//! of, in the order of groups and sources; besides a few that are always there. Nothing of it ever changes. Who changes a record
//! makes the next [`Lists`], which shares with this one every list that stays as it was.
//!
//! A frame's verdict names its list by place and version. Where the lists have been replaced until the frame is sent, the list
//! is looked for again by the frame's addresses.
//!
//! A list has every port with a listener who wants the source, and those that want whatever there is. Which of them a frame may reach
//! depends on its ingress port, and is found by whoever sends it.

use std::sync::Arc;

use super::address::{Address, Family, Reach};
use super::table::GroupKey;
use crate::PortId;
use crate::list_id::ListId;

/// The lists of one network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    version: u32,
    /// With [`Address::ANY`]: sources of which nothing else is said.
    keys: Vec<(GroupKey, Address)>,
    lists: Vec<Arc<List>>,
    fixed: [Arc<List>; Fixed::COUNT],
}

/// The ports that a frame goes to, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) ports: Box<[PortId]>,
    /// How many of them have a listener.
    pub(crate) listeners: u32,
}

/// Lists that are always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// A group that nobody asked for.
    Unasked(Family),
    /// A report that was heard on this host.
    Reports(Family),
    /// A report from another host.
    FarReports(Family),
}

impl Fixed {
    const COUNT: usize = 6;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Unasked(Family::V4),
        Self::Unasked(Family::V6),
        Self::Reports(Family::V4),
        Self::Reports(Family::V6),
        Self::FarReports(Family::V4),
        Self::FarReports(Family::V6),
    ];

    /// Of reports by where they were heard.
    pub(crate) const fn reports(family: Family, is_far: bool) -> Self {
        match is_far {
            true => Self::FarReports(family),
            false => Self::Reports(family),
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Unasked(family) => family.index(),
            Self::Reports(family) => 2 + family.index(),
            Self::FarReports(family) => 4 + family.index(),
        }
    }
}

impl List {
    /// Of ports with listeners, and of others.
    pub(crate) fn new(listeners: &[PortId], others: impl IntoIterator<Item = PortId>) -> Self {
        let mut ports = listeners.to_vec();
        ports.extend(others);
        ports.sort_unstable();
        ports.dedup();
        Self {
            ports: ports.into(),
            listeners: u32::try_from(listeners.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether a frame from `ingress` would reach nobody.
    pub(crate) fn is_empty_for(&self, ingress: PortId) -> bool {
        self.ports.iter().all(|port| *port == ingress)
    }
}

impl Lists {
    /// The list of a group's frames from that source; `None` where they go to everybody.
    #[inline]
    pub(crate) fn find(&self, key: GroupKey, source: Address, reach: Reach) -> Option<ListId> {
        let place = match self.keys.binary_search(&(key, source)) {
            Ok(at) => Some(at),
            // What stands before it is the group's own list, unless it has some of sources.
            Err(after) => match after
                .checked_sub(1)
                .map(|before| (before, self.keys[before]))
            {
                Some((before, (of, Address::ANY))) if of == key => Some(before),
                Some((_, (of, _))) if of == key => self.find_any(key),
                _ => None,
            },
        };
        match (place, reach) {
            (Some(at), _) => Some(self.id(Fixed::COUNT + at)),
            (None, Reach::Listeners) => Some(self.fixed(Fixed::Unasked(key.group.family()))),
            (None, Reach::Link | Reach::Everybody) => None,
        }
    }

    fn find_any(&self, key: GroupKey) -> Option<usize> {
        self.keys.binary_search(&(key, Address::ANY)).ok()
    }

    pub(crate) fn fixed(&self, fixed: Fixed) -> ListId {
        self.id(fixed.index())
    }

    fn id(&self, place: usize) -> ListId {
        ListId {
            version: self.version,
            place: u32::try_from(place).unwrap_or(u32::MAX),
        }
    }

    /// `None`: it is another version's.
    pub(crate) fn list(&self, id: ListId) -> Option<&Arc<List>> {
        let place = usize::try_from(id.place).ok()?;
        let list = match place.checked_sub(Fixed::COUNT) {
            None => self.fixed.get(place),
            Some(at) => self.lists.get(at),
        };
        list.filter(|_| id.version == self.version)
    }

    /// Which of the fixed ones it is, whatever its version.
    pub(crate) fn fixed_of(id: ListId) -> Option<Fixed> {
        let place = usize::try_from(id.place).ok()?;
        Fixed::ALL.get(place).copied()
    }

    /// The next, with other lists for that group; with none, the group is gone.
    pub(crate) fn with_group(&mut self, key: GroupKey, lists: Vec<(Address, List)>) {
        let from = self.keys.partition_point(|(known, _)| *known < key);
        let to = self.keys.partition_point(|(known, _)| *known <= key);
        let (sources, lists): (Vec<_>, Vec<_>) = lists
            .into_iter()
            .map(|(source, list)| ((key, source), Arc::new(list)))
            .unzip();
        self.keys.splice(from..to, sources);
        self.lists.splice(from..to, lists);
    }

    pub(crate) fn set_fixed(&mut self, fixed: Fixed, list: List) {
        self.fixed[fixed.index()] = Arc::new(list);
    }

    /// A copy, to be changed.
    pub(crate) fn next(&self) -> Self {
        Self {
            version: self.version.wrapping_add(1),
            ..self.clone()
        }
    }

    /// Empty ones in place of these.
    pub(crate) fn after(&self) -> Self {
        Self {
            version: self.version.wrapping_add(1),
            ..Self::default()
        }
    }
}

//! Which list of ports a frame for a group goes to.

/// A list of a bridge's, for [`crate::Bridge::group_list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId {
    pub(crate) version: u32,
    pub(crate) place: u32,
}

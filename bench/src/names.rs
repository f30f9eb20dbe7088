//! The names that stations ask for: one of them has some, the upstream server has others.

/// The `index`th name of the station [`NAMES_STATION`].
pub(crate) fn local_name(index: usize) -> String {
    format!("n{index}")
}

/// The `index`th name of the upstream server.
pub(crate) fn foreign_name(index: usize) -> String {
    format!("f{index}.example.com")
}

/// The station that has the local names.
pub(crate) const NAMES_STATION: usize = 1;
pub(crate) const LOCAL_NAMES: usize = 20;
pub(crate) const FOREIGN_NAMES: usize = 100;

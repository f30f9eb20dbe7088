//! Between hosts.

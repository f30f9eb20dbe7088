//! A container against its host.

//! What has no safe wrapper: the only `unsafe` of the crate.
#![allow(unsafe_code)]

pub(crate) mod libpcap;

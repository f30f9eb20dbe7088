//! CNI's own words: configuration, result, failure.

mod config;
mod reply;

pub(super) use config::{Attachment, BridgeWords, Config, GivenResult, VlanRange};
pub(super) use reply::{Dns, Failure, FailureReply, Interface, Ip, Route, Success, Versions};

pub(super) const V0_4: &str = "0.4.0";
pub(super) const V1_1: &str = "1.1.0";
pub(super) const SUPPORTED: &[&str] = &[V0_4, "1.0.0", V1_1];

pub(super) const INCOMPATIBLE_VERSION: u32 = 1;
pub(super) const UNSUPPORTED_FIELD: u32 = 2;
pub(super) const UNKNOWN_CONTAINER: u32 = 3;
pub(super) const INVALID_ENVIRONMENT: u32 = 4;
pub(super) const IO_FAILURE: u32 = 5;
pub(super) const DECODE_FAILURE: u32 = 6;
pub(super) const INVALID_CONFIG: u32 = 7;
pub(super) const TRY_AGAIN: u32 = 11;
pub(super) const NOT_AVAILABLE: u32 = 50;
/// The first code that is a plugin's own.
pub(super) const REFUSED: u32 = 100;

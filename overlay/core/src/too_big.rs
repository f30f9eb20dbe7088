//! Answers to packets that are too big. (Skeleton.)
use std::net::IpAddr;
use switch_core::{Frame, Mac};
/// Longest answer, in bytes.
pub const LEN_MAX: usize = 1280 + 14;
/// Writes the answer (ICMPv4 3/4, ICMPv6 2) to a packet longer than `mtu` and returns its length; zero: none is due.
pub fn answer(
    _frame: &Frame<'_>,
    _mtu: u32,
    _gateway_mac: Mac,
    _gateways: &[IpAddr],
    _out: &mut [u8],
) -> usize {
    0
}

//! Bytes as hexadecimal digits, and random ones.

pub(crate) use agent_core::hex::{decode, encode};
use rustix::rand::{GetRandomFlags, getrandom};

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // getrandom(2) only fails where the kernel lacks it (before 3.17) or a signal interrupts it.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

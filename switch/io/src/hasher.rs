//! How tables find a port by its number.

use std::hash::Hasher;

/// Port numbers are ours and consecutive: a multiplication spreads them (Knuth, 6.4).
#[derive(Default)]
pub(crate) struct PortHasher(u64);

impl Hasher for PortHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Whether there is a number at all.
    fn write_isize(&mut self, value: isize) {
        self.write_u32(u32::from(value != 0));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

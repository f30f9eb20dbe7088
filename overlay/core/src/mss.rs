//! TCP MSS clamp. (Skeleton.)
/// Lowers the MSS option of a SYN so that its segments fit `mtu`; says whether it changed the frame.
pub fn clamp(_frame: &mut [u8], _mtu: u32) -> bool {
    false
}

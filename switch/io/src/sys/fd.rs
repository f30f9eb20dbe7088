//! Borrowing the descriptor of types that predate `AsFd`.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Borrows the descriptor of a `tun-tap` interface for as long as the interface is borrowed.
pub(crate) fn borrow_iface(iface: &tun_tap::Iface) -> BorrowedFd<'_> {
    // SAFETY: `Iface` owns an open `File` until it is dropped, and the result borrows the `Iface`.
    unsafe { BorrowedFd::borrow_raw(iface.as_raw_fd()) }
}

//! What the kernel says about a socket's memory (socket(7), `SO_MEMINFO`).

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::packet_socket::check;

/// Packets that `socket` was to receive and had no room for, so far.
pub fn unreceived(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0_u32; VARIABLES];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `len` bytes to `info`, and the length of what it wrote to `len`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    })?;
    Ok(u64::from(info[DROPS]))
}

/// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` of linux/sock_diag.h.
const VARIABLES: usize = 9;
const DROPS: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn datagrams_that_find_no_room_are_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(unreceived(receiver.as_fd()).unwrap(), 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        for _ in 0..2000 {
            sender.send_to(&[0; 1000], address).unwrap();
        }
        receiver.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| receiver.recv(&mut [0; 1000]).ok()).count();
        let lost = unreceived(receiver.as_fd()).unwrap();
        assert!(lost > 0);
        assert_eq!(u64::try_from(received).unwrap() + lost, 2000);
    }
}

//! What the kernel says about a socket's network namespace (linux/socket.h, `SO_NETNS_COOKIE`).

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::packet_socket::check;

/// The cookie of the namespace that `socket` belongs to: unlike an inode's number, the kernel gives it only once.
pub fn namespace_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `len` bytes to `cookie`, and the length of what it wrote to `len`.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    })?;
    Ok(cookie)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sockets_of_one_namespace_have_its_cookie() {
        let cookie = |at: &str| namespace_cookie(UdpSocket::bind(at).unwrap().as_fd()).unwrap();
        assert_ne!(cookie("127.0.0.1:0"), 0);
        assert_eq!(cookie("127.0.0.1:0"), cookie("127.0.0.2:0"));
    }
}

//! A socket to the connection tracking of one network namespace.

use std::io;
use std::net::Ipv4Addr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::ForgetConnections;
use super::message::{Connection, End, deletion_by_end, ends_dump, listing, outcome};
use crate::netlink::messages;

pub(super) struct Tracking(Socket);

impl Tracking {
    /// That of the calling thread's namespace.
    pub(super) fn open() -> Result<Self, ForgetConnections> {
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(NETLINK_NETFILTER)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        open().map(Self).map_err(ForgetConnections::Open)
    }

    /// Deletes all connections with one of the addresses at an end; whether the kernel can.
    pub(super) fn delete_by_ends(&self, addresses: &[Ipv4Addr]) -> Result<bool, ForgetConnections> {
        let ends = addresses
            .iter()
            .flat_map(|address| End::BOTH.map(|end| (*address, end)));
        let requests: Vec<Vec<u8>> = ends
            .map(|(address, end)| deletion_by_end(address, end))
            .collect();
        self.send(&requests.concat())?;
        let mut is_done = true;
        let mut unanswered = requests.len();
        while unanswered > 0 {
            for code in messages(&self.receive()?).filter_map(outcome) {
                is_done &= code == 0;
                unanswered = unanswered.saturating_sub(1);
            }
        }
        Ok(is_done)
    }

    /// Deletes the connections that are wrong, and returns how many those were.
    pub(super) fn delete(
        &self,
        is_wrong: impl Fn(&Connection<'_>) -> bool,
    ) -> Result<usize, ForgetConnections> {
        let wrong: Vec<Vec<u8>> = self
            .list()?
            .iter()
            .flat_map(|bytes| messages(bytes))
            .filter_map(Connection::parse)
            .filter(is_wrong)
            .map(|connection| connection.deletion())
            .collect();
        for deletion in &wrong {
            // One that ended meanwhile is refused, which is as good.
            self.send(deletion)?;
        }
        Ok(wrong.len())
    }

    /// Every connection, as the kernel's reads.
    fn list(&self) -> Result<Vec<Vec<u8>>, ForgetConnections> {
        self.send(&listing())?;
        let mut reads = Vec::new();
        loop {
            let read = self.receive()?;
            let is_last = read.is_empty() || messages(&read).any(ends_dump);
            reads.push(read);
            if is_last {
                return Ok(reads);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), ForgetConnections> {
        let sent = self.0.send(bytes, 0).map(drop);
        sent.map_err(ForgetConnections::Exchange)
    }

    fn receive(&self) -> Result<Vec<u8>, ForgetConnections> {
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            match self.0.recv(&mut buffer, 0) {
                Ok(_) => return Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ForgetConnections::Exchange(error)),
            }
        }
    }
}

const RECEIVE_BYTES: usize = 64 * 1024;

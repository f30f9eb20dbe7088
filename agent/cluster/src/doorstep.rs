//! Whether a manager reaches a host where that one would serve.
//!
//! # Theory of operation
//!
//! A manager is dialed, by members and by the other managers: at its own TCP port, and where it runs etcd at the two after that.
//! Between them may be a router that translates addresses, or a filter, and whether it lets anybody through shows when somebody
//! tries. So a host that is to be a manager waits at these ports before it is one, and says a word to everybody who comes. The
//! manager that gives it what managers have was told the word, comes, and gives nothing where it does not hear it: on the way might
//! be somebody else who answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::UseCluster;
use crate::hex;
use crate::settings::neighbour;

/// A host that waits. Dropping it frees the ports.
pub(crate) struct Doorstep {
    word: String,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A port at which nobody says the word.
#[derive(Debug, thiserror::Error)]
#[error(
    "a manager has to be reached at TCP {address}, and is not ({reason}); open that port on the way, and where a router translates \
     addresses forward it, and have the host join with --advertise and the router's address"
)]
pub(crate) struct NotReached {
    address: SocketAddr,
    reason: io::Error,
}

impl Doorstep {
    /// Waits where a manager at `address` serves.
    pub(crate) fn at(address: SocketAddr) -> Result<Self, UseCluster> {
        let listeners = ports(address, true)
            .map(|address| listen(address).map_err(|source| UseCluster::Listen { address, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let word = hex::encode(&hex::random::<WORD_LEN>());
        let is_over = Arc::<AtomicBool>::default();
        let (said, ends) = (word.clone(), Arc::clone(&is_over));
        let thread = std::thread::Builder::new()
            .name("doorstep".to_owned())
            .spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    listeners
                        .iter()
                        .for_each(|listener| answer(listener, &said));
                    std::thread::sleep(LOOK_EVERY);
                }
            })
            .map_err(UseCluster::Thread)?;
        Ok(Self {
            word,
            is_over,
            thread: Some(thread),
        })
    }

    pub(crate) fn word(&self) -> &str {
        &self.word
    }
}

impl Drop for Doorstep {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever came of it, the ports are free then.
            let _ = thread.join();
        }
    }
}

/// Goes where a host at `address` would serve, and hears `word` at every port.
pub(crate) fn visit(address: SocketAddr, word: &str, runs_etcd: bool) -> Result<(), NotReached> {
    for address in ports(address, runs_etcd) {
        hear(address, word).map_err(|reason| NotReached { address, reason })?;
    }
    Ok(())
}

fn ports(address: SocketAddr, runs_etcd: bool) -> impl Iterator<Item = SocketAddr> {
    let last = if runs_etcd { 2 } else { 0 };
    (0..=last).map(move |distance| neighbour(address, distance))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn answer(listener: &TcpListener, word: &str) {
    while let Ok((mut stream, _)) = listener.accept() {
        // A new connection takes that much at once, or is gone.
        let _ = stream.write_all(word.as_bytes());
    }
}

fn hear(address: SocketAddr, word: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    let mut heard = vec![0; word.len().min(WORD_LEN * 2)];
    stream.read_exact(&mut heard).map_err(|_| other_answers())?;
    match heard == word.as_bytes() {
        true => Ok(()),
        false => Err(other_answers()),
    }
}

fn other_answers() -> io::Error {
    io::Error::other("somebody else answers there")
}

/// Bytes; twice as many digits.
const WORD_LEN: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Of hosts that have been talking to each other.
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    /// Three ports in a row that nobody has.
    fn free() -> SocketAddr {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = first.local_addr().unwrap();
            let rest = ports(address, true).skip(1);
            if address.port() < 65_000
                && rest
                    .map(TcpListener::bind)
                    .collect::<io::Result<Vec<_>>>()
                    .is_ok()
            {
                return address;
            }
        }
    }

    #[test]
    fn a_host_that_waits_is_reached_and_its_ports_are_free_again() {
        let address = free();
        let doorstep = Doorstep::at(address).unwrap();
        let word = doorstep.word().to_owned();
        for runs_etcd in [true, false] {
            visit(address, &word, runs_etcd).unwrap();
        }
        drop(doorstep);
        assert!(visit(address, &word, false).is_err());
        drop(Doorstep::at(address).unwrap());
    }

    #[test]
    fn somebody_else_who_answers_is_not_that_host() {
        let address = free();
        let _doorstep = Doorstep::at(address).unwrap();
        let error = visit(address, "another word", true).unwrap_err();
        let line = error.to_string();
        assert!(line.contains("somebody else") && line.len() < 400, "{line}");
        // No more is read than a word has.
        assert!(visit(address, &"x".repeat(1000), true).is_err());
    }
}

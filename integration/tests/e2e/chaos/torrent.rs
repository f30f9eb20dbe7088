//! One TCP flow, as fast as it goes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::load::Place;
use crate::harness::enter;

/// Flows until it is ended.
pub(super) struct Torrent {
    received: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    ends: [JoinHandle<()>; 2],
}

impl Torrent {
    pub(super) fn start([from, to]: [&Place; 2]) -> Self {
        let address = SocketAddr::new(to.address, TCP_PORT);
        let listener = enter(&to.sandbox, || TcpListener::bind(address)).unwrap();
        let sender = enter(&from.sandbox, || TcpStream::connect(address)).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        // Neither may wait for ever for an end that is gone.
        sender.set_write_timeout(Some(PATIENCE)).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let (received, end) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, over) = (Arc::clone(&received), Arc::clone(&end));
        Self {
            received,
            end,
            ends: [
                std::thread::spawn(move || send(sender, &over)),
                std::thread::spawn(move || receive(receiver, &counter)),
            ],
        }
    }

    /// Bytes a second, over about a second.
    pub(super) fn rate(&self) -> f64 {
        let count = || self.received.load(Ordering::Relaxed);
        let (before, began) = (count(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let bytes = u32::try_from((count() - before) / 1024).unwrap();
        f64::from(bytes) * 1024.0 / began.elapsed().as_secs_f64()
    }

    pub(super) fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.join().unwrap();
        }
    }
}

fn send(mut socket: TcpStream, over: &AtomicBool) {
    let bytes = vec![7; BLOCK];
    while !over.load(Ordering::Relaxed) {
        socket.write_all(&bytes).unwrap();
    }
}

fn receive(mut socket: TcpStream, counter: &AtomicU64) {
    let mut bytes = vec![0; BLOCK];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return,
            Ok(len) => {
                counter.fetch_add(u64::try_from(len).unwrap(), Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

const TCP_PORT: u16 = 7003;
const BLOCK: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

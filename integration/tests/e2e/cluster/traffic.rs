//! Traffic between containers: streams that go on, servers that say who they are.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::enter;

/// A TCP stream of a few hundred Mbit/s from one sandbox to another, until dropped.
pub(super) struct Stream {
    arrived: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Stream {
    /// To `address` of the sandbox `to`.
    pub(super) fn start(from: &Path, to: &Path, address: IpAddr) -> Self {
        let address = SocketAddr::new(address, STREAM_TCP_PORT);
        let listener = enter(to, || TcpListener::bind(address).unwrap());
        let mut sender = enter(from, || TcpStream::connect(address).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        // A stream that is cut off for good ends with the test all the same.
        sender
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let (arrived, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, end) = (Arc::clone(&arrived), Arc::clone(&stop));
        let read = move || {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(len @ 1..) = receiver.read(&mut bytes) {
                counter.fetch_add(len, Ordering::Relaxed);
            }
        };
        let write = move || {
            let bytes = vec![7; 1 << 16];
            while !end.load(Ordering::Relaxed) && sender.write_all(&bytes).is_ok() {
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        Self {
            arrived,
            stop,
            threads: vec![std::thread::spawn(read), std::thread::spawn(write)],
        }
    }

    /// The longest time without a byte within `span`.
    pub(super) fn stall(&self, span: Duration) -> Duration {
        let end = Instant::now() + span;
        self.stall_until(|| Instant::now() >= end)
    }

    fn stall_until(&self, is_over: impl Fn() -> bool) -> Duration {
        let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while !is_over() {
            let arrived = self.arrived.load(Ordering::Relaxed);
            if arrived != last {
                last = arrived;
                since = Instant::now();
            }
            longest = longest.max(since.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        longest
    }

    /// The longest time without a byte while `act` is done.
    pub(super) fn stall_while(&self, act: impl FnOnce() + Send) -> Duration {
        std::thread::scope(|scope| {
            let acting = scope.spawn(act);
            let longest = self.stall_until(|| acting.is_finished());
            if let Err(panic) = acting.join() {
                std::panic::resume_unwind(panic);
            }
            longest
        })
    }

    /// Fails unless the stream flows now.
    #[track_caller]
    pub(super) fn flows(&self) {
        let stall = self.stall(Duration::from_secs(1));
        assert!(stall < Duration::from_millis(800), "{stall:?}");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Tells everybody who connects a name, from inside a sandbox, until dropped.
pub(super) struct Teller {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Teller {
    pub(super) fn start(sandbox: &Path, name: &str) -> Self {
        let listener = enter(sandbox, || {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, TELL_TCP_PORT)).unwrap()
        });
        listener.set_nonblocking(true).unwrap();
        let (stop, name) = (Arc::<AtomicBool>::default(), name.to_owned());
        let end = Arc::clone(&stop);
        let tell = move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Whoever has gone again is not told.
                    Ok((mut stream, _)) => drop(stream.write_all(name.as_bytes())),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        };
        Self {
            stop,
            thread: Some(std::thread::spawn(tell)),
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who is at `address`, as seen from a sandbox; `None` where nobody answers within `patience`.
pub(super) fn who_is(from: &Path, address: IpAddr, patience: Duration) -> Option<String> {
    enter(from, || {
        let address = SocketAddr::new(address, TELL_TCP_PORT);
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        let mut name = String::new();
        stream.read_to_string(&mut name).ok()?;
        Some(name)
    })
}

const STREAM_TCP_PORT: u16 = 5001;
const TELL_TCP_PORT: u16 = 5002;

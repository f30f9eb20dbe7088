//! Why a switch does not do what it was asked.

use std::io;

/// Why a switch did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartSwitch {
    #[error("io_uring was asked for and is not usable: {0}")]
    Uring(#[source] io::Error),
    #[error("a worker cannot start: {0}")]
    Worker(#[source] io::Error),
    #[error("a worker cannot be bound to core {core}: {error}")]
    Pin {
        core: usize,
        #[source]
        error: io::Error,
    },
}

/// Why a port was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddPort {
    #[error("a worker of the switch has stopped")]
    WorkerStopped,
    #[error("all port numbers have been used")]
    Exhausted,
    #[error("the port cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

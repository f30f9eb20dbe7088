//! Why a switch does not do what it was asked.

use std::io;

use crate::outfit::CAPTURES_MAX;

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

/// Why a port does not wear what it was to.
#[derive(Debug, thiserror::Error)]
pub enum Dress {
    #[error("there is no such port")]
    NoPort,
    #[error("a port of kind {0} has no cable that could be impaired")]
    NoCable(&'static str),
    #[error("a port of kind {0} has no rate of its own")]
    NoRate(&'static str),
    #[error("these settings are at another port already: make others")]
    Worn,
    #[error("the settings cannot be put on: {0}")]
    Device(#[source] io::Error),
    #[error("the port has as many captures as it can: {max}", max = CAPTURES_MAX)]
    TooManyCaptures,
    #[error("the capture has had as many ports as it can: start another")]
    TooManyPorts,
    #[error("a mirror leads to a port of the same network")]
    OtherNetwork,
    #[error("a mirror cannot lead to a port of kind {0}")]
    NoMirrorTo(&'static str),
    #[error("a port to which a mirror leads cannot be mirrored itself")]
    MirrorLoop,
}

impl From<io::Error> for Dress {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ResourceBusy => Self::Worn,
            _ => Self::Device(error),
        }
    }
}

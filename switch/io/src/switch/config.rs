//! How a switch runs.

use crate::engine::EngineChoice;

/// How a switch is to run.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    pub engine: EngineChoice,
    /// Threads, among which the ports are spread evenly; 0: as many as the load needs, at most one a core and
    /// [`AUTO_WORKERS_MAX`]. On two cores one worker is faster for one stream of TCP, two are for eight or for one each way
    /// (docs/lab-notebook/performance.md has the figures).
    pub workers: usize,
    /// Cores the workers are bound to, in turn; `None`: the scheduler places them. A bound worker is up to a tenth faster
    /// on a quiet machine (1.05 of a kernel bridge against 0.92) and a quarter slower where others want its core.
    pub pin: Option<Vec<usize>>,
    /// Join single frames of one flow that come together into a superframe: of the protocols that the egress port allows
    /// ([`switch_core::PortConfig::joining`]).
    pub join: bool,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            engine: EngineChoice::Auto,
            workers: 0,
            pin: None,
            join: true,
        }
    }
}

impl SwitchConfig {
    pub(super) fn worker_count(&self) -> usize {
        match self.workers {
            0 => auto_workers(),
            count => count,
        }
    }

    pub(super) fn placement(&self) -> Placement {
        match self.workers {
            0 => Placement::ByNeed,
            _ => Placement::Even,
        }
    }

    /// The core that a worker is bound to.
    pub(super) fn core(&self, worker: usize) -> Option<usize> {
        let cores = self.pin.as_deref().filter(|cores| !cores.is_empty())?;
        Some(cores[worker % cores.len()])
    }
}

/// Which worker reads a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// The first, as long as it can.
    ByNeed,
    /// The one with the fewest.
    Even,
}

fn auto_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(AUTO_WORKERS_MAX)
}

/// Most workers that are started without being asked for.
pub const AUTO_WORKERS_MAX: usize = 4;

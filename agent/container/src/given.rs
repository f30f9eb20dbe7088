//! What the agent was given at its start and keeps less of, and what containers get nevertheless.
//!
//! # Theory of operation
//!
//! The agent has keys and the frames of everybody in its memory. So nobody reads that who is not root, it leaves no core behind, and it is among the
//! last that the kernel kills for want of memory; so has and is its guardian. Limit and score are inherited by whatever they start. So a shim is told what
//! they were, in its environment, and takes them back before anything else.

use std::fs;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// What the agent was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The soft limit on a core's bytes; `None` means unlimited.
    core: Option<u64>,
    /// How likely the kernel is to kill the process for want of memory, proc(5).
    oom_score_adj: i32,
}

impl Given {
    /// Has this process keep less, for good, and says what it was given. What the kernel does not permit stays as it was.
    pub fn keep_less() -> Self {
        let given = Self {
            core: getrlimit(Resource::Core).current,
            oom_score_adj: oom_score_adj(),
        };
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let _ = set_core(Some(0));
        if given.oom_score_adj > AGENTS_SCORE {
            let _ = fs::write(OOM_SCORE_ADJ, AGENTS_SCORE.to_string());
        }
        given
    }

    /// Environment variables for a shim, or for the agent that a guardian starts.
    pub fn variables(self) -> [(&'static str, String); 2] {
        let core = self
            .core
            .map_or(UNLIMITED.to_owned(), |core| core.to_string());
        [(CORE, core), (SCORE, self.oom_score_adj.to_string())]
    }

    /// Takes back what its parent was given; nothing where that has not said.
    pub fn take_back() {
        let told = |name| std::env::var(name).ok();
        if let Some(core) = told(CORE) {
            let _ = set_core(core.parse().ok());
        }
        if let Some(score) = told(SCORE) {
            let _ = fs::write(OOM_SCORE_ADJ, score);
        }
    }
}

fn oom_score_adj() -> i32 {
    let text = fs::read_to_string(OOM_SCORE_ADJ).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

fn set_core(soft: Option<u64>) -> rustix::io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let current = soft;
    setrlimit(Resource::Core, Rlimit { current, maximum })
}

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
/// Docker's engine has the same.
const AGENTS_SCORE: i32 = -500;
const CORE: &str = "TAPESTRY_CORE_LIMIT";
const SCORE: &str = "TAPESTRY_OOM_SCORE_ADJ";
const UNLIMITED: &str = "unlimited";

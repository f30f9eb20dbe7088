//! What the switch's threads give up before they touch a frame.
//!
//! # Theory of operation
//!
//! Frames are what strangers write. Whoever finds a way from a frame into a worker is to find nothing there but what frames need:
//! no capability, none to be had by executing something, and of the system calls those that read, write, wait and keep memory.
//! Everything else fails with EPERM, so that what nobody thought of costs its own work and not the switch: glibc's allocator would read
//! how memory is overcommitted, and does as by default. No memory becomes code.
//! A ring has a filter of its own, since what it is asked for is no system call
//! ([`FrameRing::new`](crate::sys::ring::FrameRing::new)).
//!
//! Whatever takes more than that, a descriptor above all, is made elsewhere and handed over. Threads beside the workers, which touch no
//! frame, go without capabilities only.

use std::collections::BTreeMap;
use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Why a thread can do more than it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Confine {
    #[error("its capabilities stay: {0}")]
    Capabilities(io::Error),
    #[error("its system calls are not filtered: {0}")]
    Filter(#[from] BackendError),
    #[error("its system calls are not filtered: {0}")]
    Load(#[from] seccompiler::Error),
}

/// Confines the calling thread, for good.
pub(crate) fn confine() -> Result<(), Confine> {
    give_up_capabilities()?;
    // With it the thread promises to gain no privileges by executing.
    apply_filter(&program()?)?;
    Ok(())
}

/// Leaves the calling thread without capabilities, for good.
pub(crate) fn give_up_capabilities() -> Result<(), Confine> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|error| Confine::Capabilities(error.into()))
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(ALLOWED.iter().map(|call| (*call, Vec::new())));
    for (call, protection) in [(libc::SYS_mmap, 2), (libc::SYS_mprotect, 2)] {
        let no_code = SeccompCmpOp::MaskedEq(libc::PROT_EXEC.cast_unsigned().into());
        let condition = SeccompCondition::new(protection, SeccompCmpArgLen::Dword, no_code, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?.try_into()
}

const ALLOWED: &[i64] = &[
    // Frames, and what wakes whom.
    libc::SYS_io_uring_enter,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_timerfd_settime,
    libc::SYS_ppoll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    // A port that goes.
    libc::SYS_close,
    libc::SYS_fcntl,
    // Locks, time, memory.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_sched_getaffinity,
    // The thread's end, and a panic's message.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// Does something in a thread that is confined.
    fn confined<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                confine().unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn a_confined_thread_is_refused_what_no_frame_needs() {
        let refused = confined(|| {
            [
                fs::File::open("/dev/null").map(drop),
                std::process::Command::new("/bin/true").spawn().map(drop),
                std::thread::Builder::new().spawn(|| ()).map(drop),
                std::net::UdpSocket::bind("127.0.0.1:0").map(drop),
                memfd_create("a", MemfdFlags::empty())
                    .map(drop)
                    .map_err(io::Error::from),
            ]
            .map(|outcome| outcome.unwrap_err().raw_os_error())
        });
        assert_eq!(refused, [Some(libc::EPERM); 5]);
        fs::File::open("/dev/null").unwrap();
    }

    #[test]
    fn a_confined_thread_has_no_capability_and_keeps_memory_and_pipes() {
        let (reader, writer) = std::io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                give_up_capabilities().unwrap();
                let sets = rustix::thread::capabilities(None).unwrap();
                assert!(sets.effective.is_empty() && sets.permitted.is_empty());
            });
        });
        let echoed = confined(|| {
            io::Write::write_all(&mut &writer, b"frame").unwrap();
            let mut frame = vec![0; 5];
            io::Read::read_exact(&mut &reader, &mut frame).unwrap();
            let large = vec![1_u8; 64 << 20];
            (
                frame,
                large.iter().map(|byte| u32::from(*byte)).sum::<u32>(),
            )
        });
        assert_eq!(echoed, (b"frame".to_vec(), 64 << 20));
    }

    /// What the kernel would do, for the instructions that there are.
    fn decide(call: i64, third_argument: i32) -> u32 {
        let program = program().unwrap();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => 0xc000_003e,
            "aarch64" => 0xc000_00b7,
            other => panic!("{other}"),
        };
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let step = &program[at];
            at += 1;
            let taken = match step.code {
                0x20 => {
                    value = match step.k {
                        0 => call.try_into().unwrap(),
                        4 => architecture,
                        32 => third_argument.cast_unsigned(),
                        other => panic!("offset {other}"),
                    };
                    continue;
                }
                0x54 => {
                    value &= step.k;
                    continue;
                }
                0x05 => {
                    at += usize::try_from(step.k).unwrap();
                    continue;
                }
                0x06 => return step.k,
                0x15 => value == step.k,
                other => panic!("code {other:#x}"),
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    #[test]
    fn no_memory_becomes_code() {
        let data = libc::PROT_READ | libc::PROT_WRITE;
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            assert_eq!(decide(call, data), libc::SECCOMP_RET_ALLOW);
            let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
            assert_eq!(decide(call, data | libc::PROT_EXEC), refused);
        }
        assert_eq!(
            decide(libc::SYS_read, libc::PROT_EXEC),
            libc::SECCOMP_RET_ALLOW
        );
    }
}

//! What the guardian's thread gives up before it hears anything.
//!
//! # Theory of operation
//!
//! The thread that hears the agent holds every descriptor, and needs next to nothing: it waits, passes messages and descriptors on,
//! signals the agent, and tells the service manager. So it has no capability, can gain none by executing, and all other system calls fail with
//! EPERM. It opens no file and starts no program. No memory becomes code.
//!
//! An agent inherits from the thread that starts it, and is to have all that the guardian was given, as are containers ([`super::starter`]).

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Why the thread can do more than it needs.
#[derive(Debug, thiserror::Error)]
pub(super) enum Confine {
    #[error("its capabilities stay: {0}")]
    Capabilities(#[from] std::io::Error),
    #[error("its system calls are not filtered: {0}")]
    Filter(#[from] BackendError),
    #[error("its system calls are not filtered: {0}")]
    Load(#[from] seccompiler::Error),
}

/// Confines the calling thread, for good.
pub(super) fn confine() -> Result<(), Confine> {
    agent_host::keep_no_rights()?;
    // With it the thread promises to gain no privileges by executing.
    Ok(apply_filter(&program()?)?)
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(ALLOWED.iter().map(|call| (*call, Vec::new())));
    let only = |argument, operator, value: i32| {
        let value = value.cast_unsigned().into();
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        Ok::<_, BackendError>(vec![SeccompRule::new(vec![condition])?])
    };
    let exec = SeccompCmpOp::MaskedEq(libc::PROT_EXEC.cast_unsigned().into());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, only(2, exec.clone(), 0)?);
    }
    // The service manager's.
    rules.insert(libc::SYS_socket, only(0, SeccompCmpOp::Eq, libc::AF_UNIX)?);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture)?.try_into()
}

const ALLOWED: &[i64] = &[
    // Messages, descriptors, the log.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_ppoll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    // The agent: its signals, and its end.
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Locks, time, memory.
    libc::SYS_futex,
    libc::SYS_sched_yield,
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
    use std::io;

    use super::*;

    #[test]
    fn a_confined_thread_is_refused_what_a_guardian_never_does() {
        let refused = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                confine().unwrap();
                [
                    std::fs::File::open("/dev/null").map(drop),
                    std::process::Command::new("/bin/true").spawn().map(drop),
                    std::thread::Builder::new().spawn(|| ()).map(drop),
                    std::net::UdpSocket::bind("127.0.0.1:0").map(drop),
                ]
                .map(|outcome: io::Result<()>| outcome.unwrap_err().raw_os_error())
            });
            thread.join().unwrap()
        });
        assert_eq!(refused, [Some(libc::EPERM); 4]);
        std::fs::File::open("/dev/null").unwrap();
    }
}

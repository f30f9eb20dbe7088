//! No user namespaces are made in a container.
//!
//! # Theory of operation
//!
//! Whoever makes a user namespace has all capabilities in it. None of them reaches beyond, but they open most of what the
//! kernel has to make and mount, and not all of that is apart from the host: a control group tree that is mounted there has
//! the agent's own group in it, with the switch that kills everybody in it. Docker's seccomp profile shuts this door too. A
//! container with SYS_ADMIN has no use for it, and is let.
//!
//! The filter is a program of the kernel's old packet filter (seccomp(2)): it looks at the architecture of the call, its
//! number, and the flags. Those of clone3(2) lie in memory, where it cannot look; so that call does not exist here, and C
//! libraries take clone(2) in its place.

use std::io;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, sock_filter,
};

use crate::sys::load_filter;

/// For this thread and all that it executes, for good. Takes SYS_ADMIN, as nobody promises to gain no privileges.
pub(super) fn forbid() -> io::Result<()> {
    load_filter(&program())
}

/// How an architecture numbers the calls.
struct Calls {
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    architecture: u32,
    clone: u32,
    clone3: u32,
    unshare: u32,
}

fn program() -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE)];
    for calls in &KNOWN {
        let block = block(calls);
        let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
        program.push(jump(BPF_JEQ, calls.architecture, 0, length));
        program.extend(block);
    }
    program.push(answer(refused_with(libc::ENOSYS)));
    program
}

/// Jumps count from the next instruction.
fn block(calls: &Calls) -> [sock_filter; 10] {
    [
        load(NUMBER),
        statement(BPF_ALU | BPF_AND | BPF_K, !X32),
        jump(BPF_JEQ, calls.clone3, 4, 0),
        jump(BPF_JEQ, calls.unshare, 1, 0),
        jump(BPF_JEQ, calls.clone, 0, 3),
        load(FIRST_ARGUMENT),
        jump(BPF_JSET, libc::CLONE_NEWUSER.cast_unsigned(), 2, 1),
        answer(refused_with(libc::ENOSYS)),
        answer(SECCOMP_RET_ALLOW),
        answer(refused_with(libc::EPERM)),
    ]
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

const fn refused_with(errno: i32) -> u32 {
    SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

fn statement(code: u32, value: u32) -> sock_filter {
    instruction(code, value, 0, 0)
}

fn jump(test: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, if_true, if_false)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // Codes have eight bits.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    sock_filter { code, jt, jf, k }
}

/// Offsets in `struct seccomp_data`; of the argument's eight bytes the lower ones, which come first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
/// `__X32_SYSCALL_BIT`: 64-bit calls with 32-bit pointers have the same numbers otherwise.
const X32: u32 = 0x4000_0000;
/// Both that a machine runs, 64 bits and 32 bits.
const KNOWN: [Calls; 4] = [
    // x86-64
    Calls {
        architecture: 0xc000_003e,
        clone: 56,
        clone3: 435,
        unshare: 272,
    },
    // i386
    Calls {
        architecture: 0x4000_0003,
        clone: 120,
        clone3: 435,
        unshare: 310,
    },
    // aarch64
    Calls {
        architecture: 0xc000_00b7,
        clone: 220,
        clone3: 435,
        unshare: 97,
    },
    // arm
    Calls {
        architecture: 0x4000_0028,
        clone: 120,
        clone3: 435,
        unshare: 337,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_USER: u32 = 0x1000_0000;
    const NEW_NET: u32 = 0x4000_0000;

    /// What the kernel would do, for the instructions that there are.
    fn decide(architecture: u32, number: u32, argument: u32) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let taken = match step.code {
                0x20 => {
                    value = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("offset {other}"),
                    };
                    continue;
                }
                0x54 => {
                    value &= step.k;
                    continue;
                }
                0x06 => return step.k,
                0x15 => value == step.k,
                0x45 => value & step.k != 0,
                other => panic!("code {other:#x}"),
            };
            at += usize::from(if taken { step.jt } else { step.jf });
        }
    }

    #[test]
    fn no_call_makes_a_user_namespace() {
        let (denied, absent) = (refused_with(libc::EPERM), refused_with(libc::ENOSYS));
        for calls in &KNOWN {
            let architecture = calls.architecture;
            for bit in [0, X32] {
                for call in [calls.clone, calls.unshare] {
                    assert_eq!(decide(architecture, call | bit, NEW_USER), denied);
                    assert_eq!(decide(architecture, call | bit, NEW_USER | NEW_NET), denied);
                }
                assert_eq!(decide(architecture, calls.clone3 | bit, 0), absent);
            }
        }
        assert_eq!(
            decide(0x8000_0016, 0, 0),
            absent,
            "numbers that are not known"
        );
    }

    #[test]
    fn everything_else_is_left_alone() {
        for calls in &KNOWN {
            for call in [calls.clone, calls.unshare] {
                assert_eq!(
                    decide(calls.architecture, call, NEW_NET | 17),
                    SECCOMP_RET_ALLOW
                );
            }
            for call in [0, 1, 57, 59, 1000] {
                assert_eq!(
                    decide(calls.architecture, call, NEW_USER),
                    SECCOMP_RET_ALLOW
                );
            }
        }
    }
}

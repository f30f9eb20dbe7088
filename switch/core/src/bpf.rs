//! Programs of the classic Berkeley Packet Filter, as libpcap compiles tcpdump's language to them.
//!
//! # Theory of operation
//!
//! A [`Program`] is checked once, by the kernel's rules (`bpf_check_classic` in Linux `net/core/filter.c`), and then run on many
//! frames: every instruction is known, jumps go forward and stay inside, no constant divides by zero or shifts too far, scratch memory
//! is read only where it was written on every way there, and the last instruction returns. So each run ends after at most as many
//! steps as there are instructions. A load outside the frame ends it with zero, as does a division by zero: the frame is not wanted.
//! The kernel's extensions (loads at negative offsets) are such loads here.
//!
//! An instruction (linux/filter.h, `struct sock_filter`); the code is a class, and by class a size, a mode, an operation, a source:
//!
//! ```text
//!  0        16    24    32           64 bits
//! +----------+-----+-----+-----------+
//! |   code   | jt  | jf  |     k     |
//! +----------+-----+-----+-----------+
//! ```

mod check;

pub use check::BadProgram;

/// One instruction, as libpcap (`struct bpf_insn`) and the kernel (`struct sock_filter`) have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    /// How many instructions a jump skips that is taken.
    pub jt: u8,
    /// And one that is not.
    pub jf: u8,
    pub k: u32,
}

/// A checked program. Says of a frame how many bytes of it are wanted; zero: it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Box<[Instruction]>);

impl Program {
    /// Most instructions of a program (`BPF_MAXINSNS`).
    pub const LEN_MAX: usize = 4096;

    pub fn new(instructions: Vec<Instruction>) -> Result<Self, BadProgram> {
        check::check(&instructions)?;
        Ok(Self(instructions.into()))
    }

    /// How many bytes of the frame, from its Ethernet header on, the program wants.
    pub fn run(&self, frame: &[u8]) -> u32 {
        Run {
            frame,
            a: 0,
            x: 0,
            scratch: [0; SCRATCH],
        }
        .run(&self.0)
        .unwrap_or(0)
    }
}

struct Run<'f> {
    frame: &'f [u8],
    a: u32,
    x: u32,
    scratch: [u32; SCRATCH],
}

impl Run<'_> {
    /// `None`: the program ended at what it cannot do.
    fn run(mut self, program: &[Instruction]) -> Option<u32> {
        let mut at = 0;
        loop {
            let step = program.get(at)?;
            at += 1;
            match step.code & CLASS {
                LD => self.a = self.load(step)?,
                LDX => self.x = self.load_x(step)?,
                ST => *self.cell(step.k)? = self.a,
                STX => *self.cell(step.k)? = self.x,
                ALU => self.a = self.compute(step)?,
                JMP => at += self.jump(step),
                RET => {
                    return Some(if step.code & 0x18 == RET_A {
                        self.a
                    } else {
                        step.k
                    });
                }
                _ if step.code & MISC_OP == TXA => self.a = self.x,
                _ => self.x = self.a,
            }
        }
    }

    fn load(&mut self, step: &Instruction) -> Option<u32> {
        let at = match step.code & MODE {
            IMM => return Some(step.k),
            MEM => return self.cell(step.k).copied(),
            LEN => return u32::try_from(self.frame.len()).ok(),
            ABS => step.k,
            _ => self.x.checked_add(step.k)?,
        };
        match step.code & SIZE {
            W => self.bytes(at).map(u32::from_be_bytes),
            H => self.bytes(at).map(u16::from_be_bytes).map(u32::from),
            _ => self.bytes(at).map(u8::from_be_bytes).map(u32::from),
        }
    }

    fn load_x(&mut self, step: &Instruction) -> Option<u32> {
        match step.code & MODE {
            IMM => Some(step.k),
            MEM => self.cell(step.k).copied(),
            LEN => u32::try_from(self.frame.len()).ok(),
            // The length of an IPv4 header.
            _ => self.bytes(step.k).map(|[byte]| u32::from(byte & 0xf) * 4),
        }
    }

    fn compute(&self, step: &Instruction) -> Option<u32> {
        let (a, b) = (self.a, self.operand(step));
        Some(match step.code & OP {
            ADD => a.wrapping_add(b),
            SUB => a.wrapping_sub(b),
            MUL => a.wrapping_mul(b),
            DIV => a.checked_div(b)?,
            MOD => a.checked_rem(b)?,
            OR => a | b,
            AND => a & b,
            XOR => a ^ b,
            LSH => a.checked_shl(b).unwrap_or(0),
            RSH => a.checked_shr(b).unwrap_or(0),
            _ => a.wrapping_neg(),
        })
    }

    /// How many instructions to skip.
    fn jump(&self, step: &Instruction) -> usize {
        let (a, b) = (self.a, self.operand(step));
        let taken = match step.code & OP {
            JA => return usize::try_from(step.k).unwrap_or(usize::MAX),
            JEQ => a == b,
            JGT => a > b,
            JGE => a >= b,
            _ => a & b != 0,
        };
        usize::from(if taken { step.jt } else { step.jf })
    }

    const fn operand(&self, step: &Instruction) -> u32 {
        if step.code & SOURCE_X == 0 {
            step.k
        } else {
            self.x
        }
    }

    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let rest = self.frame.get(usize::try_from(at).ok()?..)?;
        rest.first_chunk().copied()
    }

    fn cell(&mut self, k: u32) -> Option<&mut u32> {
        self.scratch.get_mut(usize::try_from(k).ok()?)
    }
}

/// Words of scratch memory (`BPF_MEMWORDS`).
const SCRATCH: usize = 16;

const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;

const SIZE: u16 = 0x18;
const W: u16 = 0x00;
const H: u16 = 0x08;
const B: u16 = 0x10;

const MODE: u16 = 0xe0;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;

const OP: u16 = 0xf0;
const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const MOD: u16 = 0x90;
const XOR: u16 = 0xa0;

const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;

/// The operand is X instead of `k`.
const SOURCE_X: u16 = 0x08;
/// What is returned is A instead of `k`.
const RET_A: u16 = 0x10;
const MISC_OP: u16 = 0xf8;
const TAX: u16 = 0x00;
const TXA: u16 = 0x80;

#[cfg(test)]
mod tests;

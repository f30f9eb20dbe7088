//! What the kernel asks of a program before it runs it (`bpf_check_classic`, `check_load_and_stores`).

use super::{
    ABS, ADD, ALU, AND, B, CLASS, DIV, H, IMM, IND, Instruction, JA, JEQ, JGE, JGT, JMP, JSET, LD,
    LDX, LEN, LSH, MEM, MISC, MOD, MODE, MSH, MUL, NEG, OP, OR, Program, RET, RET_A, RSH, SCRATCH,
    SOURCE_X, ST, STX, SUB, TAX, TXA, W, XOR,
};

/// Why a program is not run. Positions count instructions from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProgram {
    #[error("a filter has 1 to {max} instructions, not {0}", max = Program::LEN_MAX)]
    Length(usize),
    #[error("instruction {0} of the filter is none that a packet filter has")]
    Unknown(usize),
    #[error("instruction {0} of the filter jumps out of it")]
    Jump(usize),
    #[error("instruction {0} of the filter divides by zero, or shifts by more than a word")]
    Operand(usize),
    #[error(
        "instruction {0} of the filter reads scratch memory that nothing was written to, or that is not there"
    )]
    Scratch(usize),
    #[error("the filter does not end by returning")]
    End,
}

pub(super) fn check(program: &[Instruction]) -> Result<(), BadProgram> {
    if !(1..=Program::LEN_MAX).contains(&program.len()) {
        return Err(BadProgram::Length(program.len()));
    }
    for (at, step) in program.iter().enumerate() {
        check_step(at, step, program.len())?;
    }
    if program.last().is_none_or(|last| last.code & CLASS != RET) {
        return Err(BadProgram::End);
    }
    check_scratch(program)
}

fn check_step(at: usize, step: &Instruction, len: usize) -> Result<(), BadProgram> {
    if !is_known(step.code) {
        return Err(BadProgram::Unknown(at));
    }
    match step.code & CLASS {
        ALU => {
            let by_constant = step.code & SOURCE_X == 0;
            let bad = match step.code & OP {
                DIV | MOD => step.k == 0,
                LSH | RSH => step.k >= u32::BITS,
                _ => false,
            };
            if by_constant && bad {
                return Err(BadProgram::Operand(at));
            }
        }
        JMP => {
            let inside = |skip: usize| skip < len - at - 1;
            let far = usize::try_from(step.k).unwrap_or(usize::MAX);
            let stays = match step.code & OP {
                JA => inside(far),
                _ => inside(step.jt.into()) && inside(step.jf.into()),
            };
            if !stays {
                return Err(BadProgram::Jump(at));
            }
        }
        _ if cell(step).is_some_and(|cell| cell >= SCRATCH) => {
            return Err(BadProgram::Scratch(at));
        }
        _ => {}
    }
    Ok(())
}

/// On every way to a read of a cell of scratch memory, the cell was written. As jumps go forward, one pass sees all ways.
fn check_scratch(program: &[Instruction]) -> Result<(), BadProgram> {
    let mut written_at = vec![u16::MAX; program.len()];
    let mut written: u16 = 0;
    for (at, step) in program.iter().enumerate() {
        written &= written_at[at];
        let mut meet = |skip: usize| {
            if let Some(there) = written_at.get_mut(at + 1 + skip) {
                *there &= written;
            }
        };
        match (step.code & CLASS, cell(step)) {
            (ST | STX, Some(cell)) => written |= 1 << cell,
            (_, Some(cell)) if written & 1 << cell == 0 => return Err(BadProgram::Scratch(at)),
            (JMP, _) => {
                match step.code & OP {
                    JA => meet(usize::try_from(step.k).unwrap_or(usize::MAX)),
                    _ => {
                        meet(step.jt.into());
                        meet(step.jf.into());
                    }
                }
                // Whoever comes to what follows has jumped there.
                written = u16::MAX;
            }
            (RET, _) => written = u16::MAX,
            _ => {}
        }
    }
    Ok(())
}

/// The cell of scratch memory that an instruction reads or writes.
fn cell(step: &Instruction) -> Option<usize> {
    let touches = match step.code & CLASS {
        ST | STX => true,
        LD | LDX => step.code & MODE == MEM,
        _ => false,
    };
    touches.then(|| usize::try_from(step.k).unwrap_or(usize::MAX))
}

/// `chk_code_allowed`.
fn is_known(code: u16) -> bool {
    let sized = |mode: u16| [W, H, B].iter().any(|size| code == LD | mode | size);
    match code & CLASS {
        LD => sized(ABS) || sized(IND) || [IMM, MEM, LEN].iter().any(|mode| code == LD | W | mode),
        LDX => code == LDX | B | MSH || [IMM, MEM, LEN].iter().any(|mode| code == LDX | W | mode),
        ST => code == ST,
        STX => code == STX,
        ALU => {
            let operations = [ADD, SUB, MUL, DIV, MOD, OR, AND, XOR, LSH, RSH];
            code == ALU | NEG || operations.contains(&(code & !SOURCE_X & !CLASS))
        }
        JMP => code == JMP | JA || [JEQ, JGT, JGE, JSET].contains(&(code & !SOURCE_X & !CLASS)),
        RET => [RET, RET | RET_A].contains(&code),
        _ => [MISC | TAX, MISC | TXA].contains(&code),
    }
}

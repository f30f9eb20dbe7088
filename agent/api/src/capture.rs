//! Captures, as they are asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use switch_core::bpf::Instruction;

/// What is captured, and how much of it: the query of `GET /v1/networks/{name}/capture` and
/// `GET /v1/containers/{name}/capture`. The answer is pcapng, until the client hangs up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Of a network, one port only, by its number or by who is behind it; of a container, one of its links. All where absent.
    pub of: Option<String>,
    /// Bytes that are kept of a frame; all where absent.
    pub snap_len: Option<u32>,
    /// What the program was compiled from, for the capture to say.
    pub filter: String,
    /// Decides which frames are taken; all where it is empty.
    pub program: BpfProgram,
}

/// A program of classic BPF. As text: sixteen hexadecimal digits an instruction, its code, jumps and operand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BpfProgram(pub Vec<Instruction>);

impl BpfProgram {
    /// Instructions; filters that people write have fewer than a hundred. A URI has room for more than these.
    pub const LEN_MAX: usize = 2048;
}

/// Why a text is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBpfProgram {
    #[error(
        "an instruction of a program is sixteen hexadecimal digits, as tcpdump -dd has them: code, jt, jf, k"
    )]
    Instruction,
    #[error("a program may have {max} instructions; use a simpler filter", max = BpfProgram::LEN_MAX)]
    Long,
}

impl fmt::Display for BpfProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|Instruction { code, jt, jf, k }| {
                write!(f, "{code:04x}{jt:02x}{jf:02x}{k:08x}")
            })
    }
}

impl FromStr for BpfProgram {
    type Err = ParseBpfProgram;

    fn from_str(text: &str) -> Result<Self, ParseBpfProgram> {
        let (instructions, []) = text.as_bytes().as_chunks::<DIGITS>() else {
            return Err(ParseBpfProgram::Instruction);
        };
        if instructions.len() > Self::LEN_MAX {
            return Err(ParseBpfProgram::Long);
        }
        let instructions = instructions.iter().map(instruction);
        instructions.collect::<Result<_, _>>().map(Self)
    }
}

fn instruction(digits: &[u8; DIGITS]) -> Result<Instruction, ParseBpfProgram> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16);
        number = number << 4 | u64::from(digit.ok_or(ParseBpfProgram::Instruction)?);
    }
    let [high, low, jt, jf, k @ ..] = number.to_be_bytes();
    Ok(Instruction {
        code: u16::from_be_bytes([high, low]),
        jt,
        jf,
        k: u32::from_be_bytes(k),
    })
}

impl From<BpfProgram> for String {
    fn from(program: BpfProgram) -> Self {
        program.to_string()
    }
}

impl TryFrom<String> for BpfProgram {
    type Error = ParseBpfProgram;

    fn try_from(text: String) -> Result<Self, ParseBpfProgram> {
        text.parse()
    }
}

const DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_as_it_is_written() {
        let instruction = Instruction {
            code: 0x15,
            jt: 1,
            jf: 255,
            k: 0x0800_0001,
        };
        let program = BpfProgram(vec![instruction; 2]);
        let text = "001501ff08000001".repeat(2);
        assert_eq!(program.to_string(), text);
        assert_eq!(text.parse(), Ok(program));
        assert_eq!("".parse(), Ok(BpfProgram::default()));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for wrong in [
            "0",
            "001501ff0800000g",
            "001501ff08000001 ",
            "+01501ff08000001",
        ] {
            let refused = wrong.parse::<BpfProgram>();
            assert_eq!(refused, Err(ParseBpfProgram::Instruction), "{wrong}");
        }
        let long = "0".repeat((BpfProgram::LEN_MAX + 1) * DIGITS);
        assert_eq!(long.parse::<BpfProgram>(), Err(ParseBpfProgram::Long));
    }
}

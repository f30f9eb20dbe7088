//! What programs do, and which are refused.

use proptest::prelude::*;

use super::*;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn program(steps: &[(u16, u8, u8, u32)]) -> Result<Program, BadProgram> {
    let steps = steps
        .iter()
        .map(|(code, jt, jf, k)| step(*code, *jt, *jf, *k));
    Program::new(steps.collect())
}

/// `tcpdump -y EN10MB -ddd "icmp or udp port 53"` of libpcap 1.10.
const ICMP_OR_DNS: &[(u16, u8, u8, u32)] = &[
    (40, 0, 0, 12),
    (21, 0, 10, 2048),
    (48, 0, 0, 23),
    (21, 15, 0, 1),
    (21, 0, 15, 17),
    (40, 0, 0, 20),
    (69, 13, 0, 8191),
    (177, 0, 0, 14),
    (72, 0, 0, 14),
    (21, 9, 0, 53),
    (72, 0, 0, 16),
    (21, 7, 8, 53),
    (21, 0, 7, 34_525),
    (48, 0, 0, 20),
    (21, 0, 5, 17),
    (40, 0, 0, 54),
    (21, 2, 0, 53),
    (40, 0, 0, 56),
    (21, 0, 1, 53),
    (6, 0, 0, 262_144),
    (6, 0, 0, 0),
];

/// Ethernet and IPv4 with `options` words of options, of `protocol`, from and to these ports.
fn ipv4(options: u8, protocol: u8, fragment: u16, source: u16, destination: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45 + options, 0, 0, 0, 0, 0]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend([0; 8]);
    frame.extend(vec![0; usize::from(options) * 4]);
    frame.extend(source.to_be_bytes());
    frame.extend(destination.to_be_bytes());
    frame
}

#[test]
fn a_filter_of_tcpdump_finds_what_it_names() {
    let program = program(ICMP_OR_DNS).unwrap();
    for (frame, wanted) in [
        (ipv4(0, 1, 0, 0, 0), true),
        (ipv4(0, 17, 0, 53, 9), true),
        (ipv4(3, 17, 0, 9, 53), true),
        (ipv4(0, 17, 0, 9, 54), false),
        (ipv4(0, 17, 7, 53, 53), false),
        (ipv4(0, 6, 0, 53, 53), false),
    ] {
        assert_eq!(program.run(&frame) > 0, wanted, "{frame:?}");
    }
}

#[test]
fn a_load_outside_the_frame_means_that_it_is_not_wanted() {
    let whole = ipv4(0, 17, 0, 9, 53);
    let program = program(ICMP_OR_DNS).unwrap();
    assert_eq!(program.run(&whole), 262_144);
    for len in 0..whole.len() {
        assert_eq!(program.run(&whole[..len]), 0, "{len}");
    }
}

#[test]
fn arithmetic_is_that_of_words_of_32_bits() {
    let outcome = |operation: u16, a: u32, x: u32| {
        let steps = [
            (LD | IMM, 0, 0, x),
            (MISC | TAX, 0, 0, 0),
            (LD | IMM, 0, 0, a),
            (ALU | operation | SOURCE_X, 0, 0, 0),
            (RET | RET_A, 0, 0, 0),
        ];
        program(&steps).unwrap().run(&[])
    };
    assert_eq!(outcome(ADD, u32::MAX, 2), 1);
    assert_eq!(outcome(SUB, 1, 2), u32::MAX);
    assert_eq!(outcome(MUL, 1 << 31, 3), 1 << 31);
    assert_eq!(outcome(DIV, 7, 2), 3);
    assert_eq!(outcome(MOD, 7, 4), 3);
    assert_eq!(outcome(DIV, 7, 0), 0);
    assert_eq!(outcome(LSH, 1, 32), 0);
    assert_eq!(outcome(RSH, 4, 1), 2);
    assert_eq!(
        (outcome(OR, 4, 1), outcome(AND, 5, 4), outcome(XOR, 5, 4)),
        (5, 4, 1)
    );
}

#[test]
fn scratch_memory_keeps_what_was_written_there() {
    let steps = [
        (LD | IMM, 0, 0, 7),
        (ST, 0, 0, 3),
        (LD | IMM, 0, 0, 1),
        (LDX | MEM, 0, 0, 3),
        (MISC | TXA, 0, 0, 0),
        (ALU | NEG, 0, 0, 0),
        (RET | RET_A, 0, 0, 0),
    ];
    assert_eq!(program(&steps).unwrap().run(&[]), u32::MAX - 6);
}

#[test]
fn the_length_of_the_frame_can_be_asked_for() {
    let steps = [(LD | LEN, 0, 0, 0), (RET | RET_A, 0, 0, 0)];
    assert_eq!(program(&steps).unwrap().run(&[0; 99]), 99);
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let end = (RET, 0, 0, 1);
    assert_eq!(program(&[]), Err(BadProgram::Length(0)));
    assert_eq!(program(&[end; 4097]), Err(BadProgram::Length(4097)));
    for (steps, why) in [
        (vec![(0xffff, 0, 0, 0), end], BadProgram::Unknown(0)),
        (vec![(LD | B | IMM, 0, 0, 0), end], BadProgram::Unknown(0)),
        (vec![(JMP | JEQ, 0, 1, 0), end], BadProgram::Jump(0)),
        (vec![(JMP | JEQ, 1, 0, 0), end], BadProgram::Jump(0)),
        (vec![(JMP | JA, 0, 0, 1), end], BadProgram::Jump(0)),
        (vec![(JMP | JA, 0, 0, u32::MAX), end], BadProgram::Jump(0)),
        (vec![(ALU | DIV, 0, 0, 0), end], BadProgram::Operand(0)),
        (vec![(ALU | LSH, 0, 0, 32), end], BadProgram::Operand(0)),
        (vec![(ST, 0, 0, 16), end], BadProgram::Scratch(0)),
        (vec![(LD | MEM, 0, 0, 2), end], BadProgram::Scratch(0)),
        (vec![(LD | IMM, 0, 0, 2)], BadProgram::End),
        // Written on one of two ways.
        (
            vec![
                (JMP | JEQ, 1, 0, 0),
                (ST, 0, 0, 2),
                (LD | MEM, 0, 0, 2),
                end,
            ],
            BadProgram::Scratch(2),
        ),
    ] {
        assert_eq!(program(&steps), Err(why), "{steps:?}");
    }
}

proptest! {
    #[test]
    fn what_is_accepted_ends_whatever_the_frame(
        steps in prop::collection::vec((0_u16..0xc0, 0_u8..4, 0_u8..4, prop_oneof![0_u32..20, any::<u32>()]), 1..24),
        frame in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut steps: Vec<_> = steps.iter().map(|(code, jt, jf, k)| step(*code, *jt, *jf, *k)).collect();
        // Of arbitrary instructions, those that are accepted together are few.
        while let Err(why) = Program::new(steps.clone()) {
            match why {
                BadProgram::Length(_) => return Ok(()),
                BadProgram::End => steps.push(step(RET | RET_A, 0, 0, 0)),
                BadProgram::Unknown(at) | BadProgram::Jump(at) | BadProgram::Operand(at) | BadProgram::Scratch(at) => {
                    steps.remove(at);
                }
            }
        }
        Program::new(steps).unwrap().run(&frame);
    }
}

//! What a request carries in its 64 bits of user data.
//!
//! ```text
//!  63      56 55      48 47              32 31                              0
//! +----------+----------+------------------+---------------------------------+
//! |   kind   |    0     |      buffer      |              token              |
//! +----------+----------+------------------+---------------------------------+
//! ```

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read = 1,
    Write = 2,
    Poll = 3,
    Cancel = 4,
}

pub(super) fn user_data(kind: Kind, buffer: u16, token: u32) -> u64 {
    (kind as u64) << 56 | u64::from(buffer) << 32 | u64::from(token)
}

pub(super) fn split(user_data: u64) -> (Kind, u16, u32) {
    let [kind, _, b1, b0, t3, t2, t1, t0] = user_data.to_be_bytes();
    let kind = match kind {
        1 => Kind::Read,
        2 => Kind::Write,
        3 => Kind::Poll,
        _ => Kind::Cancel,
    };
    (
        kind,
        u16::from_be_bytes([b1, b0]),
        u32::from_be_bytes([t3, t2, t1, t0]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_survives_the_round_trip() {
        for kind in [Kind::Read, Kind::Write, Kind::Poll, Kind::Cancel] {
            assert_eq!(
                split(user_data(kind, 0xabcd, 0xdead_beef)),
                (kind, 0xabcd, 0xdead_beef)
            );
        }
    }
}

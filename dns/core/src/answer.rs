//! What becomes of one DNS message.

use crate::Zone;

/// What carried the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Whether names that are not the network's own may leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Forward,
    /// Internal networks: nothing leaves.
    Internal,
}

/// The verdict on one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Not ours: give the client's message to the upstream, unchanged, and send back what it says.
    Forward,
    /// Send this back; it says no. Kept apart from `Reply` for the counters.
    Refuse(Vec<u8>),
    /// Send nothing.
    Ignore,
}

/// Decides about `message`, a complete DNS message without TCP's length prefix.
pub fn answer(_zone: &Zone, _message: &[u8], _transport: Transport, _policy: Policy) -> Answer {
    Answer::Ignore
}

/// The SERVFAIL for `message`; `None` when it has no header to reply to.
pub fn servfail(_message: &[u8]) -> Option<Vec<u8>> {
    None
}

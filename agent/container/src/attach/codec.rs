//! Messages between a shim and those attached to it.
//!
//! # Theory of operation
//!
//! Both directions are a sequence of messages over a stream socket, each
//!
//! ```text
//!  0        1                 5
//! +--------+-----------------+--------------------+
//! |  type  | length, 32 bits | payload            |
//! +--------+-----------------+--------------------+
//! ```
//!
//! with numbers in network order and at most [`MAX_PAYLOAD`] bytes of payload. Requests have types below 128, events
//! from there on. A client first sends [`Request::Attach`]; the shim answers [`Event::Ready`], then what has happened
//! already ([`Event::Started`]).
//!
//! Standard input is sent on credit: a client may send as many bytes as [`Event::Window`] granted in sum, so that what
//! the command does not read waits in the client, and signals and window sizes never queue behind it. A client that
//! sends more is cut off.

use thiserror::Error;

/// The most bytes one message carries.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// What a client is attached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The foreground: gets all output, and the command waits for it (see the shim's `clients`), as it would for a pipe.
    Interactive,
    /// Gets the output it keeps up with.
    Observer,
    /// Gets no output, only what happens.
    Watcher,
}

/// From a client to the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first message.
    Attach(Role),
    Stdin(Vec<u8>),
    StdinEof,
    /// Of the terminal, in characters.
    Resize {
        rows: u16,
        columns: u16,
    },
    /// A signal for the command, by number.
    Signal(i32),
    /// Execute the command. Only the first one does something.
    Start,
}

/// From the shim to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The namespaces exist, and this is their init as seen by the shim.
    Ready {
        init_pid: i32,
    },
    /// The command is executed.
    Started,
    /// What a terminal shows comes as standard output too.
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// This many more bytes of standard input may be sent.
    Window(u32),
    /// This many bytes of output were left out here, because the client did not read. The log has them.
    Skipped(u64),
    /// What went wrong; when the command could not be executed, `Exit` follows.
    Error(String),
    /// The last message: the command ended, see `ExitRecord::code`.
    Exit(i32),
}

/// One direction of the protocol.
pub trait Message: Sized {
    fn kind(&self) -> u8;
    fn payload(&self) -> Vec<u8>;
    /// `None` where the payload does not fit the type.
    fn parse(kind: u8, payload: &[u8]) -> Option<Self>;

    /// The message as sent. A payload over [`MAX_PAYLOAD`] is cut there; senders split before.
    fn to_bytes(&self) -> Vec<u8> {
        let mut payload = self.payload();
        payload.truncate(MAX_PAYLOAD);
        let length = u32::try_from(payload.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(HEADER_LENGTH + payload.len());
        bytes.push(self.kind());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.append(&mut payload);
        bytes
    }
}

/// Why a stream cannot be read on.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeMessage {
    #[error("a message of {0} bytes, more than the {MAX_PAYLOAD} allowed")]
    TooLong(u32),
    #[error("a message of unknown type {0}, or of odd content")]
    Malformed(u8),
}

/// Cuts a stream into messages. Holds at most one message more than the bytes pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Message for Request {
    fn kind(&self) -> u8 {
        match self {
            Self::Attach(_) => 1,
            Self::Stdin(_) => 2,
            Self::StdinEof => 3,
            Self::Resize { .. } => 4,
            Self::Signal(_) => 5,
            Self::Start => 6,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Attach(role) => vec![match role {
                Role::Interactive => 0,
                Role::Observer => 1,
                Role::Watcher => 2,
            }],
            Self::Stdin(bytes) => bytes.clone(),
            Self::Resize { rows, columns } => [rows.to_be_bytes(), columns.to_be_bytes()].concat(),
            Self::Signal(signo) => signo.to_be_bytes().to_vec(),
            Self::StdinEof | Self::Start => Vec::new(),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Option<Self> {
        match (kind, payload) {
            (1, [0]) => Some(Self::Attach(Role::Interactive)),
            (1, [1]) => Some(Self::Attach(Role::Observer)),
            (1, [2]) => Some(Self::Attach(Role::Watcher)),
            (2, bytes) => Some(Self::Stdin(bytes.to_vec())),
            (3, []) => Some(Self::StdinEof),
            (4, &[r0, r1, c0, c1]) => Some(Self::Resize {
                rows: u16::from_be_bytes([r0, r1]),
                columns: u16::from_be_bytes([c0, c1]),
            }),
            (5, bytes) => Some(Self::Signal(i32::from_be_bytes(bytes.try_into().ok()?))),
            (6, []) => Some(Self::Start),
            _ => None,
        }
    }
}

impl Message for Event {
    fn kind(&self) -> u8 {
        match self {
            Self::Ready { .. } => 128,
            Self::Started => 129,
            Self::Stdout(_) => 130,
            Self::Stderr(_) => 131,
            Self::Window(_) => 132,
            Self::Skipped(_) => 133,
            Self::Error(_) => 134,
            Self::Exit(_) => 135,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Ready { init_pid } => init_pid.to_be_bytes().to_vec(),
            Self::Started => Vec::new(),
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.clone(),
            Self::Window(bytes) => bytes.to_be_bytes().to_vec(),
            Self::Skipped(bytes) => bytes.to_be_bytes().to_vec(),
            Self::Error(text) => text.clone().into_bytes(),
            Self::Exit(code) => code.to_be_bytes().to_vec(),
        }
    }

    fn parse(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            128 => Some(Self::Ready {
                init_pid: i32::from_be_bytes(payload.try_into().ok()?),
            }),
            129 => payload.is_empty().then_some(Self::Started),
            130 => Some(Self::Stdout(payload.to_vec())),
            131 => Some(Self::Stderr(payload.to_vec())),
            132 => Some(Self::Window(u32::from_be_bytes(payload.try_into().ok()?))),
            133 => Some(Self::Skipped(u64::from_be_bytes(payload.try_into().ok()?))),
            134 => Some(Self::Error(String::from_utf8_lossy(payload).into_owned())),
            135 => Some(Self::Exit(i32::from_be_bytes(payload.try_into().ok()?))),
            _ => None,
        }
    }
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come. After an error the stream cannot be trusted.
    pub fn decode<M: Message>(&mut self) -> Result<Option<M>, DecodeMessage> {
        let waiting = &self.buffer[self.start..];
        let Some((&[kind, l0, l1, l2, l3], rest)) = waiting.split_first_chunk::<HEADER_LENGTH>()
        else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(announced)
            .ok()
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or(DecodeMessage::TooLong(announced))?;
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let message = M::parse(kind, payload).ok_or(DecodeMessage::Malformed(kind))?;
        self.start += HEADER_LENGTH + length;
        Ok(Some(message))
    }
}

const HEADER_LENGTH: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_request() -> impl Strategy<Value = Request> {
        prop_oneof![
            prop_oneof![
                Just(Role::Interactive),
                Just(Role::Observer),
                Just(Role::Watcher)
            ]
            .prop_map(Request::Attach),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Request::Stdin),
            Just(Request::StdinEof),
            any::<(u16, u16)>().prop_map(|(rows, columns)| Request::Resize { rows, columns }),
            any::<i32>().prop_map(Request::Signal),
            Just(Request::Start),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            any::<i32>().prop_map(|init_pid| Event::Ready { init_pid }),
            Just(Event::Started),
            bytes().prop_map(Event::Stdout),
            bytes().prop_map(Event::Stderr),
            any::<u32>().prop_map(Event::Window),
            any::<u64>().prop_map(Event::Skipped),
            any::<String>().prop_map(Event::Error),
            any::<i32>().prop_map(Event::Exit),
        ]
    }

    fn decode_in_pieces<M: Message>(stream: &[u8], piece: usize) -> Vec<M> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for bytes in stream.chunks(piece) {
            decoder.push(bytes);
            while let Some(message) = decoder.decode().unwrap() {
                messages.push(message);
            }
        }
        messages
    }

    proptest! {
        #[test]
        fn requests_survive_any_cutting_of_the_stream(
            messages in prop::collection::vec(any_request(), 0..20), piece in 1usize..400,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(Message::to_bytes).collect();
            prop_assert_eq!(decode_in_pieces::<Request>(&stream, piece), messages);
        }

        #[test]
        fn events_survive_any_cutting_of_the_stream(
            messages in prop::collection::vec(any_event(), 0..20), piece in 1usize..400,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(Message::to_bytes).collect();
            prop_assert_eq!(decode_in_pieces::<Event>(&stream, piece), messages);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.decode::<Request>() {}
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.decode::<Event>() {}
        }
    }

    #[test]
    fn an_announced_length_over_the_limit_fails_before_its_bytes_arrive() {
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 1, 0, 1]);
        assert_eq!(
            decoder.decode::<Request>(),
            Err(DecodeMessage::TooLong(65_537))
        );
    }
}

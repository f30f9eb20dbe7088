//! One client's question, and the shape its reply must have.
//!
//! # Theory of operation
//!
//! ```text
//!   0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! |                      ID                       |
//! |QR|   OPCODE  |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
//! |                    QDCOUNT                    |
//! |             ANCOUNT, NSCOUNT, ARCOUNT         |     RFC 1035 §4.1.1, RFC 2535 §6.1
//! +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
//! ```
//!
//! A reply repeats the client's id, its RD bit and its question, letter case included. It carries an OPT record exactly when the
//! query did (RFC 6891 §6.1.1). A reply that is too long for its carrier is cut to the question, with TC set. The header is
//! looked at before the body is decoded, so that what is wrong with a message decides how it is refused, and a count that
//! promises thousands of questions allocates nothing.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RData;

use crate::Carrier;

/// What to say to a message that is no well-formed query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoQuery {
    /// Nothing: it is not a query at all.
    Silence,
    /// This, which says FORMERR, NOTIMP or BADVERS.
    Refusal(Vec<u8>),
}

/// A well-formed query with exactly one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    message: Message,
    question: Query,
}

impl Request {
    /// Decodes a complete DNS message.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoQuery> {
        let header = RawHeader::parse(bytes).ok_or(NoQuery::Silence)?;
        if header.is_response() {
            return Err(NoQuery::Silence);
        }
        if header.opcode() != 0 {
            return Err(header.refusal(ResponseCode::NotImp));
        }
        if header.questions != 1 {
            return Err(header.refusal(ResponseCode::FormErr));
        }
        let refuse = |_| header.refusal(ResponseCode::FormErr);
        let mut message = Message::from_vec(bytes).map_err(refuse)?;
        let Some(question) = message.queries.pop() else {
            return Err(header.refusal(ResponseCode::FormErr));
        };
        let request = Self { message, question };
        if request.message.version() > 0 {
            let reply = request.response(ResponseCode::BADVERS);
            return Err(NoQuery::Refusal(request.encode(reply, Carrier::Udp)));
        }
        Ok(request)
    }

    pub fn question(&self) -> &Query {
        &self.question
    }

    /// The query's OPT record.
    pub fn edns(&self) -> Option<&Edns> {
        self.message.edns.as_ref()
    }

    /// Whether the client wants DNSSEC records (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.edns().is_some_and(|edns| edns.flags().dnssec_ok)
    }

    pub fn recursion_desired(&self) -> bool {
        self.message.metadata.recursion_desired
    }

    pub fn checking_disabled(&self) -> bool {
        self.message.metadata.checking_disabled
    }

    /// An empty reply to this query.
    pub fn response(&self, code: ResponseCode) -> Message {
        let mut reply = Message::response(self.message.metadata.id, OpCode::Query);
        reply.metadata.response_code = code;
        reply
    }

    /// The reply that says that nobody could answer.
    pub fn failure(&self, carrier: Carrier) -> Vec<u8> {
        self.encode(self.response(ResponseCode::ServFail), carrier)
    }

    /// Encodes `reply` for this client: its id, question, EDNS and size limit replace what the reply brought.
    pub fn encode(&self, mut reply: Message, carrier: Carrier) -> Vec<u8> {
        self.shape(&mut reply);
        let limit = self.limit(carrier);
        let fits = |bytes: &Vec<u8>| bytes.len() <= limit;
        let whole = reply.to_vec().ok().filter(fits);
        whole
            .or_else(|| reply.truncate().to_vec().ok())
            .unwrap_or_else(|| self.bare_failure())
    }

    fn shape(&self, reply: &mut Message) {
        let wants_authentic_data = self.dnssec_ok() || self.message.metadata.authentic_data;
        let metadata = &mut reply.metadata;
        metadata.id = self.message.metadata.id;
        metadata.message_type = MessageType::Response;
        metadata.op_code = OpCode::Query;
        metadata.recursion_desired = self.recursion_desired();
        metadata.recursion_available = true;
        metadata.checking_disabled = self.checking_disabled();
        metadata.truncation = false;
        metadata.authentic_data &= wants_authentic_data;
        if self.edns().is_none() && metadata.response_code.high() > 0 {
            // The code does not fit a header without an OPT record.
            metadata.response_code = ResponseCode::ServFail;
        }
        for records in [
            &mut reply.answers,
            &mut reply.authorities,
            &mut reply.additionals,
        ] {
            // Those of an UPDATE (RFC 2136 §2.4): in a reply they would be records cut short.
            records.retain(|record| !matches!(record.data, RData::Update0(_)));
        }
        reply.queries = vec![self.question.clone()];
        reply.signature = None;
        reply.edns = self.edns().map(|_| {
            let mut own = Edns::new();
            own.set_max_payload(MAX_UDP_PAYLOAD);
            own.set_dnssec_ok(self.dnssec_ok());
            own
        });
    }

    /// Longest reply this client takes, in bytes.
    fn limit(&self, carrier: Carrier) -> usize {
        match carrier {
            Carrier::Tcp => usize::from(u16::MAX),
            Carrier::Udp => {
                let asked = self.edns().map_or(MIN_UDP_PAYLOAD, Edns::max_payload);
                usize::from(asked.clamp(MIN_UDP_PAYLOAD, MAX_UDP_PAYLOAD))
            }
        }
    }

    /// A header that says SERVFAIL: the reply of last resort.
    fn bare_failure(&self) -> Vec<u8> {
        let header = RawHeader {
            id: self.message.metadata.id.to_be_bytes(),
            flags: [u8::from(self.recursion_desired()), 0],
            questions: 0,
        };
        header.reply(ResponseCode::ServFail)
    }
}

/// The fields of a header that are needed before the body is known to be sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawHeader {
    id: [u8; 2],
    flags: [u8; 2],
    questions: u16,
}

impl RawHeader {
    /// `None` when `bytes` are shorter than a header.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[i0, i1, f0, f1, q0, q1, _, _, _, _, _, _] = bytes.first_chunk::<12>()?;
        Some(Self {
            id: [i0, i1],
            flags: [f0, f1],
            questions: u16::from_be_bytes([q0, q1]),
        })
    }

    pub(crate) fn is_response(self) -> bool {
        self.flags[0] & QR != 0
    }

    fn opcode(self) -> u8 {
        (self.flags[0] >> 3) & 0x0f
    }

    /// A reply of nothing but a header.
    pub(crate) fn reply(self, code: ResponseCode) -> Vec<u8> {
        let [i0, i1] = self.id;
        let kept = self.flags[0] & (OPCODE | RD);
        let mut bytes = vec![i0, i1, QR | kept, RA | (code.low() & 0x0f)];
        bytes.resize(12, 0);
        bytes
    }

    fn refusal(self, code: ResponseCode) -> NoQuery {
        NoQuery::Refusal(self.reply(code))
    }
}

const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RD: u8 = 0x01;
const RA: u8 = 0x80;
/// What every client takes over UDP, in bytes (RFC 1035 §4.2.1).
const MIN_UDP_PAYLOAD: u16 = 512;
/// Most sent over UDP, in bytes, whatever a client offers: below every usual path's MTU (DNS flag day 2020).
const MAX_UDP_PAYLOAD: u16 = 1232;

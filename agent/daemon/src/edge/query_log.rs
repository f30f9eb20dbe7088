//! The log of queries: written only while somebody reads it.

use std::net::IpAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agent_api::{QueryLogEntry, QueryOutcome, QueryTransport};
use dns_core::{Carrier, Request};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Its readers. One that does not keep up misses entries, and is told how many.
#[derive(Default)]
pub(super) struct QueryLog(Vec<Reader>);

struct Reader {
    entries: mpsc::Sender<QueryLogEntry>,
    missed: u64,
}

/// What is remembered of a query while somebody reads the log.
pub(super) struct Noted {
    arrived: Instant,
    message: Vec<u8>,
}

impl QueryLog {
    /// Takes one more reader; where there are too many, the log of the first ends.
    pub(super) fn add(&mut self, entries: mpsc::Sender<QueryLogEntry>) {
        self.0.retain(|reader| !reader.entries.is_closed());
        if self.0.len() >= READERS_MAX {
            self.0.remove(0);
        }
        self.0.push(Reader { entries, missed: 0 });
    }

    /// Whether there were readers at the last entry.
    pub(super) fn is_read(&self) -> bool {
        !self.0.is_empty()
    }

    /// Begins an entry; `None` while nobody reads.
    pub(super) fn note(&self, message: &[u8]) -> Option<Noted> {
        (!self.0.is_empty()).then(|| Noted {
            arrived: Instant::now(),
            message: message.to_vec(),
        })
    }

    pub(super) fn write(&mut self, entry: &QueryLogEntry) {
        self.0.retain_mut(|reader| {
            let missed = std::mem::take(&mut reader.missed);
            let entry = QueryLogEntry {
                missed,
                ..entry.clone()
            };
            match reader.entries.try_send(entry) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    reader.missed = missed + 1;
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
    }
}

impl Noted {
    pub(super) fn into_entry(
        self,
        source: IpAddr,
        endpoint: Option<String>,
        carrier: Carrier,
        outcome: QueryOutcome,
        reply: &[u8],
    ) -> QueryLogEntry {
        let request = Request::parse(&self.message).ok();
        let question = request.as_ref().map(Request::question);
        QueryLogEntry {
            at_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                }),
            source,
            endpoint,
            transport: match carrier {
                Carrier::Udp => QueryTransport::Udp,
                Carrier::Tcp => QueryTransport::Tcp,
            },
            name: question.map_or_else(String::new, |question| question.name.to_ascii()),
            record_type: question
                .map_or_else(String::new, |question| question.query_type.to_string()),
            outcome,
            code: reply
                .get(3)
                .map_or("", |flags| code_name(flags & 0x0f))
                .to_owned(),
            answers: match reply {
                [_, _, _, _, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            },
            took_us: u64::try_from(self.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            missed: 0,
        }
    }
}

/// RFC 6895 §2.3; what a forwarder never says has no name here.
fn code_name(code: u8) -> &'static str {
    match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "OTHER",
    }
}

const READERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(log: &QueryLog) -> QueryLogEntry {
        let noted = log.note(b"no query").unwrap();
        let source = [10, 0, 0, 1].into();
        noted.into_entry(source, None, Carrier::Udp, QueryOutcome::Ignored, b"")
    }

    #[test]
    fn nothing_is_noted_while_nobody_reads() {
        assert!(QueryLog::default().note(b"x").is_none());
    }

    #[test]
    fn slow_reader_is_told_what_it_missed() {
        let (sender, mut entries) = mpsc::channel(1);
        let mut log = QueryLog::default();
        log.add(sender);
        let entry = entry(&log);
        for _ in 0..4 {
            log.write(&entry);
        }
        assert_eq!(entries.try_recv().unwrap().missed, 0);
        log.write(&entry);
        assert_eq!(entries.try_recv().unwrap().missed, 3);
        drop(entries);
        log.write(&entry);
        assert!(log.note(b"x").is_none());
    }
}

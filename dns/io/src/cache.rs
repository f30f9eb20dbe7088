//! Answers kept until their time is over.

use std::time::{Duration, Instant};

use dns_core::Request;
use hickory_proto::op::Message;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::{ResponseCache, TtlConfig};

/// hickory's cache, twice: for answers with DNSSEC records and for those without. Its key does not tell them apart.
///
/// Negative answers are kept for as long as their SOA allows (RFC 2308 §5), and not at all without one.
pub(crate) struct Cache {
    plain: ResponseCache,
    dnssec: ResponseCache,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let mut options = ResolverOpts::default();
        options.positive_max_ttl = Some(POSITIVE_LIMIT);
        options.negative_max_ttl = Some(NEGATIVE_LIMIT);
        let new = || ResponseCache::new(CAPACITY, TtlConfig::from_opts(&options));
        Self {
            plain: new(),
            dnssec: new(),
        }
    }

    /// The answer to `request` with what is left of its lifetimes.
    pub(crate) fn find(&self, request: &Request) -> Option<Message> {
        let found = self.of(request)?.get(request.question(), Instant::now())?;
        match found {
            Ok(message) => Some(message),
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                Some(negative(request, &nothing))
            }
            Err(_) => None,
        }
    }

    /// Keeps a server's answer of `length` bytes, unless it is too long to be worth its memory.
    pub(crate) fn keep(
        &self,
        request: &Request,
        answer: &Result<Message, NetError>,
        length: usize,
    ) {
        if let Some(cache) = self.of(request)
            && length <= MAX_LENGTH
        {
            cache.insert(request.question().clone(), answer.clone(), Instant::now());
        }
    }

    /// Queries that ask for something other than the usual answer pass the cache by.
    fn of(&self, request: &Request) -> Option<&ResponseCache> {
        if request.checking_disabled() || !request.recursion_desired() {
            None
        } else if request.dnssec_ok() {
            Some(&self.dnssec)
        } else {
            Some(&self.plain)
        }
    }
}

/// The reply hickory took apart: no answer, and the authority section that says so.
pub(crate) fn negative(request: &Request, nothing: &NoRecords) -> Message {
    let mut reply = request.response(nothing.response_code);
    match (&nothing.authorities, &nothing.soa) {
        (Some(records), _) => {
            reply.add_authorities(records.iter().cloned());
        }
        (None, Some(soa)) => {
            reply.add_authority((**soa).clone().into_record_of_rdata());
        }
        (None, None) => {}
    }
    reply
}

/// Answers of each kind.
const CAPACITY: u64 = 2048;
/// Longest answer kept, in bytes on the wire.
const MAX_LENGTH: usize = 4096;
const POSITIVE_LIMIT: Duration = Duration::from_secs(24 * 3600);
const NEGATIVE_LIMIT: Duration = Duration::from_secs(3600);

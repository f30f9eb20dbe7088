//! Handshakes that failed, and why, for people to read.

use quinn_proto::ConnectionError;

/// Whether a handshake failed, for either side's certificate or protocol (RFC 9001 §4.8).
pub(super) fn is_refusal(reason: &ConnectionError) -> bool {
    code(reason).is_some_and(|code| CRYPTO_ERRORS.contains(&code))
}

/// A certificate whose time is not now comes of a clock that is wrong more often than of a certificate that has ended.
pub(super) fn in_words(reason: &ConnectionError) -> String {
    if code(reason) != Some(CERTIFICATE_EXPIRED) {
        return reason.to_string();
    }
    let (whose_clock, whose_certificate) = match reason {
        ConnectionError::ConnectionClosed(_) => {
            ("the other host's clock", "this host's certificate")
        }
        _ => ("this host's clock", "the other host's certificate"),
    };
    format!(
        "by {whose_clock}, {whose_certificate} has ended or has not begun; compare the clocks of both ({reason})"
    )
}

fn code(reason: &ConnectionError) -> Option<u64> {
    match reason {
        ConnectionError::TransportError(error) => Some(error.code.into()),
        ConnectionError::ConnectionClosed(close) => Some(close.error_code.into()),
        _ => None,
    }
}

const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
/// TLS alert 45 (RFC 8446 §6.2), which rustls also sends for one that is not valid yet.
const CERTIFICATE_EXPIRED: u64 = CRYPTO_ERRORS.start + 45;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quinn_proto::{ConnectionClose, TransportError, TransportErrorCode};

    use super::*;

    fn ours(alert: u8) -> ConnectionError {
        ConnectionError::TransportError(TransportError {
            code: TransportErrorCode::crypto(alert),
            frame: None,
            reason: "tls".to_owned(),
        })
    }

    fn theirs(alert: u8) -> ConnectionError {
        ConnectionError::ConnectionClosed(ConnectionClose {
            error_code: TransportErrorCode::crypto(alert),
            frame_type: None,
            reason: Bytes::new(),
        })
    }

    #[test]
    fn a_certificate_whose_time_is_not_now_is_told_by_whose_clock() {
        let said = in_words(&ours(45));
        assert!(
            said.starts_with("by this host's clock, the other host's certificate has ended"),
            "{said}"
        );
        let said = in_words(&theirs(45));
        assert!(
            said.starts_with("by the other host's clock, this host's certificate has ended"),
            "{said}"
        );
        assert_eq!(in_words(&ours(48)), ours(48).to_string());
        assert!(is_refusal(&theirs(45)) && is_refusal(&ours(48)));
        assert!(!is_refusal(&ConnectionError::TimedOut));
    }
}

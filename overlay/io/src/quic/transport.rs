//! How quinn is set up.
//!
//! # Theory of operation
//!
//! The tunnel is a wire, and the flows inside control themselves: a second controller beneath them reacts to the same losses
//! twice and starves them. So congestion control is off (RFC 9484 §8 allows that for traffic known to control itself), and
//! pacing with it. Lost datagrams are not sent again; losses only tell quinn about the path, so it may be slow to call a packet
//! lost, which reordered flows need. Acknowledgments, of which every one costs, are few.
//!
//! But not too few. When an acknowledgment shows four gaps, and no packet as long as the lost ones is known to have arrived after
//! them, quinn sees a black hole and falls back to the shortest datagrams. Three settings are against that:
//!
//! - An acknowledgment comes for so few packets that they have fewer than four gaps when a hundredth of them is lost.
//! - Losses in a stream are found by counting, which shows them one acknowledgment after the other, and not by time, which shows
//!   many at once.
//! - After a fallback the path is measured again at once.
//!
//! Death is the business of [`overlay_core::Peer`]; the idle timeout only ends connections nobody owns.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn_proto::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};

use super::connection_ids::{ConnectionIds, Mark};
use super::path::{PathWatch, Uncontrolled};

/// For one connection, whose path `watch` sees. `udp_payload_max`: what the underlay carries at most, in bytes; larger payloads
/// are not tried.
pub(super) fn transport(udp_payload_max: u16, watch: Arc<PathWatch>) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(udp_payload_max.max(PAYLOAD_MIN))
        .minimum_change(1)
        .interval(MTU_INTERVAL)
        .black_hole_cooldown(MTU_COOLDOWN);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD))
        .max_ack_delay(Some(ACK_DELAY))
        .reordering_threshold(VarInt::from_u32(REORDERING_THRESHOLD));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .packet_threshold(PACKET_THRESHOLD)
        .time_threshold(TIME_THRESHOLD)
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(Some(BUFFER_LEN))
        .datagram_send_buffer_size(BUFFER_LEN)
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(Uncontrolled(watch)));
    transport
}

/// Connection identifiers and reset tokens follow from `reset_key` alone, so a host that restarts can tell its peers that
/// their connections are gone. `mark` tells the identifiers from those of a run that is still there.
pub(super) fn endpoint(reset_key: &[u8; 32], mark: Mark) -> (EndpointConfig, ConnectionIds) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, reset_key);
    let tag = hmac::sign(&key, b"connection identifiers");
    let cid_key = tag
        .as_ref()
        .first_chunk()
        .map_or(0, |seed| u64::from_be_bytes(*seed));
    let mut config = EndpointConfig::new(Arc::new(key));
    let ids = ConnectionIds::new(cid_key, mark);
    config.cid_generator(move || Box::new(ids));
    // What is received has room for any length, and peers try no more than this; quinn's own word is 1472. Not refused, since
    // it is in range.
    let _ = config.max_udp_payload_size(PAYLOAD_MAX);
    config.min_reset_interval(RESET_INTERVAL);
    (config, ids)
}

/// RFC 9000 §14.
pub(super) const PAYLOAD_MIN: u16 = 1200;
/// RFC 9000 §18.2.
const PAYLOAD_MAX: u16 = 65_527;
/// After a restart every peer is to learn of it at once. Identifiers that are no host's own draw no reset, so no loop starts.
const RESET_INTERVAL: Duration = Duration::from_micros(100);
const MTU_INTERVAL: Duration = Duration::from_secs(30);
/// The black hole was probably none.
const MTU_COOLDOWN: Duration = Duration::ZERO;
const ACK_THRESHOLD: u32 = 64;
const REORDERING_THRESHOLD: u32 = 4096;
const ACK_DELAY: Duration = Duration::from_millis(10);
const PACKET_THRESHOLD: u32 = 512;
/// Round trips.
const TIME_THRESHOLD: f32 = 8.0;
const INITIAL_RTT: Duration = Duration::from_millis(50);
const IDLE_MS: u32 = 3000;
/// Some milliseconds at 10 Gbit/s.
pub(super) const BUFFER_LEN: usize = 8 << 20;

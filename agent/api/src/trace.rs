//! Frames and what becomes of them: those that are made up, and those that pass.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to trace: a frame from one end to another, or frames as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Where the frames come in: a port's number, an endpoint's name, id or MAC, `host` or `gateway`.
    pub from: String,
    /// A MAC, an address, `gateway`, or a name, which is resolved as the network's name server does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What the frame carries; an echo request where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<TracePayload>,
    /// The frames themselves in hexadecimal digits, from the destination MAC on, in place of `to` and `payload`. They come in
    /// one after the other: each finds what those before it left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
}

impl TraceRequest {
    /// Frames in one request.
    pub const FRAMES_MAX: usize = 1000;
}

/// What a made-up frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TracePayload {
    /// The question who has the address, by ARP or neighbor discovery.
    Arp,
    /// An echo request.
    Icmp,
    /// A datagram to this port.
    Udp(u16),
    /// The first segment of a connection to this port.
    Tcp(u16),
}

/// What became of each frame. Nothing was sent, learned or counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceReport {
    pub network: String,
    pub from: TracePort,
    pub frames: Vec<FrameTrace>,
}

/// A port, and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracePort {
    pub port: u32,
    /// As `port ls` shows it.
    pub kind: String,
    pub owner: String,
}

/// One frame's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrameTrace {
    /// Its bytes in hexadecimal digits.
    pub frame: String,
    /// In words: addresses, type, length.
    pub link: String,
    /// The packet in it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// In the order in which they were taken.
    pub steps: Vec<TraceStep>,
    pub verdict: TraceVerdict,
}

/// What one part of the decision found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStep {
    /// Who decided: `guard`, `fdb`, `neighbors`, `gateway`, `storm`, `flood`, `route`, `filter` and others.
    pub stage: String,
    /// In one word: `pass`, `hit`, `miss`, `drop` and others.
    pub result: String,
    /// Why.
    pub detail: String,
    /// The reason, where it ends the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What becomes of a frame in the switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceVerdict {
    pub result: TraceResult,
    /// Why it was dropped: the name of the counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The ports that it, or an answer to it, leaves by.
    pub ports: Vec<TracePort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceResult {
    /// To one port.
    Sent,
    /// To all ports but its own.
    Flooded,
    /// To those who asked for the group.
    Multicast,
    /// It was for the bridge itself.
    Taken,
    /// The bridge answered it itself.
    Answered,
    /// It was the switch's own probe for loops.
    Probe,
    Dropped,
}

/// What whoever follows frames is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TraceLine {
    Sight(TraceSight),
    Unseen(TraceUnseen),
}

/// A host whose frames are not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceUnseen {
    pub host: String,
    pub why: String,
}

/// A frame that passed, or several that a port did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceSight {
    /// The host whose switch it passed; absent for the one that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    pub from: TracePort,
    /// In words: addresses, type, length; absent where only the number of frames is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The packet in it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The ports of a flood are left out.
    pub verdict: TraceVerdict,
    /// What the access list says of it, where that dropped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub frames: u64,
    /// Frames that were wanted and are not shown, since the line before: they came too fast.
    pub missed: u64,
}

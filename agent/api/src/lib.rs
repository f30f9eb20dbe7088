//! Types of the agent's REST API, and, with the feature `client`, its client.
//!
//! Every path lives under `/v1`; bodies are JSON; a failure is an [`ApiError`] with a 4xx or 5xx status.

mod acl;
mod capture;
#[cfg(feature = "client")]
mod client;
mod cluster;
mod container;
mod dns;
mod endpoint;
mod error;
mod event;
mod flow;
mod link;
mod multicast;
mod network;
mod path_mtu;
mod port;
mod port_mapping;
mod port_run;
mod rate;
mod restart;
mod system;
mod trace;

pub use acl::{
    AclAction, AclAdd, AclDefault, AclParty, AclRule, AclRuleView, AclView, BadAclRule,
    LabelSelector, LabelTerm, PortRange,
};
pub use capture::{BpfProgram, Capture, ParseBpfProgram};
#[cfg(feature = "client")]
pub use client::{Client, ClientError, Hold, LogStream};
pub use cluster::{
    CaRotate, CaRotation, CaView, ClusterBackup, ClusterDetail, ClusterHealth, ClusterInit,
    ClusterJoin, ClusterManager, ClusterPoint, ClusterRecovered, ClusterRemove, ClusterRemoved,
    ClusterRestore, ClusterRevoke, CutOff, HostReach, HostState, HostTunnel, HostView,
    ManagerHealth, ManagerView, ManagersView, NetworkTrouble, OutOfStep, Token, TokenCreate,
};
pub use container::{
    Attached, ContainerCreate, ContainerDetail, ContainerState, ContainerSummary, Created, Exec,
    NetworkAttachment, NetworkMode, Stop,
};
pub use dns::{
    DnsProtocol, DnsServer, Forwarder, ForwarderError, ParseDnsServer, QueryLogEntry, QueryOutcome,
    QueryTransport,
};
pub use endpoint::{
    Connect, Disconnect, EndpointCreate, EndpointDetail, EndpointSettings, EndpointUpdate,
    LabelsUpdate,
};
pub use error::{ApiError, ErrorKind};
pub use event::{Event, EventActor, EventFilters, EventQuery, EventType};
pub use flow::{FlowEnd, FlowQuery, FlowReport, FlowView};
pub use link::{
    BadImpairment, BadWord, ByteSize, Chance, DelayDistribution, Impairment, Interval, LinkCounts,
    LinkDetail, LinkSettings, LinkUpdate, LossModel, Percent, Rate, SlotModel,
};
pub use multicast::{MdbEntryView, MdbFilter, MdbKind, MdbSource, MulticastReport};
pub use network::{
    DhcpReport, Driver, FdbEntryView, FdbKind, MirrorCreate, MirrorView, NetworkCreate,
    NetworkDetail, NetworkSummary, NetworkUpdate, OverlayDetail, PatchCreate, PatchLink,
    PortTotals, PortView, Pruned, RemoteEndpoint, Scope, StationsReport, TunnelView, Unpruned,
    UplinkView,
};
pub use path_mtu::{PathMtu, PathMtuFound};
pub use port::{BadPortSetting, FdbEntryCreate, FdbPart, PortDetail, PortSettings, StormBudget};
pub use port_mapping::{PortChoice, PortMapping, TransportProtocol};
pub use port_run::{PortRun, port_runs, runs};
pub use rate::{BadRates, RateCounts, RateDetail, RateSettings, RateUpdate};
pub use restart::{ParseRestartPolicy, RestartPolicy};
pub use system::{DEFAULT_SOCKET, Info, Version, WorkerView};
pub use trace::{
    FrameTrace, TraceLine, TracePayload, TracePort, TraceReport, TraceRequest, TraceResult,
    TraceSight, TraceStep, TraceUnseen, TraceVerdict,
};

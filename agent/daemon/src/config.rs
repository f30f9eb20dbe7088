//! The agent's configuration: what the file says, checked, with the defaults in one place.

mod changes;
mod flows;
mod group;
mod unknown;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_cluster::ClusterOptions;
use agent_core::ipam::{DefaultPool, InvalidSubnet, default_pools_v4, parse_subnet};
use ipnet::IpNet;
use serde::Deserialize;
use switch_io::EngineChoice;

pub(crate) use self::changes::{Change, KeptText};
pub(crate) use self::flows::FlowsOptions;
use self::flows::RawFlows;
pub(crate) use self::group::SocketGroup;

/// What the command line gives; the file named by `config` fills the rest.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    pub config: Option<PathBuf>,
}

/// Everything the agent was told, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) socket: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) engine: EngineChoice,
    /// Zero lets the switch decide.
    pub(crate) workers: usize,
    /// Where the host's name servers are listed.
    pub(crate) resolv_conf: PathBuf,
    /// Whether VXLAN under load may be received from a packet ring.
    pub(crate) packet_ring: bool,
    pub(crate) address_pools: AddressPools,
    pub(crate) cluster: ClusterOptions,
    pub(crate) docker: DockerOptions,
    /// Who may use the agent's socket besides root; whoever the agent runs as where absent.
    pub(crate) group: Option<SocketGroup>,
    /// Frames a second of one reason at one port, from which on drops are an event; zero: never.
    pub(crate) drops_per_s: u64,
    /// As the file has it.
    pub(crate) text: String,
    pub(crate) metrics: MetricsOptions,
    pub(crate) flows: FlowsOptions,
}

/// Of what is told to Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetricsOptions {
    /// Where, beside the agent's socket.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether ports have series of their own; absent as long as they are not too many.
    pub(crate) per_port: Option<bool>,
}

/// Of Docker's plugin, which runs in the agent's process and is a client of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerOptions {
    pub plugin: DockerPlugin,
    /// The engine's socket, which names come from.
    pub engine: PathBuf,
}

/// Where the plugin listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerPlugin {
    /// Where Docker looks for plugins, if there is such a directory.
    Auto,
    Off,
    At(PathBuf),
}

/// What networks get their subnets from that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressPools {
    pub(crate) v4: Vec<DefaultPool>,
    /// Empty: the host's own unique local prefix.
    pub(crate) v6: Vec<DefaultPool>,
}

impl Config {
    pub(crate) fn read(options: AgentOptions) -> Result<Self, ReadConfig> {
        let read = options.config.as_deref().map(RawConfig::read).transpose()?;
        let (raw, text) = read.unwrap_or_default();
        let group = raw.api.group.as_deref().map(SocketGroup::find);
        Ok(Self {
            group: group.transpose()?,
            text,
            ..Self::checked(raw, options)?
        })
    }

    fn checked(raw: RawConfig, options: AgentOptions) -> Result<Self, ReadConfig> {
        Ok(Self {
            cluster: raw.cluster.checked(&options.state_dir)?,
            socket: options.socket,
            state_dir: options.state_dir,
            engine: match raw.engine {
                RawEngine::Auto => EngineChoice::Auto,
                RawEngine::Uring => EngineChoice::Uring,
                RawEngine::Epoll => EngineChoice::Epoll,
            },
            workers: match raw.workers {
                workers if workers <= WORKERS_MAX => workers,
                workers => return Err(ReadConfig::Workers(workers)),
            },
            address_pools: AddressPools::checked(&raw.default_address_pools)?,
            packet_ring: raw.vxlan.packet_ring,
            docker: raw.docker.checked()?,
            group: None,
            drops_per_s: raw.events.drops_per_s,
            text: String::new(),
            metrics: raw.metrics.checked()?,
            flows: raw.flows.checked()?,
            resolv_conf: raw
                .dns
                .resolv_conf
                .unwrap_or_else(|| DEFAULT_RESOLV_CONF.into()),
        })
    }
}

/// Whether an agent could be told what the text of a file says; the line that is wrong, and why.
pub fn check_config(text: &str) -> Result<(), String> {
    let options = AgentOptions {
        socket: PathBuf::new(),
        state_dir: PathBuf::new(),
        config: None,
    };
    match Config::checked(RawConfig::parse(text)?, options) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    engine: RawEngine,
    workers: usize,
    /// In Docker's words.
    #[serde(rename = "default-address-pools")]
    default_address_pools: Vec<RawPool>,
    dns: RawDns,
    vxlan: RawVxlan,
    cluster: RawCluster,
    docker: RawDocker,
    api: RawApi,
    events: RawEvents,
    metrics: RawMetrics,
    flows: RawFlows,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawEngine {
    #[default]
    Auto,
    Uring,
    Epoll,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPool {
    base: IpNet,
    /// Prefix length of the subnets cut from it.
    size: u8,
}

impl AddressPools {
    /// A family of which no pool is given keeps the defaults.
    fn checked(raw: &[RawPool]) -> Result<Self, ReadConfig> {
        let mut pools = Self {
            v4: Vec::new(),
            v6: Vec::new(),
        };
        for &RawPool { base, size } in raw {
            let base = parse_subnet(&base.to_string()).map_err(ReadConfig::PoolBase)?;
            // One address for the gateway, one at least for a container.
            if !(base.prefix_len()..base.max_prefix_len()).contains(&size) {
                return Err(ReadConfig::PoolSize {
                    base,
                    most: base.max_prefix_len() - 1,
                });
            }
            let of_family = match base {
                IpNet::V4(_) => &mut pools.v4,
                IpNet::V6(_) => &mut pools.v6,
            };
            of_family.push(DefaultPool {
                base,
                prefix_len: size,
            });
        }
        if pools.v4.is_empty() {
            pools.v4 = default_pools_v4();
        }
        Ok(pools)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawDns {
    resolv_conf: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawVxlan {
    packet_ring: bool,
}

impl Default for RawVxlan {
    fn default() -> Self {
        Self { packet_ring: true }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawCluster {
    name: Option<String>,
    lease_s: Option<u64>,
    vni_rest_s: Option<u64>,
    certificate_s: Option<u64>,
    relay: Option<bool>,
    etcd_ca: Option<PathBuf>,
    etcd_certificate: Option<PathBuf>,
    etcd_key: Option<PathBuf>,
}

impl RawCluster {
    fn checked(self, state_dir: &Path) -> Result<ClusterOptions, ReadConfig> {
        let seconds = |name, given: Option<u64>, default, range: RangeInclusive<u64>| {
            let seconds = given.unwrap_or(default);
            match range.contains(&seconds) {
                true => Ok(Duration::from_secs(seconds)),
                false => Err(ReadConfig::Seconds {
                    name,
                    least: *range.start(),
                    most: *range.end(),
                }),
            }
        };
        let etcd_files = match (self.etcd_ca, self.etcd_certificate, self.etcd_key) {
            (None, None, None) => None,
            (Some(ca), Some(certificate), Some(key)) => Some([ca, certificate, key]),
            _ => return Err(ReadConfig::EtcdFiles),
        };
        Ok(ClusterOptions {
            state_dir: state_dir.to_owned(),
            name: self.name,
            lease: seconds("lease_s", self.lease_s, DEFAULT_LEASE_S, 2..=600)?,
            vni_rest: seconds(
                "vni_rest_s",
                self.vni_rest_s,
                DEFAULT_VNI_REST_S,
                0..=VNI_REST_MAX_S,
            )?,
            certificate_lifetime: seconds(
                "certificate_s",
                self.certificate_s,
                DEFAULT_CERTIFICATE_S,
                CERTIFICATE_MIN_S..=CERTIFICATE_MAX_S,
            )?,
            relay: self.relay.unwrap_or(true),
            etcd_files,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawApi {
    /// A name or a number.
    group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawEvents {
    drops_per_s: u64,
}

impl Default for RawEvents {
    fn default() -> Self {
        Self {
            drops_per_s: DEFAULT_DROPS_PER_S,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawDocker {
    /// `auto`, `off` or a path.
    plugin: Option<String>,
    engine: Option<PathBuf>,
}

impl RawDocker {
    fn checked(self) -> Result<DockerOptions, ReadConfig> {
        let plugin = match self.plugin.as_deref() {
            None | Some("auto") => DockerPlugin::Auto,
            Some("off") => DockerPlugin::Off,
            Some(path) if Path::new(path).is_absolute() => DockerPlugin::At(path.into()),
            Some(other) => return Err(ReadConfig::DockerPlugin(other.to_owned())),
        };
        let engine = self.engine.unwrap_or_else(|| DEFAULT_ENGINE.into());
        Ok(DockerOptions { plugin, engine })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawMetrics {
    listen: Option<String>,
    per_port: Option<bool>,
}

impl RawMetrics {
    fn checked(self) -> Result<MetricsOptions, ReadConfig> {
        let listen = self.listen.map(|given| match given.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err(ReadConfig::MetricsListen(given)),
        });
        Ok(MetricsOptions {
            listen: listen.transpose()?,
            per_port: self.per_port,
        })
    }
}

impl RawConfig {
    /// With its text.
    fn read(path: &Path) -> Result<(Self, String), ReadConfig> {
        let text = std::fs::read_to_string(path).map_err(|source| ReadConfig::Read {
            path: path.into(),
            source,
        })?;
        match Self::parse(&text) {
            Ok(raw) => Ok((raw, text)),
            Err(message) => Err(ReadConfig::Parse {
                path: path.into(),
                message,
            }),
        }
    }

    /// The line that is wrong, and why.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let why = unknown::told(error.message().trim_end());
            let Some(at) = error.span().map(|span| span.start.min(text.len())) else {
                return why;
            };
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let number = before.iter().filter(|byte| **byte == b'\n').count();
            let line = text.lines().nth(number).unwrap_or_default().trim();
            let shown: String = line.chars().take(LINE_SHOWN).collect();
            format!("line {}, {shown:?}: {why}", number + 1)
        })
    }
}

/// The configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadConfig {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Parse { path: PathBuf, message: String },
    #[error("workers = {0} is out of range; take 1 to {WORKERS_MAX}, or 0 to let the agent decide")]
    Workers(usize),
    #[error("default-address-pools: {0}")]
    PoolBase(InvalidSubnet),
    #[error("default-address-pools: the size of {base} is out of range; take {} to {most}", base.prefix_len())]
    PoolSize { base: IpNet, most: u8 },
    #[error("[cluster] {name} is out of range; take {least} to {most}")]
    Seconds {
        name: &'static str,
        least: u64,
        most: u64,
    },
    #[error(
        "[cluster] etcd_ca, etcd_certificate and etcd_key belong together; give all three or none"
    )]
    EtcdFiles,
    #[error(
        "[api] group = {0:?}: there is no such group; make it with groupadd, or take another one"
    )]
    Group(String),
    #[error("[api] group = {group:?} cannot be looked up: {why}")]
    LookUpGroup { group: String, why: String },
    #[error("[docker] plugin = {0:?} is unknown; take auto, off, or the path of a socket")]
    DockerPlugin(String),
    #[error(
        "[metrics] listen = {0:?} is no address and port; take one of the host's, as in \"127.0.0.1:9177\""
    )]
    MetricsListen(String),
    #[error(
        "[flows] collector = {0:?} is no collector; give its address and port, as in \"udp://192.0.2.9:6343\""
    )]
    Collector(String),
    #[error("[flows] protocol = {0:?} is unknown; take sflow")]
    FlowsProtocol(String),
    #[error("[flows] {name} is out of range; take {least} to {most}")]
    Flows {
        name: &'static str,
        least: u32,
        most: u32,
    },
}

/// Each has its own buffers, counters of every port, and descriptors.
const WORKERS_MAX: usize = 64;
const LINE_SHOWN: usize = 60;
/// A host that is cut off for less has heard of a removal before its VNI is another network's; longer ones are awaited.
const DEFAULT_VNI_REST_S: u64 = 600;
const VNI_REST_MAX_S: u64 = 30 * 86_400;
const DEFAULT_LEASE_S: u64 = 10;
const DEFAULT_CERTIFICATE_S: u64 = 30 * 24 * 3600;
/// Such short ones are for trying out how they end.
const CERTIFICATE_MIN_S: u64 = 4;
const CERTIFICATE_MAX_S: u64 = 365 * 24 * 3600;
/// A frame now and then is nobody's concern.
const DEFAULT_DROPS_PER_S: u64 = 100;
const DEFAULT_ENGINE: &str = "/var/run/docker.sock";
const DEFAULT_RESOLV_CONF: &str = "/etc/resolv.conf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let raw: RawConfig = toml::from_str("").unwrap();
        assert_eq!(raw.workers, 0);
        assert!(matches!(raw.engine, RawEngine::Auto));
        assert!(raw.vxlan.packet_ring);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let told = |text: &str| RawConfig::parse(text).unwrap_err();
        let said = told("engine = \"auto\"\n\nworkers = \"many\"\n");
        assert!(
            said.starts_with("line 3, \"workers = \\\"many\\\"\": "),
            "{said}"
        );
        let said = told("[cluster]\nlease = 5\n");
        assert!(
            said.starts_with("line 2, \"lease = 5\": unknown key lease; did you mean lease_s? "),
            "{said}"
        );
        let said = told("workers = = 3");
        assert!(said.starts_with("line 1, "), "{said}");
        for said in [told("workers = -1"), told("[vxlan\n"), told("a")] {
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn address_pools_are_written_as_dockers() {
        let pools = |text: &str| {
            let raw: RawConfig = toml::from_str(text).unwrap();
            AddressPools::checked(&raw.default_address_pools)
        };
        assert_eq!(pools("").unwrap().v4, default_pools_v4());
        let given = pools(
            "default-address-pools = [ { base = \"10.10.0.0/16\", size = 24 }, { base = \"fd12::/48\", size = 64 } ]",
        )
        .unwrap();
        let [v4, v6] = [("10.10.0.0/16", 24), ("fd12::/48", 64)].map(|(base, prefix_len)| {
            let base = base.parse().unwrap();
            vec![DefaultPool { base, prefix_len }]
        });
        assert_eq!(given, AddressPools { v4, v6 });
        for (wrong, named) in [
            ("{ base = \"10.10.0.0/16\", size = 15 }", "take 16 to 31"),
            ("{ base = \"10.10.0.0/16\", size = 32 }", "take 16 to 31"),
            ("{ base = \"10.10.0.1/16\", size = 24 }", "use 10.10.0.0/16"),
        ] {
            let refused = pools(&format!("default-address-pools = [ {wrong} ]"));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn more_workers_than_are_of_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let read = |workers: usize| {
            std::fs::write(&path, format!("workers = {workers}")).unwrap();
            Config::read(AgentOptions {
                socket: "/s".into(),
                state_dir: "/d".into(),
                config: Some(path.clone()),
            })
        };
        assert_eq!(read(64).unwrap().workers, 64);
        let refused = read(100_000).unwrap_err().to_string();
        assert!(
            refused.contains("100000") && refused.contains("64"),
            "{refused}"
        );
    }

    #[test]
    fn dockers_plugin_is_on_off_or_somewhere_else() {
        let plugin = |text: &str| {
            let raw: RawConfig = toml::from_str(text).unwrap();
            raw.docker.checked().map(|docker| docker.plugin)
        };
        assert_eq!(plugin("").unwrap(), DockerPlugin::Auto);
        assert_eq!(
            plugin("[docker]\nplugin = \"off\"").unwrap(),
            DockerPlugin::Off
        );
        let path = plugin("[docker]\nplugin = \"/run/p.sock\"").unwrap();
        assert_eq!(path, DockerPlugin::At("/run/p.sock".into()));
        let refused = plugin("[docker]\nplugin = \"on\"").unwrap_err();
        assert!(refused.to_string().contains("\"on\""), "{refused}");
    }

    #[test]
    fn metrics_are_served_at_an_address_and_port() {
        let checked = |text: &str| {
            let raw: RawConfig = toml::from_str(text).unwrap();
            raw.metrics.checked()
        };
        assert_eq!(checked("").unwrap(), MetricsOptions::default());
        let given = checked("[metrics]\nlisten = \"127.0.0.1:9177\"\nper_port = false").unwrap();
        assert_eq!(given.listen, Some(([127, 0, 0, 1], 9177).into()));
        assert_eq!(given.per_port, Some(false));
        for wrong in ["9177", ":9177", "127.0.0.1:0", "localhost:9177"] {
            let refused = checked(&format!("[metrics]\nlisten = {wrong:?}"));
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let told = |text: &str| RawConfig::parse(text).unwrap_err();
        for (wrong, named) in [
            (
                "enginee = \"epoll\"",
                "unknown key enginee; did you mean engine?",
            ),
            (
                "[clustre]\nname = \"a\"",
                "line 1, \"[clustre]\": unknown key clustre; did you mean cluster?",
            ),
            (
                "[api]\ngruop = \"a\"",
                "line 2, \"gruop = \\\"a\\\"\": unknown key gruop; did you mean group?",
            ),
            (
                "xyzzy = 1",
                "unknown key xyzzy; there are engine, workers, ",
            ),
        ] {
            let said = told(wrong);
            assert!(said.contains(named) && said.len() < 400, "{said}");
        }
    }
}

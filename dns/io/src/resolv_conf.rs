//! The host's resolv.conf, and whether it has changed.
//!
//! # Theory of operation
//!
//! The file is looked at again by the first query of each second, never by a timer. A file that has vanished leaves the last
//! servers in use: editors and DHCP clients replace it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::fs;
use tracing::warn;

use crate::lock::lock;

/// A resolv.conf that is followed.
#[derive(Debug)]
pub(crate) struct ResolvConf {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    checked: Option<Instant>,
    stamp: Option<Stamp>,
}

impl ResolvConf {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file was looked at a moment ago.
    pub(crate) fn is_fresh(&self) -> bool {
        let checked = lock(&self.seen).checked;
        checked.is_some_and(|checked| checked.elapsed() < CHECK_INTERVAL)
    }

    /// The file's servers if it is another file than before. Looks at most once a second.
    pub(crate) async fn changed(&self) -> Option<Vec<SocketAddr>> {
        if self.is_fresh() {
            return None;
        }
        lock(&self.seen).checked = Some(Instant::now());
        let stamp = stamp(&self.path).await.ok()?;
        if lock(&self.seen).stamp == Some(stamp) {
            return None;
        }
        match servers(&self.path).await {
            Ok(servers) => {
                lock(&self.seen).stamp = Some(stamp);
                Some(servers)
            }
            Err(error) => {
                warn!(path = %self.path.display(), %error, "upstream servers not read");
                None
            }
        }
    }
}

/// Tells one state of the file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// The file's stamp, following links: resolv.conf often is one.
async fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path).await?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}

/// The servers the file names, in its order: as many as resolvers use (MAXNS of resolv.conf(5)). A file without any
/// gives an empty list.
async fn servers(path: &Path) -> io::Result<Vec<SocketAddr>> {
    let text = fs::read(path).await?;
    let Ok((config, _)) = parse_resolv_conf(&text) else {
        return Ok(Vec::new());
    };
    let addresses = config.name_servers().iter().map(|server| server.ip);
    Ok(addresses
        .filter(is_reachable)
        .take(MAX_SERVERS)
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect())
}

/// Link-local servers need a zone, which the parser drops.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

const DNS_PORT: u16 = 53;
const MAX_SERVERS: usize = 3;
/// How often a resolv.conf is looked at, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

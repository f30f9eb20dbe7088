//! The host's resolv.conf, and whether it has changed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::fs;

/// Tells one state of the file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// The file's stamp, following links: resolv.conf often is one.
pub(crate) async fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path).await?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: std::os::unix::fs::MetadataExt::ino(&metadata),
    })
}

/// The servers the file names, in its order: as many as resolvers use (MAXNS of resolv.conf(5)). A file without any
/// gives an empty list.
pub(crate) async fn servers(path: &Path) -> io::Result<Vec<SocketAddr>> {
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

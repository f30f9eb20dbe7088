//! What is done before and after managers are lost: backups, restored clusters, hosts that are gone.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_api::{Client, ClusterPoint, ClusterRemove, ClusterRemoved, ClusterRestore};

use super::{advertised, signer};
use crate::failure::{Failure, complain};
use crate::output;

/// Write all that the cluster needs to begin again to a file, on a manager
///
/// The CA's key is in it: whoever has the file can be any host of the cluster. It is for root alone; keep it as safe as the
/// manager's own state, and elsewhere.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The file, which is replaced as a whole, or - for standard output
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

/// Make this host the only manager of the cluster in a backup, and print its id
///
/// For a cluster whose managers are lost for good: they are shut out, should they come back. Members find this host by
/// themselves where it has the address of a manager before; elsewhere tell them with `tapestry cluster managers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The address at which others reach this host, and the TCP port; that of the manager before where absent
    #[arg(long, value_name = "IP[:PORT]", value_parser = advertised)]
    advertise: Option<(IpAddr, Option<u16>)>,
    /// An etcd to use; may be repeated. What it has of the cluster stands
    #[arg(long, value_name = "URL")]
    etcd: Vec<String>,
    /// Though a manager of the cluster answers
    #[arg(long)]
    force: bool,
    /// What `tapestry cluster backup` wrote, or - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

/// Tell this host of a manager that it does not know of
#[derive(Debug, clap::Args)]
pub(crate) struct Managers {
    /// Where that is
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = signer)]
    address: SocketAddr,
}

/// Forget a host that is dead: its certificates are void, and what it held is free
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The host's id, the beginning of one, or its name
    host: String,
}

pub(super) async fn back_up(args: &Backup, client: &Client) -> Result<u8, Failure> {
    let backup = client.back_up_cluster().await?.backup;
    if is_standard(&args.file) {
        output::print(&backup)?;
    } else {
        replace(&args.file, backup.as_bytes())?;
    }
    complain("the backup holds the CA's key: whoever reads it can be any host of the cluster");
    Ok(0)
}

pub(super) async fn restore(args: Restore, client: &Client) -> Result<u8, Failure> {
    let restore = ClusterRestore {
        backup: read(&args.file)?,
        address: args.advertise.map(|(address, _)| address),
        tcp_port: args.advertise.and_then(|(_, port)| port),
        etcd: args.etcd,
        force: args.force,
    };
    let restored = client.restore_cluster(&restore).await?;
    output::print(&format!("{}\n", restored.id))?;
    Ok(0)
}

pub(super) async fn point(args: &Managers, client: &Client) -> Result<u8, Failure> {
    let address = args.address;
    client.point_to_manager(&ClusterPoint { address }).await?;
    Ok(0)
}

pub(super) async fn recover(client: &Client) -> Result<u8, Failure> {
    let removed = client.recover_cluster().await?.removed;
    let text = match removed.as_slice() {
        [] => "The managers' store answers: there is nothing to recover.\n".to_owned(),
        names => format!(
            "This host is the only manager now; removed: {}. Promote others, so that one may be lost again.\n",
            names.join(", ")
        ),
    };
    output::print(&text)?;
    Ok(0)
}

pub(super) async fn remove(args: Rm, client: &Client) -> Result<u8, Failure> {
    let host = args.host;
    let removed = client.remove_host(&ClusterRemove { host }).await?;
    output::print(&told(&removed))?;
    if removed.was_manager {
        complain(
            "the host was a manager: `tapestry cluster ca rotate` makes the CA's key void that it has",
        );
    }
    Ok(0)
}

/// What went with a host.
fn told(removed: &ClusterRemoved) -> String {
    let some = |count: usize, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    format!(
        "{} ({}) is removed, with {}, {} and {}.\n",
        removed.name,
        removed.id,
        some(removed.endpoints, "endpoint", "endpoints"),
        some(removed.blocks, "block of addresses", "blocks of addresses"),
        some(removed.certificates, "certificate", "certificates"),
    )
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        let file = file.display();
        Failure::said(format!("cannot read the backup {file}: {error}"))
    };
    let input: Box<dyn Read> = match is_standard(file) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    let mut input = input.take(BACKUP_LEN_MAX + 1);
    input.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BACKUP_LEN_MAX {
        return Err(failed(io::Error::other("it is longer than any backup")));
    }
    // What is no text is no backup, as the agent will say.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file as a whole or not at all, for root alone.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::Write {
        path: file.to_owned(),
        source,
    };
    // A device or a directory is not to be replaced.
    if fs::metadata(file).is_ok_and(|present| !present.is_file()) {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    let (Some(name), Some(parent)) = (file.file_name(), file.parent()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let directory = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let new = directory.join(hidden);
    let write = || {
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut target = options.open(&new)?;
        target.write_all(bytes)?;
        target.sync_all()?;
        fs::rename(&new, file)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| {
        // It may not have come about.
        let _ = fs::remove_file(&new);
        failed(source)
    })
}

fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

/// The agent takes no more at once.
const BACKUP_LEN_MAX: u64 = 12 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("backup");
        fs::write(&file, "before, and longer").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&file, b"now").unwrap();
        assert_eq!(read(&file).unwrap(), "now");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(replace(dir.path(), b"now").is_err());
        assert!(replace(Path::new("/dev/null"), b"now").is_err());
        assert!(replace(&dir.path().join("none/backup"), b"now").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_went_with_a_host_is_told() {
        let removed = ClusterRemoved {
            id: "a0".into(),
            name: "host-2".into(),
            was_manager: false,
            endpoints: 1,
            blocks: 2,
            certificates: 0,
        };
        assert_eq!(
            told(&removed),
            "host-2 (a0) is removed, with 1 endpoint, 2 blocks of addresses and 0 certificates.\n"
        );
    }
}

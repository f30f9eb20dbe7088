//! What a host keeps of its cluster on disk: `cluster/` in the state directory, for root alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_core::shared::Entry;
use serde::Serialize;

use crate::identity::Identity;
use crate::settings::Settings;

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

/// A file of the cluster cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {source}", path.display())]
pub struct UseFile {
    path: PathBuf,
    source: io::Error,
}

impl Files {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.join("cluster"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What was last known of the cluster; nothing where that cannot be read.
    pub(crate) fn known_world(&self) -> Vec<Entry> {
        let text = self.read_needed(WORLD).unwrap_or_default();
        let entries: Vec<(String, serde_json::Value, u64)> =
            serde_json::from_str(&text).unwrap_or_default();
        let entry = |(key, value, revision)| Entry {
            key,
            value,
            revision,
        };
        entries.into_iter().map(entry).collect()
    }

    /// The same, to be written.
    pub(crate) fn text_of<'e>(
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Result<String, serde_json::Error> {
        let entries: Vec<_> = entries
            .map(|entry| (&entry.key, &entry.value, entry.revision))
            .collect();
        serde_json::to_string(&entries)
    }

    /// `None` where this host is in no cluster.
    pub(crate) fn load(&self) -> Result<Option<(Settings, Identity)>, UseFile> {
        let Some(text) = self.read(SETTINGS)? else {
            return Ok(None);
        };
        let settings: Settings =
            serde_json::from_str(&text).map_err(|error| self.garbled(SETTINGS, error))?;
        let identity = Identity {
            host: settings.host.clone(),
            ca: self.read_needed(CA_CERTIFICATE)?,
            certificate: self.read_needed(CERTIFICATE)?,
            key: self.read_needed(KEY)?,
        };
        Ok(Some((settings, identity)))
    }

    /// The settings come last: without them there is no membership.
    pub(crate) fn save(&self, settings: &Settings, identity: &Identity) -> Result<(), UseFile> {
        self.save_identity(identity)?;
        self.save_settings(settings)
    }

    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), UseFile> {
        let text = serde_json::to_string_pretty(settings)
            .map_err(|error| self.failed(SETTINGS, io::Error::other(error)))?;
        self.write(SETTINGS, &text)
    }

    /// The key before its certificate: a crash in between leaves a pair that does not fit, and the old one was to end.
    pub(crate) fn save_identity(&self, identity: &Identity) -> Result<(), UseFile> {
        // etcd is started again where this file is newer than it.
        if self.read(CA_CERTIFICATE)?.as_ref() != Some(&identity.ca) {
            self.write(CA_CERTIFICATE, &identity.ca)?;
        }
        self.write(KEY, &identity.key)?;
        self.write(CERTIFICATE, &identity.certificate)
    }

    pub(crate) fn read_needed(&self, name: &str) -> Result<String, UseFile> {
        let missing = || self.failed(name, io::ErrorKind::NotFound.into());
        self.read(name)?.ok_or_else(missing)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, UseFile> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// As a whole or not at all, mode 0600.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), UseFile> {
        let (new, path) = (self.path(&format!("{name}.new")), self.path(name));
        let write = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.dir)?;
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| self.failed(name, error))
    }

    /// What is there.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.file_name().into_string().ok())
            .collect()
    }

    /// The same as JSON.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), UseFile> {
        let text = serde_json::to_string(value).map_err(|error| self.garbled(name, error))?;
        self.write(name, &text)
    }

    /// Whether there is anything of a cluster here.
    pub(crate) fn are_there(&self) -> bool {
        fs::read_dir(&self.dir).is_ok_and(|mut files| files.next().is_some())
    }

    /// One that is not there is as good.
    pub(crate) fn forget(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(name, %error, "a file of the cluster stays");
        }
    }

    /// Forgets the cluster, with everything that etcd has here.
    pub(crate) fn remove(&self) -> Result<(), UseFile> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("", error)),
            _ => Ok(()),
        }
    }

    /// It was read, and is not understood.
    pub(crate) fn garbled(&self, name: &str, error: serde_json::Error) -> UseFile {
        self.failed(name, io::Error::other(error))
    }

    fn failed(&self, name: &str, source: io::Error) -> UseFile {
        UseFile {
            path: self.path(name),
            source,
        }
    }
}

/// The file with the key of a CA that is to sign next, by the first digits of the CA's hash.
pub(crate) fn next_key_of(digits: &str) -> String {
    format!("{NEXT_KEY}{digits}{NEXT_KEY_END}")
}

pub(crate) fn is_next_key(name: &str) -> bool {
    name.starts_with(NEXT_KEY) && name.ends_with(NEXT_KEY_END)
}

const NEXT_KEY: &str = "ca-";
const NEXT_KEY_END: &str = ".key";
const SETTINGS: &str = "cluster.json";
pub(crate) const CA_CERTIFICATE: &str = "ca.pem";
pub(crate) const CA_KEY: &str = "ca.key";
/// Which CA signs and which ones did before, where one is or was.
pub(crate) const CA_RECORD: &str = "ca.json";
pub(crate) const CERTIFICATE: &str = "host.pem";
pub(crate) const KEY: &str = "host.key";
/// The certificate under which the signer and its etcd serve, and its key.
pub(crate) const SERVICE_CERTIFICATE: &str = "service.pem";
pub(crate) const SERVICE_KEY: &str = "service.key";
/// For an etcd that was given, as they came with a promotion.
pub(crate) const ETCD_CREDENTIALS: &str = "etcd-credentials.json";
/// What was last known of the cluster.
pub(crate) const WORLD: &str = "world.json";
/// The session of an agent that has not ended in order.
pub(crate) const SESSION: &str = "session.json";
pub(crate) const RESET_KEY: &str = "reset.key";
/// Certificates that this manager has signed for itself and not put on record.
pub(crate) const UNRECORDED: &str = "unrecorded.json";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::settings::Duty;

    fn settings() -> Settings {
        Settings {
            cluster: "c".into(),
            host: "00".into(),
            name: "one".into(),
            address: "192.0.2.1".parse().unwrap(),
            advertised: None,
            follows_way: false,
            signer: "192.0.2.1:4790".parse().unwrap(),
            signer_host: Some("00".into()),
            quic_udp_port: 4790,
            duty: Duty {
                signs: true,
                etcd: vec!["https://192.0.2.1:4791".into()],
                etcd_managed: true,
                ..Duty::default()
            },
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        assert!(files.load().unwrap().is_none());
        let identity = Identity {
            host: "00".into(),
            ca: "ca".into(),
            certificate: "certificate".into(),
            key: "key".into(),
        };
        files.save(&settings(), &identity).unwrap();
        assert_eq!(files.load().unwrap(), Some((settings(), identity)));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for entry in fs::read_dir(files.path("")).unwrap() {
            assert_eq!(mode(entry.unwrap().path()), 0o600);
        }
        assert_eq!(mode(files.path("")), 0o700);
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(files.load().unwrap().is_none());
    }
}

//! What a manager has on disk and a member has not.

use std::fs;

use crate::etcd_plan::DATA_DIR;
use crate::etcd_process::end_left_behind;
use crate::files::{
    CA_KEY, CA_RECORD, ETCD_CREDENTIALS, Files, SERVICE_CERTIFICATE, SERVICE_KEY, is_next_key,
};

/// Puts it all away, with an etcd that an agent before left behind.
pub(crate) fn clear(files: &Files) {
    end_left_behind(files);
    let names = files.names();
    let next_keys = names
        .iter()
        .map(String::as_str)
        .filter(|name| is_next_key(name));
    for name in OFFICE.into_iter().chain(next_keys) {
        files.forget(name);
    }
    if let Err(error) = fs::remove_dir_all(files.path(DATA_DIR))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the data of this host's etcd stay");
    }
}

const OFFICE: [&str; 5] = [
    CA_KEY,
    CA_RECORD,
    SERVICE_CERTIFICATE,
    SERVICE_KEY,
    ETCD_CREDENTIALS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{CA_CERTIFICATE, CERTIFICATE, KEY};

    #[test]
    fn a_member_keeps_its_own_and_nothing_of_a_managers() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path());
        let kept = [CA_CERTIFICATE, KEY, CERTIFICATE];
        let next = ["ca-0011223344556677.key"];
        for name in OFFICE.into_iter().chain(kept).chain(next) {
            files.write(name, "text").unwrap();
        }
        fs::create_dir_all(files.path(DATA_DIR).join("member")).unwrap();
        clear(&files);
        let mut names = files.names();
        names.sort_unstable();
        assert_eq!(names, kept.map(str::to_owned));
        clear(&files);
    }
}

//! Ways to a network namespace: paths that lead to it now.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::namespace::{NetnsId, netns_id};

/// A path to each of the namespaces that has one: where its file is mounted, or a process that lives in it. Whoever only
/// holds it open is not found.
pub fn find_ways(wanted: &BTreeSet<NetnsId>) -> BTreeMap<NetnsId, PathBuf> {
    let mut found = BTreeMap::new();
    for path in mounted().into_iter().chain(of_processes()) {
        if found.len() == wanted.len() {
            break;
        }
        if let Ok(id) = netns_id(&path)
            && wanted.contains(&id)
        {
            found.entry(id).or_insert(path);
        }
    }
    found
}

/// A path to every namespace that has one, of whatever kind: a network's may be told by entering it.
pub fn all_ways() -> BTreeMap<NetnsId, PathBuf> {
    let mut found = BTreeMap::new();
    for path in mounted().into_iter().chain(of_processes()) {
        if let Ok(id) = netns_id(&path) {
            found.entry(id).or_insert(path);
        }
    }
    found
}

/// Where namespace files are mounted, as far as this mount namespace shows.
fn mounted() -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(namespace_mount)
        .collect()
}

/// The mount point in a line of mountinfo (proc(5)), if the line is about a namespace file.
fn namespace_mount(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(MOUNT_POINT)?;
    // Optional fields follow, ended by a hyphen, then the filesystem.
    let filesystem = fields.skip_while(|field| *field != b"-").nth(1)?;
    (filesystem == b"nsfs").then(|| OsString::from_vec(unescaped(point)).into())
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescaped(mut field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    while let [first, rest @ ..] = field {
        let octal = rest.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(code.unwrap_or(*first));
        field = if code.is_some() { &rest[3..] } else { rest };
    }
    bytes
}

fn of_processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |name: &OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries
        .filter(move |entry| is_process(&entry.file_name()))
        .map(|entry| entry.path().join("ns/net"))
}

/// The fifth field.
const MOUNT_POINT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_namespace_files_count() {
        let netns = b"611 24 0:4 net:[4026532301] /run/netns/a\\040b rw shared:190 - nsfs nsfs rw";
        assert_eq!(namespace_mount(netns), Some("/run/netns/a b".into()));
        let without_optional_fields = b"611 24 0:4 net:[1] /run/netns/h1 rw - nsfs nsfs rw";
        assert_eq!(
            namespace_mount(without_optional_fields),
            Some("/run/netns/h1".into())
        );
        let other = b"24 1 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw";
        assert_eq!(namespace_mount(other), None);
        assert_eq!(namespace_mount(b""), None);
    }

    #[test]
    fn the_own_namespace_is_found_by_its_processes() {
        let own = netns_id("/proc/self/ns/net".as_ref()).unwrap();
        let nowhere = NetnsId {
            device: own.device,
            inode: 1,
        };
        let ways = find_ways(&BTreeSet::from([own, nowhere]));
        assert_eq!(ways.keys().copied().collect::<Vec<_>>(), [own]);
        assert_eq!(netns_id(&ways[&own]).unwrap(), own);
        assert!(all_ways().contains_key(&own));
    }
}

//! Commands that are images in truth.

use std::env;
use std::path::Path;

/// Whether someone took `run` for Docker's, and the first word of a command that is not found for an image's name: it has
/// an image's form, or one of the best known names, or a command after it.
pub(crate) fn is_likely(command: &[String]) -> bool {
    let Some((first, rest)) = command.split_first() else {
        return false;
    };
    let second = rest.first();
    has_form(first)
        || KNOWN.contains(&first.as_str())
        || second.is_some_and(|word| is_command(word))
}

/// A registry, a path or a tag, as in `quay.io/a/b:1`.
fn has_form(word: &str) -> bool {
    let is_path = word.starts_with('/') || word.starts_with('.');
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/:@._-".contains(c);
    !is_path && word.contains(['/', ':']) && word.chars().all(is_part)
}

fn is_command(word: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    Path::new(word).is_file() || env::split_paths(&path).any(|dir| dir.join(word).is_file())
}

const KNOWN: [&str; 14] = [
    "alpine",
    "archlinux",
    "busybox",
    "centos",
    "debian",
    "fedora",
    "golang",
    "hello-world",
    "httpd",
    "nginx",
    "node",
    "postgres",
    "redis",
    "ubuntu",
];

#[cfg(test)]
mod tests {

    #[test]
    fn images_are_told_from_commands_that_were_misspelt() {
        let is_likely = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            super::is_likely(&words)
        };
        for line in [
            "alpine",
            "alpine:3.20 ls",
            "quay.io/a/b sh",
            "library/debian@sha256:0a",
            "mine sh -c true",
        ] {
            assert!(is_likely(line), "{line}");
        }
        for line in [
            "no-such-command",
            "/opt/alpine",
            "./alpine",
            "sl -l",
            "a b:c d",
        ] {
            assert!(!is_likely(line), "{line}");
        }
        assert!(!super::is_likely(&[]));
    }
}

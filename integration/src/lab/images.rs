//! Images that the host's own programs stand in for.

/// A set of programs that a node finds on the host's files.
#[derive(Debug, PartialEq, Eq)]
pub struct Base {
    /// As the table in docs/labs.md has it.
    pub name: &'static str,
    /// The last words of images' names, without tags.
    images: &'static [&'static str],
    /// Programs, of which any path will do, and the Debian packages that have them.
    needs: &'static [(&'static [&'static str], &'static str)],
    /// What a node does at its start, as the image's entrypoint would.
    pub start: Option<&'static str>,
}

impl Base {
    /// Of an image's name, as `quay.io/frrouting/frr:8.4.1`.
    pub fn of_image(image: &str) -> Option<&'static Self> {
        let path = image.split('@').next().unwrap_or(image);
        let last = path.rsplit('/').next().unwrap_or(path);
        let last = last.split(':').next().unwrap_or(last);
        BASES
            .iter()
            .copied()
            .find(|base| base.images.contains(&last))
    }

    /// Of a node that names no image.
    pub fn plain() -> &'static Self {
        &BASE
    }

    /// Packages of which a program is not there.
    pub fn missing(&self, is_there: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
        let lacking = |(paths, _): &&(&[&str], &str)| !paths.iter().any(|path| is_there(path));
        let needs = self.needs.iter().filter(lacking);
        needs.map(|(_, package)| *package).collect()
    }
}

const IP: (&[&str], &str) = (
    &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"],
    "iproute2",
);
const PING: (&[&str], &str) = (&["/usr/bin/ping", "/bin/ping"], "iputils-ping");

static BASE: Base = Base {
    name: "base",
    images: &["base", "alpine", "debian", "ubuntu", "busybox", "linux"],
    needs: &[IP, PING],
    start: None,
};

static BASES: [&Base; 4] = [
    &BASE,
    &Base {
        name: "frr",
        images: &["frr", "quagga"],
        needs: &[
            IP,
            PING,
            (&["/usr/lib/frr/zebra", "/usr/libexec/frr/zebra"], "frr"),
        ],
        start: Some("/usr/lib/frr/frrinit.sh start"),
    },
    &Base {
        name: "bird",
        images: &["bird", "bird2"],
        needs: &[IP, PING, (&["/usr/sbin/bird"], "bird2")],
        start: Some("mkdir -p /run/bird && bird"),
    },
    &Base {
        name: "network tools",
        images: &["network-multitool", "netshoot", "multitool", "alpine-host"],
        needs: &[
            IP,
            PING,
            (&["/usr/bin/tcpdump", "/usr/sbin/tcpdump"], "tcpdump"),
        ],
        start: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_last_word() {
        let base = |image| Base::of_image(image).map(|base| base.name);
        assert_eq!(base("quay.io/frrouting/frr:8.4.1"), Some("frr"));
        assert_eq!(base("kathara/quagga"), Some("frr"));
        assert_eq!(base("alpine@sha256:00"), Some("base"));
        assert_eq!(
            base("ghcr.io:5000/srl-labs/network-multitool:latest"),
            Some("network tools")
        );
        assert_eq!(base("ceos:4.32"), None);
    }

    #[test]
    fn packages_are_missing_of_which_no_program_is_there() {
        let frr = Base::of_image("frr").unwrap();
        assert_eq!(
            frr.missing(&|path| path == "/bin/ip"),
            ["iputils-ping", "frr"]
        );
        assert!(frr.missing(&|_| true).is_empty());
    }
}

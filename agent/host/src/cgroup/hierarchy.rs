//! Where control groups are: what `/proc/self/cgroup` and `/proc/self/mountinfo` say of it, cgroups(7).

use std::path::{Component, Path, PathBuf};

/// One tree of control groups that is mounted here, with the group that the agent is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Those that the tree has; of version 2 the group itself says it.
    pub(super) controllers: Vec<Controller>,
    /// The directory of the agent's group.
    pub(super) own: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// What limits something of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// Those among `names` that containers have a use for.
    pub(super) fn among<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|controller| names.clone().any(|name| name == controller.name()))
            .collect()
    }
}

/// The trees with controllers that containers have a use for, and the one of version 2. `own` is `/proc/self/cgroup`, `mounts` is
/// `/proc/self/mountinfo`.
pub(super) fn hierarchies(own: &str, mounts: &str) -> Vec<Hierarchy> {
    own.lines()
        .filter_map(|line| {
            let (_, line) = line.split_once(':')?;
            let (names, path) = line.split_once(':')?;
            let (version, controllers) = match names {
                "" => (Version::Two, Vec::new()),
                names => (Version::One, Controller::among(names.split(','))),
            };
            let first = controllers.first().map(|controller| controller.name());
            if version == Version::One && first.is_none() {
                return None;
            }
            let own = mounts
                .lines()
                .find_map(|line| directory(line, first, path))?;
            Some(Hierarchy {
                version,
                controllers,
                own,
            })
        })
        .collect()
}

/// Where the group at `path` of its tree is, if this line of `mountinfo` mounts that tree: of version 1 the one with
/// `controller`.
fn directory(line: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let is_it = match (file_system.next()?, controller) {
        ("cgroup2", None) => true,
        ("cgroup", Some(controller)) => {
            let options = file_system.nth(1)?;
            options.split(',').any(|option| option == controller)
        }
        _ => false,
    };
    // What is mounted of the tree need not be all of it, and need not have our group in it.
    let inside = Path::new(path).strip_prefix(root).ok().filter(|_| is_it)?;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_plain = inside.components().all(is_plain) && !point.contains('\\');
    is_plain.then(|| Path::new(point).join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_version_1_are_found_by_their_controllers() {
        let own = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n2:cpuacct,cpu:/a\n0::/\n";
        let mounts = "\
            30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = hierarchies(own, mounts);
        let shown: Vec<_> = found
            .iter()
            .map(|tree| (tree.version, tree.own.as_path()))
            .collect();
        let expected = [
            (Version::One, "/sys/fs/cgroup/memory/a/b"),
            (Version::One, "/sys/fs/cgroup/cpu/a"),
            (Version::Two, "/sys/fs/cgroup/unified"),
        ];
        let expected = expected.map(|(version, path)| (version, Path::new(path)));
        assert_eq!(shown, expected, "pids is not mounted");
        assert_eq!(found[1].controllers, [Controller::Cpu]);
    }

    #[test]
    fn a_part_of_the_tree_is_enough_where_our_group_is_in_it() {
        let mount = |root: &str| format!("1 2 0:1 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        let own = |path: &str, root: &str| {
            let found = hierarchies(&format!("0::{path}\n"), &mount(root));
            found.first().map(|tree| tree.own.clone())
        };
        assert_eq!(
            own("/docker/x/y", "/docker/x"),
            Some("/sys/fs/cgroup/y".into())
        );
        assert_eq!(own("/docker/z", "/docker/x"), None);
        assert_eq!(own("/../z", "/"), None, "outside of our cgroup namespace");
    }
}

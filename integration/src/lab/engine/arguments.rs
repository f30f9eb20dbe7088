//! What Docker's and podman's commands are told.

use super::{Guest, Runtime};

/// Where a node's links are: its namespace, by a process in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) pid: i32,
    /// The number of the namespace, as `net:[4026531840]`, by which it is known that the process is the same still.
    pub(super) namespace: String,
    /// What asks for names there.
    pub(super) resolver: Resolver,
}

/// A node's `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<String>,
    pub(super) search: Vec<String>,
    pub(super) options: Vec<String>,
}

impl Resolver {
    /// Of the text of such a file (resolv.conf(5)).
    pub(super) fn read(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => read.servers.extend(words),
                Some("search") => read.search = words.collect(),
                Some("options") => read.options = words.collect(),
                _ => {}
            }
        }
        read
    }

    fn arguments(&self) -> Vec<String> {
        let each = |option: &str, list: &[String]| {
            let pairs = list.iter().flat_map(|word| owned(&[option, word]));
            pairs.collect::<Vec<_>>()
        };
        [
            each("--dns", &self.servers),
            each("--dns-search", &self.search),
            each("--dns-option", &self.options),
        ]
        .concat()
    }
}

/// `NAME-net`: Docker's container in a node's namespace.
pub(super) fn between(name: &str) -> String {
    format!("{name}-net")
}

/// `docker run`, of the container that is in the node's namespace.
pub(super) fn sleeper(name: &str, guest: &Guest, links: &Links, host_dirs: &[&str]) -> Vec<String> {
    let Links { pid, namespace, .. } = links;
    let path = format!("/proc/{pid}/ns/net");
    let script = format!(
        "[ \"$(readlink {path})\" = '{namespace}' ] && exec nsenter --net={path} sleep infinity"
    );
    let mut words = owned(&["run", "--detach", "--network", "none", "--pid", "host"]);
    words.extend(owned(&["--name", &between(name)]));
    // As setns(2) and proc_pid_ns(5) have it.
    words.extend(owned(&[
        "--cap-add",
        "SYS_ADMIN",
        "--cap-add",
        "SYS_PTRACE",
    ]));
    words.extend(unconfined(Runtime::Docker));
    words.extend(owned(&["--hostname", &guest.hostname]));
    words.extend(owned(&["--restart", &guest.restart]));
    words.extend(links.resolver.arguments());
    for dir in host_dirs {
        words.extend(owned(&["--volume", &format!("{dir}:{dir}:ro")]));
    }
    words.extend(owned(&[EMPTY_IMAGE, "/bin/sh", "-c", &script]));
    words
}

/// `docker create` and `podman create`.
pub(super) fn create(runtime: Runtime, name: &str, guest: &Guest, links: &Links) -> Vec<String> {
    let mut words = owned(&["create", "--name", name, "--tty", "--interactive"]);
    match guest.image.privileged {
        true => words.push("--privileged".to_owned()),
        false => words.extend(unconfined(runtime)),
    }
    words.extend(match (guest.is_host, runtime) {
        (true, _) => owned(&["--network", "host", "--hostname", &guest.hostname]),
        (false, Runtime::Docker) => owned(&["--network", &format!("container:{}", between(name))]),
        (false, Runtime::Podman) => {
            let namespace = format!("ns:/proc/{}/ns/net", links.pid);
            let mut words = owned(&["--network", &namespace, "--hostname", &guest.hostname]);
            words.extend(links.resolver.arguments());
            words
        }
    });
    words.extend(owned(&["--restart", &guest.restart]));
    let lists = [
        ("--cap-add", &guest.cap_add),
        ("--env", &guest.env),
        ("--volume", &guest.binds),
        ("--sysctl", &guest.sysctls),
        ("--label", &guest.labels),
    ];
    for (option, list) in lists {
        for value in list {
            words.extend(owned(&[option, value]));
        }
    }
    if let Some(user) = &guest.image.user {
        words.extend(owned(&["--user", user]));
    }
    if let Some(memory) = guest.memory {
        words.extend(owned(&["--memory", &format!("{memory}b")]));
    }
    if let Some(nano) = guest.nano_cpus {
        let (whole, part) = (nano / NANO, nano % NANO);
        words.extend(owned(&["--cpus", &format!("{whole}.{part:09}")]));
    }
    // Engines take one word by the option, and the others before the command.
    let (first, others) = match guest.image.entrypoint.split_first() {
        None => (None, &[][..]),
        Some((first, others)) => (Some(first), others),
    };
    if let Some(first) = first {
        words.extend(owned(&["--entrypoint", first]));
    }
    words.push(guest.image.name.clone());
    words.extend_from_slice(others);
    words.extend_from_slice(&guest.image.cmd);
    words
}

/// What is in the way of a node's own kernel settings and mounts.
fn unconfined(runtime: Runtime) -> Vec<String> {
    let paths = match runtime {
        Runtime::Docker => "systempaths=unconfined",
        Runtime::Podman => "unmask=ALL",
    };
    let all = [paths, "seccomp=unconfined", "apparmor=unconfined"].into_iter();
    all.flat_map(|option| owned(&["--security-opt", option]))
        .collect()
}

/// `docker exec` and `podman exec`: a command in a node, with standard input or a terminal.
pub fn exec(name: &str, command: &[String], interactive: bool, tty: bool) -> Vec<String> {
    let mut words = owned(&["exec"]);
    words.extend(interactive.then(|| "--interactive".to_owned()));
    words.extend(tty.then(|| "--tty".to_owned()));
    words.push(name.to_owned());
    words.extend_from_slice(command);
    words
}

/// In which both engines tell of a container, a line each; see [`stands`].
pub(super) const STANDING: &str = "{{.Name}} {{.State.Running}} {{.State.Pid}}";

/// A container's name and, while it runs, its process, out of such a line.
pub(super) fn stands(line: &str) -> Option<(&str, Option<i32>)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.trim_start_matches('/');
    let runs = words.next()? == "true";
    let pid = words.next()?.parse().ok();
    Some((name, pid.filter(|_| runs)))
}

/// The one line of what a failed command said that tells why.
pub(super) fn reason(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("See '"));
    let lines: Vec<&str> = lines.collect();
    let tells = |line: &&&str| line.to_ascii_lowercase().contains("error");
    let line = lines.iter().rev().find(tells).or(lines.last());
    let line = line.copied().unwrap_or("it did not say why");
    let line = ["docker: ", "Error response from daemon: ", "Error: "]
        .iter()
        .fold(line, |line, head| line.strip_prefix(head).unwrap_or(line));
    line.trim_end_matches('.')
        .chars()
        .take(REASON_MAX)
        .collect()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Has nothing in it.
pub(super) const EMPTY_IMAGE: &str = "tapestry-lab:empty";
const NANO: u64 = 1_000_000_000;
const REASON_MAX: usize = 240;

#[cfg(test)]
mod tests {
    use super::super::Image;
    use super::*;

    fn guest() -> Guest {
        Guest {
            image: Image {
                name: "bb:1".into(),
                entrypoint: owned(&["sh", "-c"]),
                cmd: owned(&["sleep 9"]),
                user: Some("nobody".into()),
                ..Image::default()
            },
            hostname: "r1".into(),
            env: owned(&["A=b c"]),
            binds: owned(&["/x:/y:ro"]),
            copies: Vec::new(),
            cap_add: owned(&["NET_ADMIN"]),
            sysctls: owned(&["kernel.msgmax=9"]),
            restart: "no".into(),
            memory: Some(1 << 20),
            nano_cpus: Some(1_500_000_000),
            labels: owned(&["l=1"]),
            is_host: false,
        }
    }

    fn links() -> Links {
        Links {
            pid: 42,
            namespace: "net:[7]".into(),
            resolver: Resolver::read(
                "# made\nnameserver 172.20.20.1\nsearch lab.x\noptions ndots:0\n",
            ),
        }
    }

    #[test]
    fn podman_takes_the_namespace_by_its_path() {
        let words = create(Runtime::Podman, "clab-x-r1", &guest(), &links()).join(" ");
        assert_eq!(
            words,
            "create --name clab-x-r1 --tty --interactive --security-opt unmask=ALL --security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined --network ns:/proc/42/ns/net --hostname r1 \
             --dns 172.20.20.1 --dns-search lab.x --dns-option ndots:0 --restart no --cap-add NET_ADMIN --env A=b c --volume /x:/y:ro \
             --sysctl kernel.msgmax=9 --label l=1 --user nobody --memory 1048576b --cpus 1.500000000 --entrypoint sh \
             bb:1 -c sleep 9"
        );
    }

    #[test]
    fn docker_takes_that_of_a_sleeper_who_is_in_it() {
        let words = create(Runtime::Docker, "clab-x-r1", &guest(), &links()).join(" ");
        assert!(
            words.contains("--network container:clab-x-r1-net --restart"),
            "{words}"
        );
        // Of the other container, as Docker has it.
        assert!(
            !words.contains("--hostname") && !words.contains("--dns"),
            "{words}"
        );
        let mut privileged = guest();
        privileged.image.privileged = true;
        let words = create(Runtime::Docker, "clab-x-r1", &privileged, &links()).join(" ");
        assert!(
            words.contains("--privileged") && !words.contains("unconfined"),
            "{words}"
        );
        let words = sleeper("clab-x-r1", &guest(), &links(), &["/usr"]).join(" ");
        for part in [
            "--pid host --name clab-x-r1-net --cap-add SYS_ADMIN",
            "--dns 172.20.20.1",
            "--volume /usr:/usr:ro tapestry-lab:empty /bin/sh -c [ \"$(readlink /proc/42/ns/net)\" = 'net:[7]' ] && exec nsenter",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }

    #[test]
    fn engines_answers_are_read() {
        assert_eq!(stands("/clab-x-r1 true 42"), Some(("clab-x-r1", Some(42))));
        assert_eq!(stands("clab-x-r1 false 0"), Some(("clab-x-r1", None)));
        assert_eq!(stands(""), None);
        for (said, line) in [
            (
                "Unable to find image 'x:1' locally\nError response from daemon: pull access denied for x.\n",
                "pull access denied for x",
            ),
            (
                "docker: Error response from daemon: no such thing.\nSee 'docker run --help'.\n",
                "no such thing",
            ),
            (
                "Error: no container with name or ID \"x\" found: no such container",
                "no container with name or ID \"x\" found: no such container",
            ),
            ("", "it did not say why"),
        ] {
            assert_eq!(reason(said), line);
        }
    }
}

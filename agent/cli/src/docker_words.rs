//! Docker's commands and options that are not here, and what to use instead.

/// What to use instead of an option of this command; `None` where Docker has no such option either.
pub(crate) fn instead_of_option(verbs: &str, option: &str) -> Option<&'static str> {
    let option = option.split('=').next().unwrap_or(option);
    let verb = verbs.strip_prefix("tapestry ").unwrap_or(verbs);
    look_up(&OPTIONS, |(of, names)| {
        of.contains(&verb) && names.contains(&option)
    })
}

/// The same of a command.
pub(crate) fn instead_of_command(verbs: &str, command: &str) -> Option<&'static str> {
    let is_first = verbs == "tapestry";
    look_up(&COMMANDS, |names| is_first && names.contains(&command))
}

fn look_up<K>(table: &[(K, &'static str)], fits: impl Fn(&K) -> bool) -> Option<&'static str> {
    let found = table.iter().find(|(key, _)| fits(key));
    found.map(|(_, instead)| *instead)
}

type Names = &'static [&'static str];

const RUN: Names = &["run"];
const OPTIONS: [((Names, Names), &str); 29] = [
    (
        (
            RUN,
            &[
                "-v",
                "--volume",
                "--mount",
                "--tmpfs",
                "--volumes-from",
                "--volume-driver",
                "--read-only",
            ],
        ),
        "a command has this host's files; --rootfs DIR gives it a directory's instead",
    ),
    (
        (
            RUN,
            &[
                "--memory-swap",
                "--memory-reservation",
                "-c",
                "--cpu-shares",
                "--cpu-quota",
                "--cpu-period",
                "--cpuset-cpus",
                "--ulimit",
                "--shm-size",
                "--blkio-weight",
                "--oom-kill-disable",
                "--oom-score-adj",
                "--cgroup-parent",
            ],
        ),
        "a command is limited by --memory, --cpus and --pids-limit; begin it with prlimit, nice or the like for more",
    ),
    (
        (RUN, &["-u", "--user", "--group-add"]),
        "a command begins as root; begin it with setpriv, as in: -- setpriv --reuid 1000 --clear-groups COMMAND",
    ),
    (
        (
            RUN,
            &[
                "--entrypoint",
                "--pull",
                "--platform",
                "--disable-content-trust",
            ],
        ),
        "there are no images; write the command itself",
    ),
    (
        (&["run", "network connect"], &["--link"]),
        "containers on one network know each other by name; an alias gives one more",
    ),
    (
        (&["run", "network connect"], &["--link-local-ip"]),
        "links have their link-local addresses from the kernel; choose one of the network by --ip or --ip6",
    ),
    (
        (&["run", "network connect"], &["--driver-opt"]),
        "an endpoint has no options; its addresses are --ip, --ip6 and --mac-address, its settings --sysctl of run",
    ),
    (
        (&["network connect"], &["--gw-priority"]),
        "the network that a container was on first has its default route",
    ),
    (
        (RUN, &["--device", "--gpus", "--device-cgroup-rule"]),
        "on this host's files its devices are there; with --rootfs only the usual ones",
    ),
    (
        (RUN, &["--env-file"]),
        "write -e KEY=VALUE for each of its lines",
    ),
    (
        (RUN, &["--init"]),
        "the command is process 1; begin it with an init of yours, as in: -- tini COMMAND",
    ),
    (
        (RUN, &["--pid", "--ipc", "--uts", "--cgroupns"]),
        "these namespaces are each container's own; only the network is shared, by --network container:NAME",
    ),
    (
        (RUN, &["--domainname"]),
        "write the whole name, as in --hostname web.example.com",
    ),
    (
        (RUN, &["--stop-signal", "--stop-timeout"]),
        "a command is stopped by SIGTERM; `tapestry stop -t SECONDS` says how long it has",
    ),
    (
        (RUN, &["--log-driver", "--log-opt"]),
        "the agent keeps what a command writes; `tapestry logs` shows it",
    ),
    (
        (RUN, &["--label-file", "--annotation", "--cidfile"]),
        "write --label KEY=VALUE; -d prints the id",
    ),
    (
        (RUN, &["--security-opt", "--runtime", "--isolation"]),
        "what a command may do is said by --cap-add, --cap-drop, --userns and --privileged",
    ),
    (
        (&["ps"], &["-l", "--latest", "-n", "--last", "-s", "--size"]),
        "the newest come first, and there are no images to measure; write --filter KEY=VALUE",
    ),
    (
        (&["rm"], &["-v", "--volumes", "-l", "--link"]),
        "a container has no volumes and no links; leave it out",
    ),
    (
        (
            &["inspect", "network inspect"],
            &["--type", "-s", "--size", "-v", "--verbose"],
        ),
        "write tapestry network inspect where a container has the same name; all is shown anyway",
    ),
    (
        (&["network prune"], &["--filter"]),
        "write tapestry network rm $(tapestry network ls -q --filter dangling=true --filter label=KEY)",
    ),
    (
        (
            &["logs"],
            &["-t", "--timestamps", "--since", "--until", "--details"],
        ),
        "lines are shown as they were written; the file that `tapestry inspect` names as log has their times",
    ),
    (
        (&["exec"], &["-u", "--user"]),
        "begin the command with setpriv, as in: -- setpriv --reuid 1000 --clear-groups COMMAND",
    ),
    (
        (
            &["exec"],
            &[
                "-d",
                "--detach",
                "--privileged",
                "--env-file",
                "--detach-keys",
            ],
        ),
        "a command runs here as the container's own does, and at this terminal; leave it out",
    ),
    (
        (&["start"], &["-a", "--attach", "-i", "--interactive"]),
        "write tapestry logs -f to watch, or tapestry exec -it for a shell inside",
    ),
    (
        (&["stop", "restart"], &["-s", "--signal"]),
        "a command is stopped by SIGTERM, and by SIGKILL after -t SECONDS",
    ),
    (
        (&["network create"], &["--ipam-driver", "--ipam-opt"]),
        "the agent gives addresses itself, out of --subnet and --ip-range; --subnet none makes a network without any",
    ),
    (
        (
            &["network create"],
            &["--scope", "--ingress", "--config-from", "--config-only"],
        ),
        "a network is on this host; -d overlay makes one that is on every host of the cluster",
    ),
    (
        (&["network create"], &["--ipv4"]),
        "an IPv6 --subnet alone makes a network without IPv4",
    ),
];
const COMMANDS: [(Names, &str); 11] = [
    (
        &[
            "pull", "push", "build", "buildx", "image", "images", "rmi", "tag", "load", "save",
            "import", "export", "commit", "history", "login", "logout", "search", "builder",
            "manifest",
        ],
        "images are Docker's business; `tapestry run` runs a command of this host, or of a directory with --rootfs",
    ),
    (
        &["volume", "cp", "diff"],
        "a command has this host's files; --rootfs DIR of run gives it a directory's instead",
    ),
    (&["kill"], "write tapestry stop -t 0, or tapestry rm -f"),
    (&["create"], "write tapestry run -d, which starts it too"),
    (
        &["attach"],
        "write tapestry logs -f to watch, or tapestry exec -it for a shell inside",
    ),
    (
        &["stats"],
        "write tapestry top for what goes through the networks",
    ),
    (
        &["container", "ls", "list"],
        "write tapestry ps, run, inspect, rm without it",
    ),
    (&["version"], "write tapestry --version"),
    (
        &["info", "system"],
        "write tapestry doctor, or tapestry network prune",
    ),
    (
        &["swarm", "node", "service", "stack"],
        "hosts that share networks are a cluster; see tapestry cluster --help",
    ),
    (
        &[
            "wait", "pause", "unpause", "rename", "update", "compose", "context", "plugin",
        ],
        "nothing here does that; see tapestry --help for what does",
    ),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_is_here_is_not_told_to_be_missing() {
        let root = crate::Cli::command();
        for ((verbs, options), _) in OPTIONS {
            for verb in verbs {
                let mut here = &root;
                for word in verb.split(' ') {
                    here = here.find_subcommand(word).unwrap();
                }
                let is_here = |option: &&str| {
                    let mut arguments = here.get_arguments();
                    arguments.any(|argument| {
                        let long = argument.get_long_and_visible_aliases().unwrap_or_default();
                        let short = argument.get_short_and_visible_aliases().unwrap_or_default();
                        long.iter().any(|long| format!("--{long}") == **option)
                            || short.iter().any(|short| format!("-{short}") == **option)
                    })
                };
                assert_eq!(
                    options.iter().find(|option| is_here(option)),
                    None,
                    "{verb}"
                );
            }
        }
        for (commands, _) in COMMANDS {
            let mut commands = commands.iter();
            assert_eq!(
                commands.find(|word| root.find_subcommand(word).is_some()),
                None
            );
        }
    }
}

//! The agent itself, and others like it.

use std::path::Path;
use std::time::Duration;

use agent_api::{Client, ClientError, Info};

use super::check::Check;
use super::host::Host;

pub(crate) async fn checks(client: &Client, host: &Host) -> Vec<Check> {
    let mut checks = match tokio::time::timeout(PATIENCE, client.info()).await {
        Ok(Ok(info)) => running(&info),
        Ok(Err(error)) => vec![unreachable(&error)],
        Err(_) => vec![Check::fail(
            "agent",
            format!("does not answer at {}", client.socket().display()),
            "look at its log, and start it again",
        )],
    };
    let sockets = host.read("proc/net/unix").unwrap_or_default();
    checks.push(others(&sockets, client.socket()));
    checks
}

fn running(info: &Info) -> Vec<Check> {
    let own = env!("CARGO_PKG_VERSION");
    let found = format!(
        "version {}, process {}, engine {} ({}), workers: {}",
        info.version, info.pid, info.engine, info.engine_reason, info.workers
    );
    let agent = if info.version == own {
        Check::ok("agent", found)
    } else {
        Check::warn("agent", found, format!("start it again as version {own}"))
    };
    let warnings = info.warnings.iter().map(|warning| {
        // Each says what to do by itself.
        Check {
            remedy: None,
            ..Check::warn("agent", warning, "")
        }
    });
    std::iter::once(agent).chain(warnings).collect()
}

/// No agent is no failure: people look before they start one.
fn unreachable(error: &ClientError) -> Check {
    Check {
        remedy: None,
        ..Check::warn("agent", error.to_string(), "")
    }
}

/// Other agents in this network namespace, by the listening sockets in `/proc/net/unix`.
fn others(sockets: &str, own: &Path) -> Check {
    let what = "other agents";
    let paths = sockets
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(7));
    let mut agents: Vec<&str> = paths
        .filter(|path| path.ends_with("/agent.sock") && Path::new(path) != own)
        .collect();
    agents.sort_unstable();
    agents.dedup();
    if agents.is_empty() {
        Check::ok(what, "none in this network namespace")
    } else {
        Check::warn(
            what,
            format!("{} in this network namespace", agents.join(", ")),
            "give each agent a namespace of its own, or stop all but one",
        )
    }
}

const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;

    #[test]
    fn other_agents_are_found_by_their_sockets() {
        let sockets = "Num RefCount Protocol Flags Type St Inode Path\n\
                       0: 2 0 10000 1 01 11 /run/tapestry/agent.sock\n\
                       1: 2 0 10000 1 01 12 /tmp/a/agent.sock\n\
                       2: 3 0 0 1 03 13\n";
        let check = others(sockets, Path::new("/run/tapestry/agent.sock"));
        assert_eq!(check.found, "/tmp/a/agent.sock in this network namespace");
        assert_eq!(others("", Path::new("/x")).level, Level::Ok);
    }

    #[test]
    fn warnings_of_the_agent_are_passed_on() {
        let info = Info {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: 7,
            state_dir: "/var/lib/tapestry".into(),
            engine: "epoll".into(),
            engine_reason: "asked for".into(),
            workers: 2,
            warnings: vec!["no nft: install nftables".into()],
        };
        let lines: Vec<_> = running(&info).iter().map(Check::to_string).collect();
        assert_eq!(lines[1], "warn  agent: no nft: install nftables");
        assert_eq!(running(&info)[0].level, Level::Ok);
    }
}

//! The agent itself, and others like it.

use std::path::Path;
use std::time::Duration;

use agent_api::{Client, ClientError, Info};
use agent_host::Holder;

use super::check::Check;
use super::host::Host;

pub(crate) async fn checks(client: &Client, host: &Host) -> Vec<Check> {
    let mut own_pid = None;
    let mut checks = match tokio::time::timeout(PATIENCE, client.info()).await {
        Ok(Ok(info)) => {
            own_pid = i32::try_from(info.pid).ok();
            running(&info)
        }
        Ok(Err(error)) => vec![unreachable(&error)],
        Err(_) => vec![Check::fail(
            "agent",
            format!("does not answer at {}", client.socket().display()),
            "look at its log, and start it again",
        )],
    };
    let sockets = host.read("proc/net/unix").unwrap_or_default();
    let holder = agent_host::holder().filter(|holder| own_pid != Some(holder.pid));
    checks.push(others(&sockets, holder, client.socket()));
    checks
}

fn running(info: &Info) -> Vec<Check> {
    let own = env!("CARGO_PKG_VERSION");
    let reason = match info.engine_reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let found = format!(
        "version {}, process {}, engine {}{reason}, workers: {}",
        info.version, info.pid, info.engine, info.workers
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
    std::iter::once(agent)
        .chain(std::iter::once(deaths(info)))
        .chain(warnings)
        .collect()
}

fn deaths(info: &Info) -> Check {
    let last = info.last_death.as_deref().unwrap_or("it is not known how");
    match info.deaths {
        0 => Check::ok("agent's deaths", "none"),
        deaths => Check::warn(
            "agent's deaths",
            format!("{deaths}, the last by {last}"),
            "look into the log for what was said before it",
        ),
    }
}

/// No agent is no failure: people look before they start one.
fn unreachable(error: &ClientError) -> Check {
    Check {
        remedy: None,
        ..Check::warn("agent", error.to_string(), "")
    }
}

/// Other agents in this network namespace: the one that holds it, and those whose listening sockets in `/proc/net/unix`
/// have the usual name.
fn others(sockets: &str, holder: Option<Holder>, own: &Path) -> Check {
    let what = "other agents";
    let paths = sockets
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(7));
    let held_at = holder.as_ref().and_then(|holder| holder.socket.clone());
    let mut agents: Vec<String> = paths
        .filter(|path| path.ends_with("/agent.sock") && Path::new(path) != own)
        .filter(|path| Some(Path::new(path)) != held_at.as_deref())
        .map(str::to_owned)
        .chain(holder.map(|holder| holder.to_string()))
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
        let own = Path::new("/run/tapestry/agent.sock");
        let check = others(sockets, None, own);
        assert_eq!(check.found, "/tmp/a/agent.sock in this network namespace");
        assert_eq!(others("", None, Path::new("/x")).level, Level::Ok);
        let holder = Holder {
            pid: 7,
            user: 0,
            socket: Some("/tmp/a/agent.sock".into()),
        };
        assert_eq!(
            others(sockets, Some(holder), own).found,
            "another agent (process 7 at /tmp/a/agent.sock) in this network namespace"
        );
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
            work: Vec::new(),
            deaths: 2,
            last_death: Some("signal: 9 (SIGKILL)".into()),
            warnings: vec!["no nft: install nftables".into()],
        };
        let lines: Vec<_> = running(&info).iter().map(Check::to_string).collect();
        let told = "warn  agent's deaths: 2, the last by signal: 9 (SIGKILL)";
        assert!(lines[1].starts_with(told), "{}", lines[1]);
        assert_eq!(lines[2], "warn  agent: no nft: install nftables");
        assert_eq!(running(&info)[0].level, Level::Ok);
    }
}

//! The packet filter, and others who rule over it.

use std::io;

use serde_json::Value;

use super::check::Check;
use super::host::{Host, output_of};

pub(crate) fn checks(host: &Host) -> Vec<Check> {
    let chains = output_of("nft", &["-j", "list", "chains"])
        .and_then(|text| serde_json::from_str::<Value>(&text).map_err(io::Error::from));
    let mut checks = vec![nft(chains.as_ref())];
    if let Ok(chains) = &chains {
        checks.push(forward_policy(&dropping_chains(chains)));
    }
    checks.extend([docker(host), firewalld(host)]);
    checks
}

fn nft(chains: Result<&Value, &io::Error>) -> Check {
    let what = "nft";
    match chains {
        Ok(_) => Check::ok(what, version().unwrap_or_else(|| "works".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::fail(
            what,
            "not installed, so nothing can be published or masqueraded",
            "install the package nftables",
        ),
        Err(error) => Check::fail(
            what,
            format!("does not work: {error}"),
            "run as root, and on a kernel with nf_tables",
        ),
    }
}

fn version() -> Option<String> {
    let text = output_of("nft", &["--version"]).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Base chains of others that drop forwarded packets unless a rule accepts them.
fn dropping_chains(chains: &Value) -> Vec<String> {
    let items = chains["nftables"].as_array().into_iter().flatten();
    let chains = items.filter_map(|item| item.get("chain"));
    let dropping = chains.filter(|chain| {
        chain["hook"] == "forward" && chain["policy"] == "drop" && chain["table"] != OUR_TABLE
    });
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    dropping
        .map(|chain| {
            let (family, table) = (word(&chain["family"]), word(&chain["table"]));
            format!("{family} {table} {}", word(&chain["name"]))
        })
        .collect()
}

fn forward_policy(dropping: &[String]) -> Check {
    let what = "forwarded packets";
    if dropping.is_empty() {
        return Check::ok(what, "no other chain drops them by default");
    }
    Check::warn(
        what,
        format!("dropped by default in {}", dropping.join(", ")),
        "where containers reach nothing outside, accept the links tsy* there, in both directions",
    )
}

fn docker(host: &Host) -> Check {
    let what = "Docker";
    if host.exists("run/docker.sock") || host.exists("sys/class/net/docker0") {
        Check::ok(what, "is here too; each keeps its own networks and rules")
    } else {
        Check::ok(what, "is not running here")
    }
}

fn firewalld(host: &Host) -> Check {
    let what = "firewalld";
    if host.exists("run/firewalld.pid") || host.exists("run/firewalld") {
        Check::warn(
            what,
            "is running, and rejects what its zones do not know",
            "firewall-cmd --permanent --zone=trusted --add-interface=tsy+ && firewall-cmd --reload",
        )
    } else {
        Check::ok(what, "is not running here")
    }
}

const OUR_TABLE: &str = "tapestry";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Level;
    use serde_json::json;

    #[test]
    fn chains_of_others_with_policy_drop_are_named() {
        let chain = |table: &str, hook: &str, policy: &str| json!({"chain": {"family": "ip", "table": table, "name": "FORWARD", "hook": hook, "policy": policy}});
        let chains = json!({"nftables": [
            {"metainfo": {"version": "1.0"}},
            chain("filter", "forward", "drop"),
            chain("filter", "input", "drop"),
            chain("mangle", "forward", "accept"),
            chain("tapestry", "forward", "drop"),
        ]});
        assert_eq!(dropping_chains(&chains), ["ip filter FORWARD"]);
        assert_eq!(forward_policy(&dropping_chains(&chains)).level, Level::Warn);
        assert_eq!(forward_policy(&[]).level, Level::Ok);
    }

    #[test]
    fn missing_nft_is_a_failure_with_its_package() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let check = nft(Err(&missing));
        assert_eq!(check.level, Level::Fail);
        assert!(check.remedy.unwrap().contains("nftables"));
    }
}

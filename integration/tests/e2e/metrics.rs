//! What the agent tells Prometheus: scraped by one, asked by each expression that we ship.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Host, eventually, run};

/// As packaging/prometheus/scrape.yml has it.
const LISTEN: &str = "127.0.0.1:9177";
const PROMETHEUS: &str = "127.0.0.1:9090";

/// Containers come and go, and the agent dies, while Prometheus looks on.
#[test]
fn prometheus_takes_what_is_told_and_answers_every_rule_and_panel() {
    let host = scraped_host();
    let prometheus = Prometheus::start(&host);
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle("web", "lab", &[]);
    host.exec(
        "web",
        "busybox nslookup web; busybox nslookup example.com; true",
    )
    .ok();
    let there = eventually(Duration::from_secs(20), "the network is seen", || {
        prometheus.value("tapestry_network_receive_frames_total{network=\"lab\"}")
    });
    for _ in 0..3 {
        let passing = host.endpoint("lab", "passing");
        assert!(passing.netns.pings(host.ipv4("web")));
        drop(passing);
    }
    host.kill_agent_proper();
    host.exec(
        "web",
        "ping -n -c1 -W5 $(busybox ip route | busybox awk '/default/ {print $3}')",
    )
    .ok();
    let grown = "increase(tapestry_dns_queries_total{network=\"lab\"}[1m]) >= 0";
    eventually(Duration::from_secs(20), "it is seen again", || {
        let now = prometheus.value("tapestry_network_receive_frames_total{network=\"lab\"}")?;
        let died = prometheus.value("tapestry_agent_deaths_total")?;
        (now > there && died > 0.0).then_some(())?;
        prometheus.value(grown)
    });

    for name in [
        "receive_frames",
        "receive_bytes",
        "transmit_frames",
        "transmit_bytes",
        "drops",
    ] {
        let backwards = format!("sum(resets(tapestry_network_{name}_total[5m]))");
        assert_eq!(prometheus.value(&backwards), Some(0.0), "{name}");
    }
    let targets = prometheus.ask("targets", &[]);
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(target["lastError"], "", "{target}");
    assert_eq!(target["health"], "up", "{target}");
    let rules = prometheus.ask("rules", &[]);
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    for expression in panels() {
        let answered = prometheus.results(&expression);
        let may_be_none = expression.contains("tunnel") || expression.contains("> 0");
        assert!(answered > 0 || may_be_none, "no data: {expression}");
    }
    named_metrics_are_told(&host);
}

#[test]
fn promtool_finds_nothing_wrong() {
    let host = scraped_host();
    host.idle("web", "bridge", &[]);
    let text = host.dir().join("metrics.txt");
    let text = text.display();
    host.netns.sh(&format!(
        "curl -sf -H 'Accept: text/plain' http://{LISTEN}/metrics > {text}; promtool check metrics < {text}"
    ));
    let rules = packaging("prometheus/tapestry.rules.yml");
    run(Command::new("promtool").args(["check", "rules"]).arg(rules)).ok();
}

/// Nothing but metrics is to be had at the address; the agent's own socket has them too, as both clients want them.
#[test]
fn metrics_are_read_at_the_socket_and_at_the_address_and_nothing_else_is() {
    let host = scraped_host();
    let get = |of: &str| host.netns.sh(&format!("curl -s {of}"));
    let status = "-o /dev/null -w '%{http_code}'";
    let socket = host.socket();
    let told = get(&format!(
        "--unix-socket {} http://agent/metrics",
        socket.display()
    ));
    assert!(told.ends_with("# EOF\n"), "{told}");
    assert!(
        told.contains("tapestry_network_info{network=\"bridge\""),
        "{told}"
    );
    assert!(told.contains("tapestry_metrics_per_port 1\n"), "{told}");
    let kind = get(&format!("-D - -o /dev/null http://{LISTEN}/metrics"));
    assert!(
        kind.contains("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    for path in ["/", "/v1/networks", "/v1/info"] {
        assert_eq!(get(&format!("{status} http://{LISTEN}{path}")), "404");
    }
    assert_eq!(
        get(&format!("{status} -X POST http://{LISTEN}/metrics")),
        "405"
    );
    // Whoever connects and says nothing keeps nobody out.
    let _silent = host.netns.enter(|| {
        let connect = |_| std::net::TcpStream::connect(LISTEN).unwrap();
        (0..8).map(connect).collect::<Vec<_>>()
    });
    assert!(get(&format!("-m 5 http://{LISTEN}/metrics")).ends_with("# EOF\n"));
}

#[test]
fn an_address_that_is_taken_is_warned_of_and_ports_are_left_out_where_that_is_said() {
    let host = Host::without_agent();
    configure(&host, "per_port = false");
    let _taken = host
        .netns
        .enter(|| std::net::TcpListener::bind(LISTEN).unwrap());
    host.launch();
    let info: Value = host.api("GET", "/v1/info", None).ok();
    let warnings = info["warnings"].to_string();
    assert!(
        warnings.contains("metrics are not served at 127.0.0.1:9177"),
        "{warnings}"
    );
    host.idle("web", "bridge", &[]);
    let socket = host.socket();
    let socket = socket.display();
    let told = host.netns.sh(&format!(
        "curl -s --unix-socket {socket} http://agent/metrics"
    ));
    assert!(told.contains("tapestry_metrics_per_port 0\n"), "{told}");
    assert!(
        told.contains("tapestry_network_endpoints{network=\"bridge\"} 1\n"),
        "{told}"
    );
    assert!(
        !told.contains("tapestry_port_") && !told.contains("container_network_"),
        "{told}"
    );
}

fn scraped_host() -> Host {
    let host = Host::without_agent();
    configure(&host, "");
    host.launch();
    host
}

fn configure(host: &Host, more: &str) {
    let path = host.dir().join("agent.toml");
    let before = fs::read_to_string(&path).unwrap();
    let metrics = format!("[metrics]\nlisten = {LISTEN:?}\n{more}\n");
    fs::write(path, before + &metrics).unwrap();
}

/// Every series of ours that a rule or a panel names is one that the agent tells, or tells of clusters alone.
fn named_metrics_are_told(host: &Host) {
    let told = host.netns.sh(&format!("curl -s http://{LISTEN}/metrics"));
    let rules = fs::read_to_string(packaging("prometheus/tapestry.rules.yml")).unwrap();
    let all = panels()
        .into_iter()
        .chain([rules])
        .collect::<Vec<_>>()
        .join("\n");
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("tapestry_")).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let is_of_clusters =
            name.starts_with("tapestry_tunnel") || name.starts_with("tapestry_cluster");
        let is_told = told.lines().any(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        // A reason that never happened has no series at a port.
        let is_rare = name == "tapestry_port_drops_total";
        assert!(is_told || is_of_clusters || is_rare, "{name}");
    }
}

/// The expressions of the dashboard, as Grafana asks them of everything.
fn panels() -> Vec<String> {
    let text = fs::read_to_string(packaging("grafana/tapestry.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|expression| {
            expression
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
                .replace("$network", ".*")
        })
        .collect();
    assert!(expressions.len() > 15, "{expressions:?}");
    expressions
}

fn packaging(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("packaging").join(file)
}

/// One that scrapes the host's agent five times a second.
struct Prometheus<'a> {
    host: &'a Host,
    child: Child,
}

impl<'a> Prometheus<'a> {
    fn start(host: &'a Host) -> Self {
        let scrape = fs::read_to_string(packaging("prometheus/scrape.yml")).unwrap();
        let rules = packaging("prometheus/tapestry.rules.yml");
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 500ms}}\n\
             rule_files: [{rules:?}]\nscrape_configs:\n{scrape}"
        );
        let path = host.dir().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        run(Command::new("promtool")
            .args(["check", "config"])
            .arg(&path))
        .ok();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", host.netns.name(), "prometheus"])
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                host.dir().join("tsdb").display()
            ))
            .args([
                &format!("--web.listen-address={PROMETHEUS}"),
                "--log.level=error",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let prometheus = Self {
            child: command.spawn().unwrap(),
            host,
        };
        eventually(Duration::from_secs(30), "Prometheus scrapes", || {
            prometheus.value("up{job=\"tapestry\"} == 1")
        });
        prometheus
    }

    fn ask(&self, what: &str, query: &[&str]) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sG", "-m", "10"]);
        for pair in query {
            command.args(["--data-urlencode", pair]);
        }
        command.arg(format!("http://{PROMETHEUS}/api/v1/{what}"));
        let answer = self.host.netns.run(&mut command);
        serde_json::from_str(&answer.stdout).unwrap_or_default()
    }

    /// The first of what an expression gives.
    fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.ask("query", &[&format!("query={expression}")]);
        let value = &answer["data"]["result"][0]["value"][1];
        value.as_str()?.parse().ok()
    }

    /// How many results an expression has; one that Prometheus does not take fails.
    fn results(&self, expression: &str) -> usize {
        let answer = self.ask("query", &[&format!("query={expression}")]);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().len()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

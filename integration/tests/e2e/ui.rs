//! The page of `tapestry ui`, in a real browser without a window; and who may not ask its server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use crate::harness::{Host, Output};

/// What `tapestry ui` printed: where the page is, and its token.
struct Page<'a> {
    host: &'a Host,
    server: Child,
    at: String,
    /// After the address's `#`.
    fragment: String,
}

impl<'a> Page<'a> {
    fn start(host: &'a Host, more: &[&str]) -> Self {
        let mut server = host.spawn(&[&["ui"], more].concat());
        let mut line = String::new();
        let out = server.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let (at, fragment) = line.trim_end().split_once("/#").unwrap();
        let (at, fragment) = (at.to_owned(), fragment.to_owned());
        Self {
            host,
            server,
            at,
            fragment,
        }
    }

    /// The field that lets its bearer ask.
    fn bearer(&self) -> String {
        let token = self.fragment.split('/').next().unwrap();
        format!("authorization: Bearer {token}")
    }

    /// The document that a browser makes of the page after some seconds of its own time.
    fn document(&self, query: &str) -> String {
        let profile = self.host.dir().join("browser");
        let mut browser = Command::new("chromium-headless-shell");
        browser
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(["--virtual-time-budget=5000", "--dump-dom"])
            .arg(format!("{}/?{query}#{}", self.at, self.fragment));
        self.host.netns.run(&mut browser).ok()
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("{}{path}", self.at));
        self.host.netns.run(&mut curl)
    }

    /// The status of the answer.
    fn status(&self, arguments: &[&str], path: &str) -> String {
        let answer = self.curl(arguments, path).ok();
        answer.lines().last().unwrap().to_owned()
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_browser_shows_every_port_of_every_network_and_the_one_that_was_chosen() {
    let host = Host::start();
    for network in ["crimson", "indigo"] {
        host.tapestry(&["network", "create", network]).ok();
    }
    let ends: Vec<_> = (0..20)
        .map(|n| host.endpoint("crimson", &format!("loom{n}")))
        .collect();
    let _weaver = host.endpoint("indigo", "weaver");
    let page = Page::start(&host, &[]);
    let document = page.document("network=crimson&port=loom7");
    for network in ["bridge", "crimson", "indigo"] {
        let hub = format!("data-network=\"{network}\"");
        assert!(document.contains(&hub), "{network}: {document}");
    }
    let count = |text: &str| document.matches(text).count();
    // Each network has a port of its host's besides.
    assert_eq!(count("data-port="), ends.len() + 1 + 3, "{document}");
    assert_eq!(count("data-chosen=\"loom7\""), 1, "{document}");
    assert!(document.contains(&ends[7].ipv4().to_string()), "{document}");
    // The table is of the network that was chosen.
    assert_eq!(count(">loom8</td>"), 1, "{document}");
    assert_eq!(count(">weaver</td>"), 0, "{document}");
    assert!(document.contains("3 networks"), "{document}");
}

#[test]
fn only_its_own_page_with_the_token_may_look_and_nothing_may_change() {
    let host = Host::start();
    let page = Page::start(&host, &[]);
    let bearer = page.bearer();
    let with = ["-H", bearer.as_str()];
    assert_eq!(page.status(&[], "/"), "200");
    assert_eq!(page.status(&[], "/v1/networks"), "401");
    let listed = page.curl(&with, "/v1/networks").ok();
    assert!(
        listed.contains("\"bridge\"") && listed.ends_with("200"),
        "{listed}"
    );
    let missing = page.curl(&with, "/v1/networks/nosuch").ok();
    assert!(
        missing.contains("nosuch") && missing.ends_with("404"),
        "{missing}"
    );
    let evil = [&with[..], &["-H", "host: evil.example"]].concat();
    assert_eq!(page.status(&evil, "/v1/networks"), "421");
    let other = [&with[..], &["-H", "origin: http://evil.example"]].concat();
    assert_eq!(page.status(&other, "/v1/networks"), "403");
    let delete = [&with[..], &["-X", "DELETE"]].concat();
    assert_eq!(page.status(&delete, "/v1/networks/bridge"), "403");
    assert_eq!(page.status(&with, "/v1/cluster/backup"), "403");

    let refused = host.tapestry(&["ui", "--listen", "0.0.0.0:0"]).refused(2);
    assert!(refused.contains("every address"), "{refused}");
}

#[test]
fn a_page_that_was_asked_to_sets_links_and_shows_what_goes_wrong_at_them() {
    let host = Host::start();
    let _loom = host.endpoint("bridge", "loom");
    let patch = ["-X", "PATCH", "-H", "content-type: application/json"];
    let delay = ["-d", r#"{"from":{"delay":"50ms"}}"#];
    for (more, status, forms, shown) in [
        (
            &[][..],
            "403",
            0,
            "sends: as they come; receives: as they come",
        ),
        (
            &["--set-links"],
            "200",
            1,
            "sends: delay 50ms; receives: as they come",
        ),
    ] {
        let page = Page::start(&host, more);
        let bearer = page.bearer();
        let with = ["-H", bearer.as_str()];
        let links = page.curl(&with, "/v1/links").ok();
        let (_, rest) = links.split_once("\"endpoint\":\"").unwrap();
        let (endpoint, _) = rest.split_once('"').unwrap();
        let path = format!("/v1/endpoints/{endpoint}/link");
        let set = page.status(&[&with[..], &patch, &delay].concat(), &path);
        assert_eq!(set, status, "{links}");
        let document = page.document("network=bridge&port=loom");
        assert!(document.contains(shown), "{document}");
        assert_eq!(
            document.matches("id=\"impairing\"").count(),
            forms,
            "{document}"
        );
    }
}

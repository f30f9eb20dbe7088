//! Ten thousand requests that a generator makes up from the API's own document.

use super::figures::Row;
use crate::harness::{Generator, Host};

#[test]
#[ignore = "takes minutes: make chaos"]
fn ten_thousand_generated_calls_break_nothing() {
    let host = Host::start();
    let document = host.api("GET", "/v1/openapi.json", None).body;
    let before = host.agent_pid();
    let generator = Generator::new(&host, &document);
    let mut seed = 0;
    while generator.calls() < CALLS && seed < SEEDS_MAX {
        seed += 1;
        // It fails where anything is odd in its eyes; what counts here is counted on the way.
        let checks = ["--checks", "not_a_server_error"];
        let phases = ["--phases", "coverage,fuzzing", "--max-examples", "100"];
        generator.run(seed, &[checks.as_slice(), &phases].concat());
    }
    let mut row = Row::new(
        16,
        "generated API calls",
        "0 crashes, 0 undocumented 5xx",
        "",
    );
    let calls = generator.calls();
    row.figure(format_args!("{calls} calls"));
    row.hold(calls >= CALLS, format_args!("{calls} calls only"));
    let broken = generator.broken();
    row.none("status 5xx", broken.len(), &broken);
    let is_same = host.agent_pid() == before;
    row.figure(if is_same { "no crash" } else { "a crash" });
    row.hold(is_same, "another agent answers");
    let panics: Vec<_> = host
        .log()
        .lines()
        .filter(|line| line.contains("panicked"))
        .map(str::to_owned)
        .collect();
    row.none("panics", panics.len(), &panics);
    row.finish();
}

const CALLS: usize = 10_000;
const SEEDS_MAX: usize = 10;

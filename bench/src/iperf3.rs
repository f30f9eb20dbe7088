//! iperf3: a TCP test between two stations, and its report.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::command::require;
use crate::lab::{Lab, Station};
use crate::traffic_process::{End, TrafficProcess};
use crate::trouble::Trouble;

/// One test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    pub(crate) streams: usize,
    pub(crate) both_ways: bool,
    pub(crate) seconds: f64,
    /// More words for the client.
    pub(crate) options: &'static [&'static str],
}

/// A test that goes on. Dropping it ends it.
pub(crate) struct Running<'l> {
    _server: TrafficProcess<'l>,
    client: TrafficProcess<'l>,
    limit: Duration,
}

impl Running<'_> {
    /// As [`Test::run`].
    pub(crate) fn end(self) -> Result<f64, Trouble> {
        parse(&self.client.output(self.limit)?)
    }
}

impl Test {
    /// Gbit/s of payload that arrived, in both directions together.
    pub(crate) fn run(&self, lab: &Lab, from: &Station, to: &Station) -> Result<f64, Trouble> {
        self.run_at(lab, from, to, to.address)
    }

    /// The same, to an address that leads to iperf3's own port of `to`.
    pub(crate) fn run_at(
        &self,
        lab: &Lab,
        from: &Station,
        to: &Station,
        address: Ipv4Addr,
    ) -> Result<f64, Trouble> {
        self.begin(lab, from, to, address)?.end()
    }

    pub(crate) fn begin<'l>(
        &self,
        lab: &'l Lab,
        from: &Station,
        to: &Station,
        address: Ipv4Addr,
    ) -> Result<Running<'l>, Trouble> {
        require("iperf3")?;
        let mut server = Command::new("iperf3");
        server.args(["--server", "--one-off", "--forceflush"]);
        let mut server = lab.program(End::Receiver, to, &mut server)?;
        while !server.line(Duration::from_secs(5))?.contains("listening") {}
        let mut client = Command::new("iperf3");
        client.args(["--client", &address.to_string(), "--json"]);
        client.args(["--time", &self.seconds.ceil().to_string()]);
        client.args(["--parallel", &self.streams.to_string()]);
        if self.both_ways {
            client.arg("--bidir");
        }
        client.args(self.options);
        Ok(Running {
            client: lab.program(End::Sender, from, &mut client)?,
            _server: server,
            limit: Duration::from_secs_f64(self.seconds + 15.0),
        })
    }
}

/// The payload rate of a report, in Gbit/s.
fn parse(report: &str) -> Result<f64, Trouble> {
    let failed = |reason: String| Trouble::Tool {
        tool: "iperf3".to_owned(),
        reason,
    };
    let report: Report = serde_json::from_str(report).map_err(|error| failed(error.to_string()))?;
    if let Some(error) = report.error {
        return Err(failed(error));
    }
    let there = report
        .end
        .sum_received
        .ok_or_else(|| failed("the report has no sum".to_owned()))?;
    let back = report.end.sum_received_bidir_reverse;
    Ok((there.bits_per_second + back.map_or(0.0, |sum| sum.bits_per_second)) / 1e9)
}

#[derive(Debug, Deserialize)]
struct Report {
    #[serde(default)]
    end: Ending,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Ending {
    sum_received: Option<Sum>,
    sum_received_bidir_reverse: Option<Sum>,
}

#[derive(Debug, Deserialize)]
struct Sum {
    bits_per_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_counts_not_what_was_sent() {
        let report = r#"{"start": {}, "intervals": [], "end": {"streams": [],
            "sum_sent": {"bits_per_second": 9e9}, "sum_received": {"bits_per_second": 8.5e9, "seconds": 2}}}"#;
        assert_eq!(parse(report).unwrap(), 8.5);
    }

    #[test]
    fn both_directions_add_up() {
        let report = r#"{"end": {"sum_received": {"bits_per_second": 2e9},
            "sum_received_bidir_reverse": {"bits_per_second": 3e9}}}"#;
        assert_eq!(parse(report).unwrap(), 5.0);
    }

    #[test]
    fn an_error_is_told_in_iperf3s_words() {
        let report =
            r#"{"start": {}, "intervals": [], "end": {}, "error": "unable to connect to server"}"#;
        let error = parse(report).unwrap_err().to_string();
        assert_eq!(error, "iperf3: unable to connect to server");
    }
}

//! Which frames are sampled, and who hears of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use agent_api::FlowQuery;
use serde::Deserialize;

use super::ReadConfig;

/// Of samples of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowsOptions {
    /// One frame in so many is sampled for good; absent: while somebody looks.
    pub(crate) sample: Option<NonZeroU32>,
    /// Who gets them, by sFlow.
    pub(crate) collector: Option<SocketAddr>,
    /// How often the collector hears what ports have counted.
    pub(crate) counters: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFlows {
    sample: Option<u32>,
    collector: Option<String>,
    protocol: Option<String>,
    counters_s: Option<u32>,
}

impl RawFlows {
    pub(super) fn checked(self) -> Result<FlowsOptions, ReadConfig> {
        let within = |name, given: Option<u32>, default, least, most| match given.unwrap_or(default)
        {
            number if (least..=most).contains(&number) => Ok(number),
            _ => Err(ReadConfig::Flows { name, least, most }),
        };
        let default = if self.collector.is_some() { SAMPLE } else { 0 };
        let sample = within("sample", self.sample, default, 0, FlowQuery::SAMPLE_MAX)?;
        let counters_s = within("counters_s", self.counters_s, COUNTERS_S, 1, COUNTERS_MAX_S)?;
        let collector = self.collector.map(collector).transpose()?;
        match self.protocol.as_deref() {
            None | Some("sflow") => {}
            Some(other) => return Err(ReadConfig::FlowsProtocol(other.to_owned())),
        }
        Ok(FlowsOptions {
            sample: NonZeroU32::new(sample),
            collector,
            counters: Duration::from_secs(counters_s.into()),
        })
    }
}

fn collector(given: String) -> Result<SocketAddr, ReadConfig> {
    let address = given
        .strip_prefix("udp://")
        .and_then(|rest| rest.parse().ok());
    match address {
        Some(address) if SocketAddr::port(&address) != 0 => Ok(address),
        _ => Err(ReadConfig::Collector(given)),
    }
}

/// As switches of such rates do.
const SAMPLE: u32 = 1000;
const COUNTERS_S: u32 = 20;
const COUNTERS_MAX_S: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<FlowsOptions, String> {
        let raw: RawFlows = toml::from_str(text).unwrap();
        raw.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn frames_are_sampled_for_good_where_somebody_wants_them() {
        let none = checked("").unwrap();
        assert_eq!((none.sample, none.collector), (None, None));
        let told = checked("collector = \"udp://192.0.2.9:6343\"\nprotocol = \"sflow\"").unwrap();
        assert_eq!(told.sample, NonZeroU32::new(1000));
        assert_eq!(told.collector, Some(([192, 0, 2, 9], 6343).into()));
        assert_eq!(told.counters, Duration::from_secs(20));
        let own = checked("sample = 50\ncounters_s = 5").unwrap();
        assert_eq!((own.sample, own.collector), (NonZeroU32::new(50), None));
        assert_eq!(checked("sample = 0").unwrap().sample, None);
    }

    #[test]
    fn what_is_no_collector_is_refused() {
        for wrong in [
            "192.0.2.9:6343",
            "udp://192.0.2.9",
            "udp://a:6343",
            "udp://192.0.2.9:0",
        ] {
            let refused = checked(&format!("collector = {wrong:?}")).unwrap_err();
            assert!(refused.contains(wrong), "{refused}");
        }
        let refused = checked("protocol = \"netflow\"").unwrap_err();
        assert!(refused.contains("\"netflow\" is unknown"), "{refused}");
        let refused = checked("sample = 2000000").unwrap_err();
        assert!(refused.contains("sample is out of range"), "{refused}");
    }
}

//! What a scrape answers: series by metric, and their text.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
    prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::metric::{Kind, Metric};
use crate::latency::Distribution;

/// A label's value; those of one port share theirs.
pub(super) type Label = Arc<str>;

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// Prometheus' own, of before.
    Text,
}

impl Format {
    /// The `Content-Type`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a client takes, by its `Accept`: the new one, unless it names the old one alone.
    pub(crate) fn accepted(accept: &str) -> Self {
        let names_old = accept.contains("text/plain");
        match names_old && !accept.contains("application/openmetrics-text") {
            true => Self::Text,
            false => Self::OpenMetrics,
        }
    }
}

/// The series of every metric, by [`Metric::index`].
#[derive(Debug)]
pub(super) struct Exposition(Vec<Vec<Series>>);

#[derive(Debug)]
struct Series {
    labels: Vec<Label>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Spread(Distribution),
}

impl Exposition {
    pub(super) fn new() -> Self {
        Self(Metric::ALL.iter().map(|_| Vec::new()).collect())
    }

    pub(super) fn whole(&mut self, metric: Metric, labels: &[&Label], value: u64) {
        self.add(metric, labels, Value::Whole(value));
    }

    pub(super) fn real(&mut self, metric: Metric, labels: &[&Label], value: f64) {
        self.add(metric, labels, Value::Real(value));
    }

    pub(super) fn spread(&mut self, metric: Metric, labels: &[&Label], value: Distribution) {
        self.add(metric, labels, Value::Spread(value));
    }

    /// `labels` are in the order of the metric's entry.
    fn add(&mut self, metric: Metric, labels: &[&Label], value: Value) {
        debug_assert_eq!(metric.entry().labels.len(), labels.len(), "{metric:?}");
        self.0[metric.index()].push(Series {
            labels: labels.iter().copied().cloned().collect(),
            value,
        });
    }

    pub(super) fn text(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut written = String::new();
        // Writing into memory does not fail, and no value here is one that cannot be written.
        let _ = match format {
            Format::OpenMetrics => text::encode(&mut written, &registry),
            Format::Text => prometheus_text::encode(&mut written, &registry),
        };
        written
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, series) in Metric::ALL.iter().zip(&self.0) {
            let entry = metric.entry();
            if series.is_empty() {
                continue;
            }
            let unit = entry.unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match entry.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = entry.help.trim();
            let mut family = encoder.encode_descriptor(entry.name, help, unit.as_ref(), kind)?;
            for series in series {
                let labels = Labels {
                    names: entry.labels,
                    values: &series.labels,
                };
                match entry.labels {
                    [] => series.value.encode(entry.kind, &mut family)?,
                    _ => series
                        .value
                        .encode(entry.kind, &mut family.encode_family(&labels)?)?,
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, kind: Kind, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (Kind::Counter, Self::Whole(value)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
            }
            (Kind::Counter, Self::Real(value)) => {
                encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
            }
            (_, Self::Whole(value)) => encoder.encode_gauge(value),
            (_, Self::Real(value)) => encoder.encode_gauge(value),
            (_, Self::Spread(value)) => encoder.encode_histogram::<NoLabelSet>(
                value.sum,
                value.count(),
                &value.buckets,
                None,
            ),
        }
    }
}

/// Names and values of one series.
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [Label],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.names.iter().zip(self.values) {
            (*name, &**value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(format: Format) -> String {
        let mut told = Exposition::new();
        let label = |text: &str| Label::from(text);
        told.whole(Metric::AgentDeaths, &[], 2);
        let labels = [label("a\"b\\c\nd"), label("tap_full")];
        told.whole(Metric::NetworkDrops, &[&labels[0], &labels[1]], 7);
        let attached = Distribution {
            sum: 0.5,
            buckets: vec![(0.001, 1), (f64::INFINITY, 2)],
        };
        told.spread(Metric::Attach, &[], attached);
        told.real(Metric::WorkerCpu, &[&label("0")], 1.25);
        told.text(format)
    }

    #[test]
    fn the_text_is_open_metrics() {
        let text = told(Format::OpenMetrics);
        let expected = [
            "# TYPE tapestry_agent_deaths counter",
            "tapestry_agent_deaths_total 2",
            r#"tapestry_network_drops_total{network="a\"b\\c\nd",reason="tap_full"} 7"#,
            "# TYPE tapestry_worker_cpu_seconds counter",
            "# UNIT tapestry_worker_cpu_seconds seconds",
            r#"tapestry_worker_cpu_seconds_total{worker="0"} 1.25"#,
            "# TYPE tapestry_endpoint_attach_duration_seconds histogram",
            r#"tapestry_endpoint_attach_duration_seconds_bucket{le="0.001"} 1"#,
            r#"tapestry_endpoint_attach_duration_seconds_bucket{le="+Inf"} 3"#,
            "tapestry_endpoint_attach_duration_seconds_count 3",
            "tapestry_endpoint_attach_duration_seconds_sum 0.5",
        ];
        for line in expected {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("tapestry_network_info"), "it has no series");
    }

    #[test]
    fn who_takes_the_old_text_alone_gets_that() {
        for accept in ["", "*/*", "application/openmetrics-text,text/plain;q=0.5"] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics);
        }
        assert_eq!(Format::accepted("text/plain;version=0.0.4"), Format::Text);
        let text = told(Format::Text);
        assert!(
            text.contains("# TYPE tapestry_agent_deaths_total counter\n"),
            "{text}"
        );
        assert!(!text.contains("# EOF"));
    }
}

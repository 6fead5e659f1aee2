//! Families of metrics: a name, what it means, and a number for each set of labels.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::shared::stats::{TimeCounts, Times};

/// Labels by name.
pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Clone)]
enum Number {
    Whole(u64),
    Real(f64),
    Times { sum: f64, counts: TimeCounts },
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    rows: Vec<(Labels, Number)>,
}

/// In which form metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older text format of Prometheus, which other tools read.
    Prometheus,
}

impl Form {
    /// What a request with that Accept header wants.
    pub fn wanted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The type of its content.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

/// A family that is being filled.
pub(super) struct Rows<'f>(&'f mut Vec<(Labels, Number)>);

impl Rows<'_> {
    /// A whole number.
    pub(super) fn whole(&mut self, labels: Labels, number: u64) {
        self.0.push((labels, Number::Whole(number)));
    }

    /// A count.
    pub(super) fn count(&mut self, labels: Labels, number: usize) {
        self.whole(labels, number as u64);
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, labels: Labels, is: bool) {
        self.whole(labels, is.into());
    }

    /// Any number; of seconds above all.
    pub(super) fn real(&mut self, labels: Labels, number: f64) {
        self.0.push((labels, Number::Real(number)));
    }

    /// Durations, with their sum in seconds.
    pub(super) fn times(&mut self, labels: Labels, sum: f64, counts: TimeCounts) {
        self.0.push((labels, Number::Times { sum, counts }));
    }
}

impl Families {
    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType, fill: impl FnOnce(&mut Rows<'_>)) {
        let mut rows = Vec::new();
        fill(&mut Rows(&mut rows));
        self.0.push(Family { name, help, kind, rows });
    }

    /// What goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, fill: impl FnOnce(&mut Rows<'_>)) {
        self.add(name, help, MetricType::Gauge, fill);
    }

    /// What only grows; its name ends in `_total` where it is written.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, fill: impl FnOnce(&mut Rows<'_>)) {
        self.add(name, help, MetricType::Counter, fill);
    }

    /// How long things took.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str, fill: impl FnOnce(&mut Rows<'_>)) {
        self.add(name, help, MetricType::Histogram, fill);
    }

    /// Names and what they mean, for the documentation.
    pub fn names(&self) -> impl Iterator<Item = (String, &'static str)> {
        let end = |kind| if matches!(kind, MetricType::Counter) { "_total" } else { "" };
        self.0.iter().map(move |family| (format!("{}{}", family.name, end(family.kind)), family.help))
    }

    /// All of it as text.
    pub fn write(self, form: Form) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::with_capacity(64 * 1024);
        // A string takes everything.
        let _ = match form {
            Form::OpenMetrics => text::encode(&mut out, &registry),
            Form::Prometheus => prometheus_text::encode(&mut out, &registry),
        };
        out
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.rows.is_empty()) {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for (labels, number) in &family.rows {
                if labels.is_empty() {
                    write(&mut metric, family.kind, number)?;
                } else {
                    write(&mut metric.encode_family(labels)?, family.kind, number)?;
                }
            }
        }
        Ok(())
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: MetricType, number: &Number) -> Result<(), fmt::Error> {
    match (kind, number) {
        (_, Number::Times { sum, counts }) => {
            let buckets: Vec<(f64, u64)> = Times::bounds().zip(*counts).collect();
            metric.encode_histogram::<NoLabelSet>(*sum, counts.iter().sum(), &buckets, None)
        }
        (MetricType::Counter, Number::Whole(number)) => metric.encode_counter::<NoLabelSet, _, f64>(number, None),
        (MetricType::Counter, Number::Real(number)) => metric.encode_counter::<NoLabelSet, _, f64>(number, None),
        (_, Number::Whole(number)) => metric.encode_gauge(number),
        (_, Number::Real(number)) => metric.encode_gauge(number),
    }
}

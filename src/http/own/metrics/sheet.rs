//! Writes families of metrics, each with its help, its type and its samples.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use crate::domain::stats::Latencies;

/// A sample's labels.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// The sheet being written.
#[derive(Debug)]
pub(super) struct Sheet<'a>(pub(super) DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn family<'s, V>(
        &mut self,
        (name, help): (&str, &str),
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'s>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            write(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    /// Writes counters, which only grow. The name is given without the `_total` that it is scraped with.
    pub(super) fn counters<'s, V: EncodeCounterValue>(
        &mut self,
        named: (&str, &str),
        samples: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        const NONE: Option<&Exemplar<NoLabelSet, f64>> = None;
        self.family(named, MetricType::Counter, samples, |sample, value| sample.encode_counter(&value, NONE))
    }

    /// Writes a counter without labels.
    pub(super) fn counter(&mut self, named: (&str, &str), value: u64) -> fmt::Result {
        self.counters(named, [(Labels::new(), value)])
    }

    /// Writes gauges, which rise and fall.
    pub(super) fn gauges<'s, V: EncodeGaugeValue>(
        &mut self,
        named: (&str, &str),
        samples: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        self.family(named, MetricType::Gauge, samples, |sample, value| sample.encode_gauge(&value))
    }

    /// Writes a gauge without labels.
    pub(super) fn gauge(&mut self, named: (&str, &str), value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(named, [(Labels::new(), value)])
    }

    /// Writes histograms of times in seconds.
    pub(super) fn histograms<'s>(
        &mut self,
        named: (&str, &str),
        samples: impl IntoIterator<Item = (Labels<'s>, &'s Latencies)>,
    ) -> fmt::Result {
        self.family(named, MetricType::Histogram, samples, |sample, times| {
            let buckets: Vec<(f64, u64)> = times.buckets().map(|(bound, count)| (bound.as_secs_f64(), count)).collect();
            sample.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets, None)
        })
    }
}

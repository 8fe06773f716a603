//! What is counted, and how it is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Default)]
pub struct Tally {
    /// Answers that came, whole and right, while it was measured.
    pub answers: u64,
    /// Events that came while it was measured.
    pub events: u64,
    /// Microseconds to the end of an answer, or to the first event of a stream.
    pub latencies: Vec<u32>,
    /// Microseconds between two arrivals of events on one connection.
    pub gaps: Vec<u32>,
    /// Microseconds from the sending of an event to its arrival.
    pub ages: Vec<u32>,
    /// Whatever went wrong, also before and after.
    pub faults: BTreeMap<String, u64>,
}

impl Tally {
    pub fn fault(&mut self, what: String) {
        *self.faults.entry(what).or_default() += 1;
    }
}

/// What the processes have used.
pub struct Usage {
    pub wall: Duration,
    pub cpu_nanos: u64,
    /// Memory before the first connection, and at the end of the measurement.
    pub idle_kib: u64,
    pub loaded_kib: u64,
}

/// The value below which so large a part of the others lies; null where there are none.
fn percentile(sorted: &[u32], part: f64) -> String {
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or_else(|| "null".into(), ToString::to_string)
}

pub fn figures(tally: &mut Tally, usage: &Usage) -> String {
    let mut text = format!(
        r#"{{"seconds":{},"answers":{},"events":{},"cpu_us":{},"idle_kib":{},"loaded_kib":{}"#,
        usage.wall.as_secs_f64(),
        tally.answers,
        tally.events,
        usage.cpu_nanos / 1000,
        usage.idle_kib,
        usage.loaded_kib
    );
    for (name, values) in [("latency", &mut tally.latencies), ("gap", &mut tally.gaps), ("age", &mut tally.ages)] {
        values.sort_unstable();
        let _ = write!(
            text,
            r#","{name}_us":{{"count":{},"p50":{},"p99":{},"max":{}}}"#,
            values.len(),
            percentile(values, 0.5),
            percentile(values, 0.99),
            percentile(values, 1.0)
        );
    }
    let faults: Vec<String> = tally.faults.iter().map(|(what, count)| format!("{:?}:{count}", what)).collect();
    let _ = write!(text, r#","errors":{},"faults":{{{}}}}}"#, tally.faults.values().sum::<u64>(), faults.join(","));
    text
}

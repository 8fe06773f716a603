//! What the upstreams themselves have noted, held against when the gateway says that each of them was out: a second count of
//! leaks, which uses nothing of how the gateway counts its own.
//!
//! A request that was written right before an isolation arrives right after it. So the first [`UNDER_WAY`] of an outage are not
//! judged; how late the latest of these came is told.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::time::sleep;

use super::eventually::now;
use super::upstream::{Arrival, Sort};

/// How long what was written may be on its way. Bytes on loopback take no time, but whoever is to note them may have to wait
/// for a processor.
pub(crate) const UNDER_WAY: Duration = Duration::from_millis(100);
/// How often the heart beats, and how late a beat is that tells of a process that stood still.
const BEAT: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(100);

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Span {
    pub(crate) fn length(&self) -> Duration {
        self.until - self.from
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// One clock for both sides: what time of day the monotonic clock's moment was.
#[derive(Clone, Copy)]
pub(crate) struct Clocks {
    at: Instant,
    time_of_day: SystemTime,
}

impl Clocks {
    #[expect(clippy::disallowed_methods, reason = "the gateway's events have times of day")]
    pub(crate) fn read() -> Self {
        Self { at: now(), time_of_day: SystemTime::now() }
    }

    fn instant(&self, event: &Value) -> Instant {
        let told = humantime::parse_rfc3339(event["at"].as_str().unwrap()).unwrap();
        match told.duration_since(self.time_of_day) {
            Ok(later) => self.at + later,
            Err(earlier) => self.at.checked_sub(earlier.duration()).unwrap(),
        }
    }
}

/// How much of a span is left without others, which are in the order of their beginnings.
pub(crate) fn without(whole: &Span, others: &[Span]) -> Duration {
    let (mut left, mut from) = (Duration::ZERO, whole.from);
    for other in others {
        left += other.from.min(whole.until).saturating_duration_since(from);
        from = from.max(other.until);
    }
    left + whole.until.saturating_duration_since(from)
}

/// When an endpoint was out, by the gateway's events.
pub(crate) fn outages(events: &[Value], endpoint: &str, clocks: &Clocks) -> Vec<Span> {
    let mut outages = Vec::new();
    let mut since = None;
    for event in events.iter().filter(|event| event["endpoint"] == endpoint) {
        match event["kind"].as_str().unwrap() {
            "isolated" => since = since.or(Some(clocks.instant(event))),
            "recovered" => {
                outages.extend(since.take().map(|from| Span { from, until: clocks.instant(event) }));
            }
            _ => {}
        }
    }
    outages.extend(since.map(|from| Span { from, until: now() }));
    outages
}

/// What an upstream's log shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) outages: usize,
    /// How long it was out, and how much of that was judged.
    pub(crate) out: Duration,
    pub(crate) judged: Duration,
    /// All traffic that it has had.
    pub(crate) traffic: usize,
    /// Of that, what came in the beginning of an outage, and how long after the isolation the latest came.
    pub(crate) was_under_way: usize,
    pub(crate) latest: Duration,
    /// How long after the isolation each of the others came: these should never have been sent.
    pub(crate) leaks: Vec<Duration>,
}

/// How much of the outages is judged. While the process stood still nobody could note anything in time.
pub(crate) fn judged(outages: &[Span], stood_still: &[Span]) -> Duration {
    let noted = outages.iter().filter(|outage| !stood_still.iter().any(|still| still.overlaps(outage)));
    noted.map(|outage| outage.length().saturating_sub(UNDER_WAY)).sum()
}

/// Holds a log against the outages.
pub(crate) fn inspect(log: &[Arrival], outages: &[Span], stood_still: &[Span]) -> Findings {
    let out = outages.iter().map(Span::length).sum();
    let judged = judged(outages, stood_still);
    let mut findings = Findings { outages: outages.len(), out, judged, ..Findings::default() };
    for arrival in log.iter().filter(|arrival| arrival.sort == Sort::Traffic) {
        findings.traffic += 1;
        let Some(outage) = outages.iter().find(|out| out.from <= arrival.at && arrival.at < out.until) else {
            continue;
        };
        let after = arrival.at - outage.from;
        if stood_still.iter().any(|still| still.overlaps(outage)) {
            continue;
        }
        if after < UNDER_WAY {
            findings.was_under_way += 1;
            findings.latest = findings.latest.max(after);
        } else {
            findings.leaks.push(after);
        }
    }
    findings
}

/// Notes when the process stood still, be it stopped or without a processor, for as long as it is awaited.
pub(crate) async fn heart(stood_still: &std::cell::RefCell<Vec<Span>>, is_over: impl Fn() -> bool) {
    while !is_over() {
        let from = now();
        sleep(BEAT).await;
        let until = now();
        if until - from > BEAT + LATE {
            stood_still.borrow_mut().push(Span { from, until });
        }
    }
}

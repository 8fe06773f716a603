//! Whether the promises held in one cycle of the demonstration: judged by the separate counts of the upstreams, the
//! client and the gateway's stats.

use std::time::{Duration, SystemTime};

use super::client::Tally;
use super::observer::Stats;
use super::upstream::{Occasion, Report};

/// How the gateway isolated the broken upstream. Places are indices into the upstreams' reports: what counts is the order
/// in which an upstream itself saw things, so no two clocks have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Isolation {
    /// When it went to the failure queue, to the millisecond.
    pub(super) at: SystemTime,
    /// The number of reports when no attempt there that had begun before the isolation was under way any more. What came
    /// until then may have been sent before it.
    pub(super) drained: usize,
    /// How long after the isolation that was seen.
    pub(super) draining: Duration,
}

/// How the gateway moved the broken upstream, there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moves {
    /// To the failure queue.
    pub(super) isolation: Isolation,
    /// The place of the report on the answer that brought it back.
    pub(super) proof: usize,
    /// When it was back in its home queue, to the millisecond.
    pub(super) recovered: SystemTime,
}

impl Moves {
    /// How long it was isolated.
    pub(super) fn isolated_for(&self) -> Duration {
        self.recovered.duration_since(self.isolation.at).unwrap_or_default()
    }
}

/// What was seen of one cycle.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The upstream that was broken and mended.
    pub(super) broken: &'static str,
    /// The upstream that should stay idle.
    pub(super) secondary: &'static str,
    /// The queue moves; `None` if one of them did not come in time.
    pub(super) moves: Option<Moves>,
    /// What the upstreams reported.
    pub(super) reports: Vec<Report>,
    /// What the client saw.
    pub(super) tally: Tally,
    /// The gateway's stats at the end, with no request under way.
    pub(super) stats: Stats,
}

/// The requests of traffic that one upstream got, by when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    /// Before the isolation.
    pub(super) before: u64,
    /// From the isolation to the end of the last attempt that had begun before it.
    pub(super) under_way: u64,
    /// From then to the answer that brought it back: for the broken upstream this must be 0.
    pub(super) isolated: u64,
    /// From that answer on.
    pub(super) after: u64,
}

/// The traffic of this upstream by time. Without a `proof` it is still isolated.
pub(super) fn spans(reports: &[Report], upstream: &str, isolation: &Isolation, proof: Option<usize>) -> Spans {
    let mut spans = Spans::default();
    // The isolation is only known to the millisecond: it happened within it.
    let isolated = isolation.at + Duration::from_millis(1);
    for (place, report) in reports.iter().enumerate().filter(|(_, report)| is(report, upstream, Occasion::Traffic)) {
        let span = if proof.is_some_and(|proof| place >= proof) {
            &mut spans.after
        } else if place >= isolation.drained {
            &mut spans.isolated
        } else if report.at < isolated {
            &mut spans.before
        } else {
            &mut spans.under_way
        };
        *span += 1;
    }
    spans
}

impl Seen {
    /// The traffic of this upstream by time.
    pub(super) fn spans(&self, upstream: &str, moves: &Moves) -> Spans {
        spans(&self.reports, upstream, &moves.isolation, Some(moves.proof))
    }

    /// How many verifications reached this upstream.
    pub(super) fn verifications(&self, upstream: &str) -> usize {
        self.count(upstream, Occasion::Verification)
    }

    fn count(&self, upstream: &str, occasion: Occasion) -> usize {
        self.reports.iter().filter(|report| is(report, upstream, occasion)).count()
    }
}

/// Whether a report is from this upstream and of this kind.
pub(super) fn is(report: &Report, upstream: &str, occasion: Occasion) -> bool {
    report.upstream == upstream && report.occasion == occasion
}

/// A promise, and whether it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// What is promised.
    pub(super) words: &'static str,
    /// Whether it held.
    pub(super) held: bool,
    /// What shows it.
    pub(super) evidence: String,
}

/// Judges a cycle.
pub(super) fn judge(seen: &Seen) -> Vec<Promise> {
    vec![no_client_error(seen), no_traffic_while_isolated(seen), no_leak(seen), recovered(seen), secondary_idle(seen)]
}

fn no_client_error(seen: &Seen) -> Promise {
    let Tally { plain, streamed, errors, first_errors } = &seen.tally;
    let shown =
        if first_errors.is_empty() { String::new() } else { format!(", such as: {}", first_errors.join(" | ")) };
    Promise {
        words: "no client saw an error",
        // Without any answer, nothing would be shown.
        held: *errors == 0 && *plain > 0 && *streamed > 0,
        evidence: format!("{plain} whole answers and {streamed} whole streams, {errors} errors{shown}"),
    }
}

fn no_traffic_while_isolated(seen: &Seen) -> Promise {
    let words = "the isolated upstream got not one request of traffic";
    let Some(moves) = &seen.moves else { return missing_moves(words) };
    let Spans { under_way, isolated, .. } = seen.spans(seen.broken, moves);
    Promise {
        words,
        held: isolated == 0,
        evidence: format!(
            "{isolated} requests in {:.1} s, by {}'s own count; told apart are {under_way} that came between its isolation \
             and the end of the last attempt begun before, {} ms later",
            moves.isolated_for().as_secs_f64(),
            seen.broken,
            moves.isolation.draining.as_millis(),
        ),
    }
}

fn no_leak(seen: &Seen) -> Promise {
    let leaks = seen.stats.leaks;
    Promise {
        words: "the gateway's own audit agrees",
        held: leaks == 0,
        evidence: format!("leaks in its stats: {leaks}"),
    }
}

fn recovered(seen: &Seen) -> Promise {
    let words = "the mended upstream came back";
    let Some(moves) = &seen.moves else { return missing_moves(words) };
    let after = seen.spans(seen.broken, moves).after;
    let row = seen.stats.row(seen.broken);
    let (standing, breaker) = row.map_or(("unknown", "unknown"), |row| (&row.standing, &row.breaker));
    Promise {
        words,
        held: standing == "primary" && breaker == "closed" && after > 0,
        evidence: format!(
            "{} verifications by its own count, the last one passed; standing {standing}, breaker {breaker}, {after} \
             requests since",
            seen.verifications(seen.broken),
        ),
    }
}

fn secondary_idle(seen: &Seen) -> Promise {
    let requests = seen.count(seen.secondary, Occasion::Traffic);
    Promise {
        words: "with a sound primary left the secondary stayed idle",
        held: requests == 0,
        evidence: format!("{requests} requests, by {}'s own count", seen.secondary),
    }
}

fn missing_moves(words: &'static str) -> Promise {
    Promise { words, held: false, evidence: "not seen: isolation and recovery did not both come in time".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::observer::Row;
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn report(upstream: &'static str, seconds: u64, occasion: Occasion) -> Report {
        Report { upstream, at: at(seconds), occasion }
    }

    fn traffic(upstream: &'static str, seconds: u64) -> Report {
        report(upstream, seconds, Occasion::Traffic)
    }

    /// A cycle in which every promise held: isolated at 10, drained at 12, recovered at 20.
    fn sound() -> Seen {
        let reports = vec![
            traffic("south", 9),
            traffic("south", 11),
            // Here the isolation is drained.
            traffic("north", 15),
            report("south", 19, Occasion::Verification),
            report("south", 20, Occasion::Proof),
            traffic("south", 20),
            traffic("south", 21),
        ];
        let isolation = Isolation { at: at(10), drained: 2, draining: Duration::from_secs(2) };
        Seen {
            broken: "south",
            secondary: "spare",
            moves: Some(Moves { isolation, proof: 4, recovered: at(20) }),
            reports,
            tally: Tally { plain: 3, streamed: 2, ..Tally::default() },
            stats: Stats { leaks: 0, endpoints: vec![row("primary", "closed")] },
        }
    }

    fn row(standing: &str, breaker: &str) -> Row {
        Row { id: "south".to_owned(), standing: standing.to_owned(), breaker: breaker.to_owned(), in_flight: 0 }
    }

    /// The indices of the promises that did not hold.
    fn broken(seen: &Seen) -> Vec<usize> {
        judge(seen).iter().enumerate().filter(|(_, promise)| !promise.held).map(|(index, _)| index).collect()
    }

    fn check(what: &str, change: impl FnOnce(&mut Seen), expected: &[usize]) {
        let mut seen = sound();
        change(&mut seen);
        assert_eq!(broken(&seen), expected, "{what}");
    }

    #[test]
    fn each_promise_is_broken_by_what_it_excludes_and_by_nothing_else() {
        check("nothing", |_| {}, &[]);
        check("a client's error", |seen| seen.tally.errors = 1, &[0]);
        check("no plain answer", |seen| seen.tally.plain = 0, &[0]);
        check("no streamed answer", |seen| seen.tally.streamed = 0, &[0]);
        check("traffic while isolated", |seen| seen.reports[2] = traffic("south", 13), &[1]);
        check("traffic right before the proof", |seen| seen.reports[3] = traffic("south", 20), &[1]);
        check("a leak in the stats", |seen| seen.stats.leaks = 1, &[2]);
        check("an open breaker", |seen| seen.stats.endpoints = vec![row("primary", "open")], &[3]);
        check("still isolated", |seen| seen.stats.endpoints = vec![row("failure", "closed")], &[3]);
        check("no row", |seen| seen.stats.endpoints.clear(), &[3]);
        check("no traffic since", |seen| seen.reports.truncate(5), &[3]);
        check("a busy secondary", |seen| seen.reports.push(traffic("spare", 1)), &[4]);
        check("a move that did not come", |seen| seen.moves = None, &[1, 3]);
    }

    #[test]
    fn verifications_are_no_traffic() {
        check(
            "verifications of everybody",
            |seen| {
                seen.reports[2] = report("south", 14, Occasion::Verification);
                seen.reports.push(report("spare", 14, Occasion::Verification));
            },
            &[],
        );
    }

    #[test]
    fn traffic_is_counted_by_when_it_came() {
        let seen = sound();
        let spans = seen.spans("south", &seen.moves.unwrap());
        assert_eq!(spans, Spans { before: 1, under_way: 1, isolated: 0, after: 2 });
        let later = Isolation { at: at(11), ..seen.moves.unwrap().isolation };
        let lasting = super::spans(&seen.reports, "south", &later, None);
        assert_eq!(lasting, Spans { before: 2, under_way: 0, isolated: 2, after: 0 });
    }
}

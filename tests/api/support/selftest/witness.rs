//! The witness finds what it is there to find.

use std::time::Duration;

use serde_json::json;

use crate::support::eventually::now;
use crate::support::upstream::{Arrival, Sort};
use crate::support::witness::{Clocks, Span, UNDER_WAY, inspect, judged, outages, without};

#[test]
fn traffic_in_an_outage_is_a_leak_unless_it_was_under_way_when_that_began() {
    let start = now();
    let at = |millis| start + Duration::from_millis(millis);
    let outage = [Span { from: at(1_000), until: at(2_000) }];
    for (millis, sort, under_way, leaks) in [
        (999, Sort::Traffic, 0, 0),
        (1_000, Sort::Traffic, 1, 0),
        (1_099, Sort::Traffic, 1, 0),
        (1_100, Sort::Traffic, 0, 1),
        (1_100, Sort::Verification, 0, 0),
        (1_999, Sort::Traffic, 0, 1),
        (2_000, Sort::Traffic, 0, 0),
    ] {
        let log = [Arrival { sort, at: at(millis) }];
        let findings = inspect(&log, &outage, &[]);
        assert_eq!((findings.was_under_way, findings.leaks.len()), (under_way, leaks), "{sort:?} at {millis}");
        assert_eq!(findings.judged + UNDER_WAY, Duration::from_millis(1_000));
        let stood_still = [Span { from: at(1_500), until: at(1_700) }];
        let findings = inspect(&log, &outage, &stood_still);
        assert_eq!((findings.leaks.len(), findings.judged), (0, Duration::ZERO), "nobody could note it in time");
    }
}

#[test]
fn what_was_judged_is_what_is_left_of_the_outages() {
    let start = now();
    let span =
        |from, until| Span { from: start + Duration::from_millis(from), until: start + Duration::from_millis(until) };
    let outages = [span(1_000, 1_050), span(2_000, 3_000), span(4_000, 5_000)];
    for (stood_still, millis) in [(&[][..], 1_800), (&[span(4_999, 6_000)], 900), (&[span(2_500, 4_500)], 0)] {
        assert_eq!(judged(&outages, stood_still), Duration::from_millis(millis), "{stood_still:?}");
    }
}

#[test]
fn a_span_without_others_is_what_none_of_them_covers() {
    let start = now();
    let span =
        |from, until| Span { from: start + Duration::from_millis(from), until: start + Duration::from_millis(until) };
    for (others, left) in [
        (&[][..], 1_000),
        (&[span(1_100, 1_300)], 800),
        (&[span(1_100, 1_300), span(1_200, 1_250), span(1_290, 1_400)], 700),
        (&[span(0, 1_100), span(1_900, 3_000)], 800),
        (&[span(0, 900), span(2_000, 2_100)], 1_000),
        (&[span(0, 3_000)], 0),
    ] {
        assert_eq!(without(&span(1_000, 2_000), others), Duration::from_millis(left), "{others:?}");
    }
}

#[test]
fn an_endpoint_is_out_from_its_isolation_to_its_recovery() {
    let clocks = Clocks::read();
    let event = |kind, second, endpoint| json!({"kind": kind, "at": format!("2100-01-01T00:00:0{second}Z"), "endpoint": endpoint});
    let events = [
        event("verified", 0, "a"),
        event("isolated", 1, "a"),
        event("isolated", 2, "b"),
        event("verified", 3, "a"),
        event("recovered", 4, "a"),
        event("isolated", 6, "a"),
        event("recovered", 9, "a"),
    ];
    let lengths: Vec<_> =
        outages(&events, "a", &clocks).iter().map(|outage| (outage.until - outage.from).as_secs()).collect();
    assert_eq!(lengths, [3, 3]);
}

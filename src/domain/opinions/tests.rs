use super::super::ids::Serial;
use super::super::testing::{at, id};
use super::*;

const REST: Duration = Duration::from_secs(5);

fn failed(endpoint: &str, kind: FailureKind, status: Option<u16>) -> FailedAttempt {
    let ticket = Ticket { endpoint: id(endpoint), epoch: Epoch::from_raw(1), serial: Serial::from_raw(1) };
    FailedAttempt { ticket, kind, status, error: None }
}

fn doubted(failures: &[(&str, FailureKind, Option<u16>)], others: Others, is_known: bool) -> usize {
    let failures: Vec<_> = failures.iter().map(|(name, kind, status)| failed(name, *kind, *status)).collect();
    in_doubt(&failures, others, is_known).len()
}

#[test]
fn failures_that_are_alike_on_two_endpoints_are_in_doubt() {
    use FailureKind::{Body, Connect, Timeout, UpstreamStatus};
    let a500 = ("a", UpstreamStatus, Some(500));
    let b500 = ("b", UpstreamStatus, Some(500));
    for (failures, others, is_known, expected) in [
        (vec![a500, b500], Others::Some, false, 2),
        (vec![a500, ("b", UpstreamStatus, Some(502))], Others::Some, false, 0),
        (vec![a500, ("b", Timeout, None)], Others::None, false, 0),
        (vec![a500, b500, ("c", Timeout, None)], Others::Some, false, 2),
        (vec![("a", Timeout, None), ("b", Timeout, None)], Others::Some, false, 2),
        (vec![("a", Connect, None), ("b", Connect, None)], Others::Some, false, 0),
        (vec![a500, a500], Others::Some, false, 0),
        (vec![a500, a500], Others::None, false, 2),
        (vec![("a", Body, Some(200))], Others::None, false, 1),
        (vec![("a", Connect, None)], Others::None, false, 0),
        (vec![a500], Others::Some, true, 1),
        (vec![("a", Connect, None)], Others::Some, true, 0),
        (vec![], Others::None, true, 0),
    ] {
        assert_eq!(doubted(&failures, others, is_known), expected, "{failures:?} {others:?} {is_known}");
    }
}

fn ask(opinions: &mut Opinions, request: u64, now: u64) -> bool {
    let asked = NewlyAsked {
        epoch: Epoch::from_raw(1),
        reason: Reason::UpstreamStatus,
        model: None,
        error: None,
        about: Some(Fingerprint(request)),
    };
    opinions.ask(&id("a"), asked, REST, at(now))
}

#[test]
fn a_request_is_the_cause_when_the_endpoint_passes() {
    let mut opinions = Opinions::default();
    assert!(ask(&mut opinions, 1, 0));
    assert!(!ask(&mut opinions, 2, 0), "asked already");
    assert!(!opinions.is_poisoned(Fingerprint(1), at(0)));
    opinions.passed(&id("a"), Epoch::from_raw(1), at(1));
    assert!([1, 2].into_iter().all(|request| opinions.is_poisoned(Fingerprint(request), at(60))));
    assert!(!opinions.is_poisoned(Fingerprint(1), at(61)), "for a minute");
}

/// Once wrong: the minute ran from the first verdict.
#[test]
fn a_later_verdict_begins_the_minute_anew() {
    let mut opinions = Opinions::default();
    opinions.note_cause(Some(Fingerprint(1)), at(0));
    opinions.note_cause(Some(Fingerprint(1)), at(30));
    assert!(opinions.is_poisoned(Fingerprint(1), at(60)) && opinions.is_poisoned(Fingerprint(1), at(89)));
    assert!(!opinions.is_poisoned(Fingerprint(1), at(90)));
    assert!(opinions.poisoned.is_empty() && opinions.poisoned_since.is_empty());
}

#[test]
fn an_endpoint_that_has_just_passed_is_not_asked_again() {
    let mut opinions = Opinions::default();
    opinions.passed(&id("a"), Epoch::from_raw(1), at(0));
    assert!(!ask(&mut opinions, 3, 4));
    assert!(opinions.is_poisoned(Fingerprint(3), at(4)), "it is known to be sound");
    assert!(ask(&mut opinions, 4, 5));
}

#[test]
fn an_answer_of_another_epoch_is_void() {
    let mut opinions = Opinions::default();
    ask(&mut opinions, 1, 0);
    assert_eq!(opinions.failed(&id("a"), Epoch::from_raw(2)), None);
    opinions.passed(&id("a"), Epoch::from_raw(2), at(0));
    assert!(!opinions.is_poisoned(Fingerprint(1), at(0)));
    ask(&mut opinions, 1, 9);
    assert!(opinions.failed(&id("a"), Epoch::from_raw(1)).is_some());
    assert_eq!(opinions.failed(&id("a"), Epoch::from_raw(1)), None);
}

/// The endpoint has been out and back in the meantime, and was asked again.
#[test]
fn a_failure_of_another_epoch_leaves_open_what_is_asked_now() {
    let mut opinions = Opinions::default();
    ask(&mut opinions, 1, 0);
    for other in [0, 2] {
        assert_eq!(opinions.failed(&id("a"), Epoch::from_raw(other)), None, "epoch {other}");
    }
    let about = opinions.failed(&id("a"), Epoch::from_raw(1)).map(|asked| asked.about);
    assert_eq!(about, Some(vec![Fingerprint(1)]));
}

#[test]
fn a_doubted_isolation_that_ends_shows_the_cause() {
    let mut opinions = Opinions::default();
    opinions.doubt_isolation(&id("a"), Epoch::from_raw(3), Some(Fingerprint(1)));
    opinions.doubt_isolation(&id("a"), Epoch::from_raw(5), Some(Fingerprint(2)));
    opinions.passed(&id("a"), Epoch::from_raw(5), at(0));
    assert_eq!([1, 2].map(|request| opinions.is_poisoned(Fingerprint(request), at(0))), [false, true]);
}

#[test]
fn no_more_requests_are_remembered_than_there_is_room_for() {
    let mut opinions = Opinions::default();
    for request in 0..30_000 {
        opinions.poison(Fingerprint(request), at(0));
    }
    assert_eq!((opinions.poisoned.len(), opinions.poisoned_since.len()), (MAX_POISONED, MAX_POISONED));
    for request in [0].into_iter().chain(0..1000) {
        ask(&mut opinions, request, 0);
    }
    let about = opinions.failed(&id("a"), Epoch::from_raw(1)).map(|asked| asked.about);
    assert_eq!(about, Some((0..100).map(Fingerprint).collect()), "each once");
}

#[test]
fn a_doubt_about_streams_is_asked_in_place_of_another_and_by_no_other() {
    use Manner::{Streamed, Whole};
    use Reason::{Body, Stream, Timeout, UpstreamStatus};
    for doubts in [
        [(UpstreamStatus, Whole, UpstreamStatus), (Timeout, Whole, UpstreamStatus), (Stream, Whole, Stream)],
        [(UpstreamStatus, Whole, UpstreamStatus), (Timeout, Streamed, Timeout), (Body, Streamed, Timeout)],
        [(Stream, Streamed, Stream), (Timeout, Whole, Stream), (Timeout, Streamed, Stream)],
    ] {
        let mut opinions = Opinions::default();
        for (reason, manner, expected) in doubts {
            let error = Some(ErrorNote::new("x").seen_in(manner));
            let asked = NewlyAsked { epoch: Epoch::from_raw(1), reason, model: None, error, about: None };
            opinions.ask(&id("a"), asked, REST, at(0));
            assert_eq!(opinions.asked[&id("a")].reason, expected, "{doubts:?}");
        }
    }
}

#[test]
fn who_has_moved_is_asked_nothing_and_who_is_redefined_has_passed_nothing() {
    let mut opinions = Opinions::default();
    ask(&mut opinions, 1, 0);
    opinions.forget(&id("a"));
    assert_eq!(opinions.failed(&id("a"), Epoch::from_raw(1)), None);
    opinions.doubt_isolation(&id("a"), Epoch::from_raw(1), Some(Fingerprint(1)));
    opinions.passed(&id("a"), Epoch::from_raw(0), at(0));
    opinions.doubt_isolation(&id("a"), Epoch::from_raw(1), Some(Fingerprint(2)));
    opinions.forget_all(&id("a"));
    assert!(ask(&mut opinions, 3, 1), "it passed as another");
    opinions.passed(&id("a"), Epoch::from_raw(1), at(1));
    assert_eq!([1, 2, 3].map(|request| opinions.is_poisoned(Fingerprint(request), at(1))), [false, false, true]);
}

use globset::Glob;

use super::super::endpoint::{Auth, AuthStyle, Endpoint, Home, ModelFilter};
use super::super::outcome::{ErrorNote, FailureKind, Outcome, Reason};
use super::super::outcome_table::Class;
use super::super::prices::Price;
use super::super::secret::Secret;
use super::super::testing::{at, endpoint, id};
use super::super::topology::Topology;
use super::super::usage::Usage;
use super::*;

fn request(end: RequestEnd, attempts: u32, client: Option<&str>) -> RequestRecord {
    let client = client.map(|client| ClientId::new(client).unwrap());
    let profile = Some(ProfileId::default());
    RequestRecord { end, at: at(0), elapsed: Duration::from_millis(100), attempts, client, profile }
}

fn attempt(class: Class, outcome: Outcome, millis: u64) -> AttemptRecord {
    AttemptRecord {
        endpoint: Arc::new(endpoint("a", Home::Primary)),
        client: None,
        model: Some(Arc::from("m")),
        class,
        status: (class == Class::Success).then_some(200),
        outcome,
        elapsed: Duration::from_millis(millis),
        first_content: None,
        usage: None,
        error: None,
    }
}

fn priced(pattern: &str) -> Vec<Price> {
    let models = Glob::new(pattern).unwrap().compile_matcher();
    vec![Price { models, input: 1.0, output: 1.0, cache_read: 1.0, cache_write: 1.0 }]
}

#[test]
fn the_success_rate_leaves_rejected_and_cancelled_out() {
    let mut stats = Stats::new(at(0));
    assert!((stats.ends.success_rate() - 100.0).abs() < 1e-9);
    for (end, attempts) in [
        (RequestEnd::Successful, 1),
        (RequestEnd::Successful, 3),
        (RequestEnd::Successful, 1),
        (RequestEnd::Failed, 2),
        (RequestEnd::Rejected, 0),
        (RequestEnd::Cancelled, 1),
    ] {
        stats.request(request(end, attempts, None));
    }
    assert!((stats.ends.success_rate() - 75.0).abs() < 1e-9);
    assert_eq!((stats.ends.total(), stats.retries), (6, 3));
    assert_eq!(stats.average_elapsed(), Duration::from_millis(100));
    assert_eq!(stats.series.until(at(0))[STEPS - 1].requests, 6);
}

#[test]
fn each_client_has_counts_of_its_own() {
    let mut stats = Stats::new(at(0));
    for (end, client) in [
        (RequestEnd::Successful, Some("alice")),
        (RequestEnd::Failed, Some("alice")),
        (RequestEnd::Rejected, Some("bob")),
        (RequestEnd::Cancelled, None),
    ] {
        stats.request(request(end, 1, client));
    }
    let counted: Vec<_> = stats.by_caller().map(|(_, client, ends)| (client.map(ClientId::as_str), *ends)).collect();
    let none = Ends::default();
    assert_eq!(
        counted,
        [
            (None, Ends { cancelled: 1, ..none }),
            (Some("alice"), Ends { successful: 1, failed: 1, ..none }),
            (Some("bob"), Ends { rejected: 1, ..none }),
        ]
    );
}

#[test]
fn an_endpoints_counts_and_percentiles_are_its_own() {
    let mut stats = Stats::new(at(0));
    for millis in 1..=100 {
        stats.attempt(attempt(Class::Success, Outcome::Success, millis));
    }
    let failed = attempt(Class::UpstreamStatus, Outcome::Failure(FailureKind::UpstreamStatus), 9000);
    stats.attempt(AttemptRecord { status: Some(500), error: Some(ErrorNote::new("HTTP 500")), ..failed });
    stats.attempt(AttemptRecord { status: Some(400), ..attempt(Class::ClientError, Outcome::Neutral, 9000) });
    stats.attempt(attempt(Class::Cancelled, Outcome::Cancelled, 9000));
    let a = stats.endpoint(&id("a")).unwrap();
    assert_eq!((a.requests, a.successes, a.failures, a.cancelled), (103, 100, 1, 1));
    let seen = a.impression(&endpoint("a", Home::Primary)).unwrap();
    assert_eq!(seen.last_error.as_ref().unwrap().as_str(), "HTTP 500");
    let attempts: Vec<_> = a.attempts().collect();
    assert_eq!(
        attempts,
        [("cancelled", None, 1), ("client", Some(400), 1), ("ok", Some(200), 100), ("upstream_status", Some(500), 1)]
    );
    assert!((a.latency().p50 - 50.0).abs() <= 1.0, "what has failed has no latency: {:?}", a.latency());
    assert!(stats.endpoint(&id("b")).is_none());
}

#[test]
fn tokens_and_their_cost_are_counted_by_endpoint_client_and_model() {
    let mut listing = endpoint("a", Home::Primary);
    listing.models = ModelFilter::new(&["m".to_owned()]).unwrap();
    let mut stats = Stats::new(at(0));
    stats.set_catalog(Catalog::new(priced("m*"), &Topology::new([listing])));
    let usage = Usage { input: 2_000_000, output: 1_000_000, ..Usage::default() };
    let answer = AttemptRecord { usage: Some(usage), ..attempt(Class::Success, Outcome::Success, 1) };
    let alice = ClientId::new("alice").unwrap();
    stats.attempt(AttemptRecord { client: Some(alice.clone()), ..answer.clone() });
    stats.attempt(AttemptRecord { model: Some(Arc::from("mine")), ..answer.clone() });
    stats.attempt(AttemptRecord { model: Some(Arc::from("free")), ..answer });
    stats.attempt(attempt(Class::Success, Outcome::Success, 1));
    let a = stats.endpoint(&id("a")).unwrap();
    assert_eq!((a.usage.input, a.usage.output, a.cost, a.unpriced), (6_000_000, 3_000_000, Some(6.0), 1));
    let used = stats.ledger.of_client(Some(&alice));
    assert_eq!((used.requests, used.usage, used.cost, used.unpriced), (1, usage, Some(3.0), 0));
    let labels: Vec<_> = stats.ledger.labelled().map(|row| (row.model.unwrap(), row.used.requests)).collect();
    assert_eq!(labels, [("other", 2), ("m", 1)]);
    let total = stats.used();
    assert_eq!((total.requests, total.cost, total.unpriced), (3, Some(6.0), 1));
    // New prices apply only to what comes later.
    stats.set_catalog(Catalog::default());
    assert_eq!(stats.used().cost, Some(6.0));
}

#[test]
fn a_streams_first_content_has_times_of_its_own() {
    let mut stats = Stats::new(at(0));
    let first_content = Some(Duration::from_millis(40));
    stats.attempt(AttemptRecord { first_content, ..attempt(Class::Success, Outcome::Success, 900) });
    stats.attempt(attempt(Class::Success, Outcome::Success, 900));
    let a = stats.endpoint(&id("a")).unwrap();
    assert_eq!((a.durations.count(), a.first_contents.count()), (2, 1));
    assert_eq!(a.first_contents.sum(), Duration::from_millis(40));
}

#[test]
fn moves_and_verifications_are_counted() {
    let mut stats = Stats::new(at(0));
    stats.set_catalog(Catalog::new(priced("m"), &Topology::default()));
    let isolated = Event { reason: Some(Reason::Stream), ..Event::new(EventKind::Isolated, at(0), &id("a")) };
    stats.event(&isolated);
    stats.event(&isolated);
    stats.event(&Event::new(EventKind::Recovered, at(0), &id("a")));
    stats.event(&Event::new(EventKind::Verified, at(0), &id("a")));
    let usage = Usage { input: 40, output: 2, ..Usage::default() };
    for passed in [Some(true), Some(false), Some(false), None] {
        let endpoint = Arc::new(endpoint("a", Home::Primary));
        stats.verification(&VerificationRecord { endpoint, model: Some("m".to_owned()), passed, usage });
    }
    let a = stats.endpoint(&id("a")).unwrap();
    assert_eq!((a.isolations.get(&Reason::Stream), a.isolations.len(), a.recoveries), (Some(&2), 1, 1));
    let VerificationStats { passed, failed, usage, cost } = &a.verifications;
    assert_eq!((*passed, *failed, usage.input), (1, 2, 160));
    assert!((cost.unwrap() - 0.000_168).abs() < 1e-12);
    assert_eq!(a.usage, Usage::default(), "they are nobody's traffic");
}

#[test]
fn a_reload_that_fails_leaves_the_time_of_the_last_good_one() {
    let mut stats = Stats::new(at(0));
    assert_eq!(stats.reloads, Reloads { ok: true, last_success: at(0) });
    stats.reload(ReloadRecord { ok: true, at: at(5) });
    stats.reload(ReloadRecord { ok: false, at: at(9) });
    assert_eq!(stats.reloads, Reloads { ok: false, last_success: at(5) });
}

#[test]
fn a_copy_stays_as_it_was() {
    let mut stats = Stats::new(at(0));
    stats.attempt(attempt(Class::Success, Outcome::Success, 1));
    let copy = stats.clone();
    stats.attempt(attempt(Class::Success, Outcome::Success, 1));
    let requests = |stats: &Stats| stats.endpoint(&id("a")).unwrap().requests;
    assert_eq!((requests(&copy), requests(&stats)), (1, 2));
}

#[test]
fn the_latest_value_of_each_allowance_is_kept_and_not_too_many_names() {
    let mut stats = Stats::new(at(0));
    let seen = |name: &str, value: &str| AllowancesRecord {
        endpoint: Arc::new(endpoint("a", Home::Primary)),
        seen: vec![(name.to_owned(), value.to_owned())],
    };
    stats.allowances(seen("x-ratelimit-limit-tokens", "9"));
    stats.allowances(seen("x-ratelimit-remaining-tokens", "5"));
    stats.allowances(seen("x-ratelimit-remaining-tokens", "4"));
    let kept = |stats: &Stats| {
        stats.endpoint(&id("a")).unwrap().impression(&endpoint("a", Home::Primary)).unwrap().rate_limits.clone()
    };
    assert_eq!(kept(&stats).into_values().collect::<Vec<_>>(), ["9", "4"]);
    assert_eq!(stats.endpoint(&id("a")).unwrap().requests, 0);
    for number in 0..1000 {
        stats.allowances(seen(&format!("x-ratelimit-{number}"), "1"));
    }
    stats.allowances(seen("x-ratelimit-remaining-tokens", "3"));
    assert_eq!(kept(&stats).len(), 64);
    assert_eq!(kept(&stats)["x-ratelimit-remaining-tokens"], "3");
}

#[test]
fn what_was_seen_of_a_service_is_not_told_of_another_one_of_the_same_name() {
    let mut stats = Stats::new(at(0));
    let first = Arc::new(endpoint("a", Home::Primary));
    let weighed = Arc::new(Endpoint { weight: 7, ..(*first).clone() });
    let key = Auth::Own { style: AuthStyle::XApiKey, key: Secret::new("another") };
    let second = Arc::new(Endpoint { auth: key, ..(*first).clone() });
    let left = |service: &Arc<Endpoint>, value: &str| AllowancesRecord {
        endpoint: Arc::clone(service),
        seen: vec![("x-ratelimit-remaining-tokens".to_owned(), value.to_owned())],
    };
    let told = |stats: &Stats, service: &Endpoint| {
        let seen = stats.endpoint(&id("a")).unwrap().impression(service)?;
        Some((seen.last_error.is_some(), seen.rate_limits.values().cloned().collect::<Vec<_>>()))
    };
    let failed = attempt(Class::UpstreamStatus, Outcome::Failure(FailureKind::UpstreamStatus), 1);
    stats.attempt(AttemptRecord { endpoint: Arc::clone(&first), error: Some(ErrorNote::new("HTTP 500")), ..failed });
    stats.allowances(left(&first, "0"));
    for same in [&first, &weighed] {
        assert_eq!(told(&stats, same), Some((true, vec!["0".to_owned()])));
    }
    assert_eq!(told(&stats, &second), None);
    stats.allowances(left(&second, "9"));
    assert_eq!(told(&stats, &second), Some((false, vec!["9".to_owned()])));
    assert_eq!(told(&stats, &first), None);
    assert_eq!(stats.endpoint(&id("a")).unwrap().failures, 1, "what is counted is the name's");
}

/// Once wrong: each name that there ever was took 70 KB for good, and all of them were told with each scrape.
#[test]
fn of_endpoints_and_clients_that_come_and_go_the_latest_are_kept_and_the_sum_stays_whole() {
    let mut stats = Stats::new(at(0));
    let days = departures::MAX_DEPARTED as u64 + 50;
    // Its key has expired, so that no profile serves it: it is there all the same.
    let expired = |end| RequestRecord { profile: None, ..request(end, 0, Some("stays")) };
    for day in 0..days {
        stats.request(expired(RequestEnd::Rejected));
        let (name, client) = (format!("endpoint-{day}"), format!("client-{day}"));
        let callers =
            [client.as_str(), "stays"].map(|client| (ProfileId::default(), Some(ClientId::new(client).unwrap())));
        stats.expect(&BTreeSet::from([id(&name), id("stays")]), callers);
        for (name, usage) in [(name.as_str(), Usage { input: 10, ..Usage::default() }), ("stays", Usage::default())] {
            stats.attempt(AttemptRecord {
                endpoint: Arc::new(endpoint(name, Home::Primary)),
                client: Some(ClientId::new(&client).unwrap()),
                usage: Some(usage),
                ..attempt(Class::Success, Outcome::Success, 5)
            });
        }
        stats.request(request(RequestEnd::Successful, 1, Some(&client)));
    }
    let kept = departures::MAX_DEPARTED + 1;
    assert_eq!(stats.endpoints().count(), kept + 1);
    assert_eq!((stats.by_caller().count(), stats.ledger.clients().count()), (kept + 2, kept));
    let (.., ends) = stats.by_caller().find(|(profile, client, _)| profile.is_none() && client.is_some()).unwrap();
    assert_eq!(ends.rejected, days, "and so does a client, whichever profile it was counted for");
    assert!(stats.endpoint(&id("endpoint-0")).is_none() && stats.endpoint(&id("endpoint-60")).is_some());
    assert_eq!(stats.endpoint(&id("stays")).unwrap().requests, days, "one that is there keeps all of its counts");
    assert_eq!((stats.used().requests, stats.used().usage.input, stats.ends.total()), (2 * days, 10 * days, 2 * days));
}

#[test]
fn what_a_client_has_used_of_a_forgotten_endpoint_stays_in_its_sum() {
    let mut stats = Stats::new(at(0));
    let alice = ClientId::new("alice").unwrap();
    for number in 0..departures::MAX_DEPARTED + 50 {
        let name = format!("endpoint-{number}");
        stats.expect(&BTreeSet::from([id(&name)]), [(ProfileId::default(), Some(alice.clone()))]);
        stats.attempt(AttemptRecord {
            endpoint: Arc::new(endpoint(&name, Home::Primary)),
            client: Some(alice.clone()),
            usage: Some(Usage { input: 10, ..Usage::default() }),
            ..attempt(Class::Success, Outcome::Success, 5)
        });
    }
    assert_eq!(stats.ledger.rows().count(), departures::MAX_DEPARTED + 1);
    let all = departures::MAX_DEPARTED as u64 + 50;
    assert_eq!((stats.ledger.of_client(Some(&alice)).requests, stats.used().usage.input), (all, 10 * all));
}

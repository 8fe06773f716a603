//! Cooldowns, overloads, used-up windows.

use super::super::super::health::Ease;
use super::super::super::schedule::{AtHome, Suffices, Task, VerifyJob};
use super::*;

fn throttled(throttle: Throttle) -> Report {
    Report { throttle: Some(throttle), ..Report::of(Outcome::Neutral) }
}

fn named(seconds: u64) -> Report {
    throttled(Throttle::Named(Duration::from_secs(seconds)))
}

/// Leases `name` for a model and reports its end.
fn limit(desk: &mut Desk, model: &str, report: Report) {
    let Acquired::Granted(grant) = desk.ask(Ask { model: Some(model.into()), ..ask() }) else { panic!("not granted") };
    desk.report(&grant, report, Some(model));
}

fn leased_for(desk: &mut Desk, model: &str) -> Option<String> {
    match desk.ask(Ask { model: Some(model.into()), ..ask() }) {
        Acquired::Granted(grant) => {
            desk.settle(&grant, Outcome::Neutral);
            Some(grant.endpoint.id.to_string())
        }
        Acquired::Waiting(_) | Acquired::Refused(_) => None,
    }
}

#[test]
fn a_rate_limited_endpoint_rests_for_that_model_in_its_home_queue() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    limit(&mut desk, "opus", named(10));
    assert_eq!(leased_for(&mut desk, "opus").as_deref(), Some("b"));
    assert_eq!(leased_for(&mut desk, "haiku").as_deref(), Some("a"));
    assert_eq!(desk.standing("a"), Standing::Primary);
    desk.now = 10;
    assert_eq!(leased_for(&mut desk, "opus").as_deref(), Some("a"), "it comes back by itself: it was no fault");
}

#[test]
fn with_all_in_a_cooldown_the_refusal_tells_the_soonest_end() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    limit(&mut desk, "m", named(20));
    limit(&mut desk, "m", named(12));
    let refused = desk.ask(Ask { model: Some("m".into()), ..ask() });
    let Acquired::Refused(why) = refused else { panic!("{refused:?}") };
    let soonest = Duration::from_secs(12);
    assert_eq!(why, NoEndpoint::Cooling { total: 2, soonest, limit: Limit::Rate });
}

#[test]
fn a_refusal_counts_the_isolated_and_with_them_those_that_rest_or_are_switched_off() {
    let off = |name: &str| Endpoint { enabled: false, ..primary(name) };
    let mut desk = Desk::new([primary("a"), primary("b"), primary("c"), off("d"), off("e"), off("f")]);
    desk.fail("c");
    limit(&mut desk, "m", named(20));
    limit(&mut desk, "m", named(12));
    let refused = desk.ask(Ask { model: Some("m".into()), ..ask() });
    let Acquired::Refused(why) = refused else { panic!("{refused:?}") };
    assert_eq!(why, NoEndpoint::Isolated { isolated: 1, total: 6, next: Some(Duration::ZERO) });
}

#[test]
fn a_view_shows_the_cooldowns_and_how_much_of_its_share_an_endpoint_takes() {
    let mut desk = Desk::new([primary("a")]);
    let ease = |desk: &Desk| desk.core.view(at(desk.now)).endpoints[0].ease();
    assert_eq!(ease(&desk), Ease::Whole);
    limit(&mut desk, "m", named(10));
    assert_eq!(ease(&desk), Ease::Cooling);
    limit(&mut desk, "n", named(3600));
    assert_eq!(ease(&desk), Ease::Exhausted);
    let cooldowns = desk.core.view(at(0)).endpoints.remove(0).cooldowns;
    let cooldowns = cooldowns.iter().map(|view| (view.model.as_deref(), view.cooldown.until, view.exhausted));
    assert_eq!(cooldowns.collect::<Vec<_>>(), [(Some("m"), at(10), false), (Some("n"), at(3600), true)]);
    desk.now = 3600;
    assert_eq!(ease(&desk), Ease::Whole);
    desk.fail("a");
    assert!(desk.recover("a"));
    assert_eq!(ease(&desk), Ease::SlowStart);
}

#[test]
fn overloads_isolate_only_after_a_long_time_without_success() {
    let mut desk = Desk::new([primary("a")]);
    for now in [0, 40, 80, 119] {
        desk.now = now;
        limit(&mut desk, "m", throttled(Throttle::Overload(None)));
        assert_eq!(desk.standing("a"), Standing::Primary, "{now}");
    }
    desk.now = 150;
    limit(&mut desk, "m", throttled(Throttle::Overload(None)));
    assert_eq!(desk.standing("a"), Standing::Failure);
    let isolation = desk.core.view_of_id("a").isolation.unwrap();
    assert_eq!(isolation.reason, Reason::Overloaded);
    assert!(desk.recover("a"));
}

#[test]
fn a_used_up_window_is_verified_and_comes_back_early() {
    let mut desk = Desk::new([primary("a")]);
    limit(&mut desk, "m", named(3600));
    let job = desk.core.conversations(at(1)).pop().unwrap();
    assert_eq!((job.task, job.subject.model.as_deref()), (Task::EarlyReturn { since: at(0) }, Some("m")));
    assert_eq!(leased_for(&mut desk, "m"), None);
    let VerifyJob { subject, .. } = job;
    desk.core.fit(&id("a"), subject.epoch, AtHome::EarlyReturn, subject.model.as_ref(), at(2), &mut desk.out);
    desk.now = 2;
    assert_eq!(leased_for(&mut desk, "m").as_deref(), Some("a"));
    assert_eq!(desk.core.conversations(at(2)), []);
}

/// One endpoint with a used-up window of `m` and, a second later, one of `n`.
fn with_two_used_up() -> Desk {
    let mut desk = Desk::new([primary("a")]);
    limit(&mut desk, "m", named(3600));
    desk.now = 1;
    limit(&mut desk, "n", named(3600));
    desk
}

#[test]
fn a_models_answer_ends_no_other_models_used_up_window() {
    let mut desk = with_two_used_up();
    let first = desk.core.conversations(at(1)).pop().unwrap().subject;
    assert_eq!((first.model.as_deref(), first.suffices), (Some("m"), Suffices::ItAlone));
    desk.core.fit(&id("a"), first.epoch, AtHome::EarlyReturn, first.model.as_ref(), at(2), &mut desk.out);
    desk.now = 2;
    assert_eq!(leased_for(&mut desk, "m").as_deref(), Some("a"));
    assert_eq!(leased_for(&mut desk, "n"), None);
    let second = desk.core.conversations(at(2)).pop().unwrap().subject;
    assert_eq!(second.model.as_deref(), Some("n"), "its turn comes");
}

#[test]
fn where_one_models_window_is_still_used_up_the_next_one_is_asked_about() {
    let mut desk = with_two_used_up();
    let asked = |desk: &Desk| desk.core.conversations(at(desk.now)).pop().unwrap().subject;
    let first = asked(&desk);
    desk.core.still_exhausted(&id("a"), first.epoch, first.model.as_ref(), at(1), &mut desk.out);
    let is_told = desk.out.iter().any(|effect| matches!(effect, Effect::PublishJobs));
    assert!(is_told, "the verifier learns of it");
    let second = asked(&desk);
    assert_eq!((first.model.as_deref(), second.model.as_deref()), (Some("m"), Some("n")));
    desk.fail("a");
    desk.recover("a");
    desk.core.still_exhausted(&id("a"), second.epoch, second.model.as_ref(), at(2), &mut desk.out);
    assert_eq!(asked(&desk).model.as_deref(), Some("n"), "what was found before it moved makes no turn");
}

#[test]
fn a_late_limit_of_an_older_epoch_changes_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let late = desk.lease();
    desk.fail("a");
    desk.recover("a");
    desk.report(&late, named(100), None);
    assert_eq!(desk.core.view_of_id("a").cooldowns, []);
    assert_eq!(desk.leased(), "a");
}

#[test]
fn a_new_credential_has_no_cooldown() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.report(&grant, named(100), None);
    let other = Endpoint {
        auth: super::super::super::endpoint::Auth::Own {
            style: super::super::super::endpoint::AuthStyle::XApiKey,
            key: super::super::super::secret::Secret::new("another"),
        },
        ..primary("a")
    };
    desk.apply([other]);
    assert_eq!(desk.leased(), "a");
}

#[test]
fn further_retries_have_a_budget_and_the_first_turn_elsewhere_is_free() {
    let policy = RegistryPolicy {
        budget: super::super::super::budget::BudgetPolicy { ratio: 0.0, min_per_second: 0 },
        ..registry_policy()
    };
    let mut desk = Desk::with(policy, [primary("a"), primary("b")]);
    let epoch = desk.core.view_of_id("a").epoch;
    let after_a = || Ask { tried: vec![tried("a", epoch)], ..ask() };
    let free = desk.ask(Ask { turn: Turn::Retry, ..after_a() });
    assert!(matches!(free, Acquired::Granted(_)), "{free:?}");
    let after_a_twice = desk.ask(Ask { turn: Turn::Retry, ..after_a() });
    assert!(matches!(after_a_twice, Acquired::Granted(_)), "it was nowhere else yet: {after_a_twice:?}");
    let after_both = vec![tried("a", epoch), tried("b", desk.core.view_of_id("b").epoch)];
    let further = desk.ask(Ask { turn: Turn::Retry, tried: after_both, reach: Reach::Again, ..ask() });
    assert!(matches!(further, Acquired::Refused(NoEndpoint::BudgetSpent)), "{further:?}");
    let onward = desk.ask(Ask { turn: Turn::Onward, ..after_a() });
    assert!(matches!(onward, Acquired::Granted(_)), "{onward:?}");
    let paced = desk.ask(Ask { turn: Turn::Paced, ..after_a() });
    assert!(matches!(paced, Acquired::Granted(_)), "{paced:?}");
    let mut alone = Desk::with(policy, [primary("a")]);
    let epoch = alone.core.view_of_id("a").epoch;
    for turn in [Turn::Retry, Turn::Onward] {
        let same = alone.ask(Ask { tried: vec![tried("a", epoch)], reach: Reach::Again, turn, ..ask() });
        assert!(
            matches!(same, Acquired::Refused(NoEndpoint::BudgetSpent)),
            "the same endpoint again is not free: {same:?}"
        );
    }
}

#[test]
fn the_budget_grows_with_requests_and_not_with_their_further_attempts() {
    let budget = super::super::super::budget::BudgetPolicy { ratio: 1.0, min_per_second: 0 };
    let mut desk = Desk::with(RegistryPolicy { budget, ..registry_policy() }, [primary("a")]);
    let tried = vec![tried("a", desk.core.view_of_id("a").epoch)];
    let again = || Ask { reach: Reach::Again, turn: Turn::Retry, tried: tried.clone(), ..ask() };
    desk.lease();
    desk.lease();
    let granted = (0..5).filter(|_| matches!(desk.ask(again()), Acquired::Granted(_))).count();
    assert_eq!(granted, 2, "one for each request");
}

#[test]
fn a_request_that_asks_again_gets_nobody_whom_it_has_spent() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let [a, b] = ["a", "b"].map(|name| tried(name, desk.core.view_of_id(name).epoch));
    for (spent, expected) in [([true, false], Some("b")), ([false, true], Some("a")), ([true, true], None)] {
        let tried = [&a, &b].into_iter().zip(spent).map(|(tried, spent)| Tried { spent, ..tried.clone() });
        let asked = Ask { reach: Reach::Again, turn: Turn::Retry, tried: tried.collect(), ..ask() };
        let given = match desk.ask(asked) {
            Acquired::Granted(grant) => Some(grant.endpoint.id.to_string()),
            Acquired::Waiting(_) | Acquired::Refused(_) => None,
        };
        assert_eq!(given.as_deref(), expected, "{spent:?}");
    }
}

fn on(host: &str, endpoint: Endpoint) -> Endpoint {
    let base_url = super::super::super::base_url::BaseUrl::parse(&format!("http://{host}")).unwrap();
    Endpoint { base_url, ..endpoint }
}

#[test]
fn another_host_comes_first_within_a_queue_and_the_last_attempt_goes_to_one() {
    let same = || on("one.test", primary("b"));
    let mut desk = Desk::new([
        on("one.test", primary("a")),
        same(),
        Endpoint { priority: 5, ..on("two.test", primary("c")) },
        on("three.test", secondary("d")),
    ]);
    let epoch = |desk: &Desk, name| desk.core.view_of_id(name).epoch;
    let gone_wrong = |desk: &Desk, name| Tried { host_in_doubt: true, ..tried(name, epoch(desk, name)) };
    let next = |desk: &mut Desk, ask: Ask| match desk.ask(ask) {
        Acquired::Granted(grant) => grant.endpoint.id.to_string(),
        other => panic!("{other:?}"),
    };
    let after_a = vec![gone_wrong(&desk, "a")];
    assert_eq!(next(&mut desk, Ask { tried: after_a.clone(), ..ask() }), "c", "though its priority is lower");
    let after_c = vec![gone_wrong(&desk, "a"), tried("c", epoch(&desk, "c"))];
    assert_eq!(next(&mut desk, Ask { tried: after_c.clone(), ..ask() }), "b");
    assert_eq!(next(&mut desk, Ask { tried: after_c, is_last: true, ..ask() }), "d", "a secondary too");
    let for_its_body = vec![Tried { host_in_doubt: false, ..after_a[0].clone() }];
    assert_eq!(next(&mut desk, Ask { tried: for_its_body, ..ask() }), "b");
}

#[test]
fn a_request_on_another_path_goes_to_another_host_first_too() {
    let mut desk =
        Desk::new([on("one.test", primary("a")), on("one.test", primary("b")), on("two.test", primary("c"))]);
    let gone_wrong = Tried { host_in_doubt: true, ..tried("a", desk.core.view_of_id("a").epoch) };
    let next = desk.ask(Ask { service: Service::Other, tried: vec![gone_wrong], ..ask() });
    assert!(matches!(&next, Acquired::Granted(grant) if grant.endpoint.id == id("c")), "{next:?}");
}

/// Once wrong: the whole length of the cooldown counted.
#[test]
fn a_window_is_called_used_up_only_while_its_end_is_that_far() {
    let mut desk = Desk::new([primary("a")]);
    limit(&mut desk, "m", named(360));
    for (now, left, expected) in
        [(0, 360, Limit::Exhausted), (59, 301, Limit::Exhausted), (60, 300, Limit::Rate), (359, 1, Limit::Rate)]
    {
        desk.now = now;
        let refused = desk.ask(Ask { model: Some("m".into()), ..ask() });
        let Acquired::Refused(NoEndpoint::Cooling { soonest, limit, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((soonest, limit), (Duration::from_secs(left), expected));
    }
}

/// Once wrong: only a cooldown that began anew was reported.
#[test]
fn a_cooldown_that_grows_to_a_used_up_window_is_told_and_verified() {
    let mut desk = Desk::new([primary("a")]);
    let (first, second, third) = (desk.lease(), desk.lease(), desk.lease());
    let kinds = |desk: &mut Desk| -> Vec<EventKind> {
        let kind = |effect| match effect {
            Effect::Note(event, _) => Some(event.kind),
            _ => None,
        };
        desk.out.drain(..).filter_map(kind).collect()
    };
    desk.out.clear();
    desk.report(&first, named(4), None);
    assert_eq!(kinds(&mut desk), [EventKind::Cooldown]);
    desk.now = 1;
    desk.report(&second, named(7200), None);
    let publishes = desk.out.iter().any(|effect| matches!(effect, Effect::PublishJobs));
    assert!(publishes, "the verifier is told of it");
    assert_eq!(kinds(&mut desk), [EventKind::Exhausted]);
    desk.now = 2;
    desk.report(&third, named(7200), None);
    assert_eq!(kinds(&mut desk), [], "that is known");
}

/// Once wrong: with one hiccup behind it, a request waited half a minute for another endpoint's overload to pass.
#[test]
fn an_overload_is_not_waited_out_beyond_the_parking_while_another_may_be_tried_again() {
    for (spent, waits) in [(false, false), (true, true)] {
        let mut desk = Desk::new([primary("a"), secondary("b")]);
        let failed_there = Tried { spent, ..tried("a", desk.core.view_of_id("a").epoch) };
        let again = |until| Ask {
            tried: vec![failed_there.clone()],
            turn: Turn::Retry,
            reach: Reach::Parked { until: at(until) },
            deadline: at(120),
            ..ask()
        };
        let Acquired::Granted(grant) = desk.ask(again(10)) else { panic!("not granted") };
        assert_eq!(grant.endpoint.id, id("b"));
        desk.report(&grant, throttled(Throttle::Overload(Some(Duration::from_secs(30)))), None);
        let next = desk.ask(again(10));
        assert_eq!(matches!(next, Acquired::Waiting(_)), waits, "{next:?}");
        assert!(matches!(desk.ask(again(31)), Acquired::Waiting(_)), "within the parking it is");
    }
}

/// Once wrong: requests on other paths always go to the first endpoint, and models' requests paid for their turns.
#[test]
fn requests_on_other_paths_take_no_turns_from_those_to_models() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let mut served = Vec::new();
    for _ in 0..4 {
        let Acquired::Granted(other) = desk.ask(Ask { service: Service::Other, ..ask() }) else { panic!("refused") };
        desk.settle(&other, Outcome::Neutral);
        served.push(desk.leased());
    }
    assert_eq!(served, ["a", "b", "a", "b"]);
}

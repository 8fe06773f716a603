//! Bound sessions.

use super::super::super::ids::ClientId;
use super::super::super::sessions::Origin;
use super::super::super::testing::session;
use super::*;

fn of_session(name: &str) -> Ask {
    let key = session(None, Protocol::Anthropic, name);
    Ask { origin: Origin::Session(key), model: Some("m".into()), ..ask() }
}

fn served(desk: &mut Desk, ask: Ask) -> String {
    let model = ask.model.clone();
    match desk.ask(ask) {
        Acquired::Granted(grant) => {
            desk.report(&grant, Report::of(Outcome::Success), model.as_deref());
            grant.endpoint.id.to_string()
        }
        other => panic!("not served: {other:?}"),
    }
}

#[test]
fn a_session_stays_with_its_endpoint() {
    let mut desk = Desk::new([primary("a"), primary("b"), primary("c")]);
    let first = served(&mut desk, of_session("s"));
    for _ in 0..20 {
        desk.leased();
        assert_eq!(served(&mut desk, of_session("s")), first);
    }
}

#[test]
fn a_session_yields_to_isolation_and_is_not_stolen_back_on_recovery() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    desk.fail("a");
    assert_eq!(served(&mut desk, of_session("s")), "b");
    desk.recover("a");
    desk.now = 599;
    assert_eq!(served(&mut desk, of_session("s")), "b", "its cache is there");
    desk.now = 599 + 600;
    assert_eq!(served(&mut desk, of_session("s")), "a", "after so long its cache is cold");
}

#[test]
fn an_idle_session_is_forgotten() {
    let mut desk = Desk::new([Endpoint { weight: 1000, ..primary("a") }, Endpoint { weight: 1, ..primary("b") }]);
    let sessions = |desk: &Desk| desk.core.view(at(desk.now)).sessions;
    assert_eq!(served(&mut desk, of_session("s")), "a");
    assert_eq!(sessions(&desk), 1);
    desk.now = 3600;
    desk.core.set_enabled(&id("a"), false, ADMIN, at(3600), &mut desk.out).unwrap();
    assert_eq!(served(&mut desk, of_session("s")), "b");
}

#[test]
fn one_clients_session_does_not_steer_anothers() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let (alice, bob) = (ClientId::new("alice").unwrap(), ClientId::new("bob").unwrap());
    let of = |client: &ClientId| {
        let key = session(Some(client), Protocol::Anthropic, "s");
        Ask { origin: Origin::Session(key), client: Some(client.clone()), ..ask() }
    };
    let first = served(&mut desk, of(&alice));
    assert_ne!(served(&mut desk, of(&bob)), first, "it takes its own turn");
    assert_eq!(served(&mut desk, of(&alice)), first);
}

#[test]
fn weight_zero_keeps_bound_sessions_and_takes_no_new_ones() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    assert_eq!(served(&mut desk, of_session("old")), "a");
    desk.apply([Endpoint { weight: 0, ..primary("a") }, secondary("b")]);
    for _ in 0..5 {
        assert_eq!(served(&mut desk, of_session("old")), "a");
        assert_eq!(served(&mut desk, of_session("new")), "b");
        assert_eq!(desk.leased(), "b");
    }
}

/// Once wrong: one request for a small model that was limited moved a whole conversation with another one, away from its cache.
#[test]
fn where_its_endpoint_rests_for_one_of_a_sessions_models_the_others_stay() {
    let of_model = |model: &str| Ask { model: Some(model.into()), ..of_session("s") };
    let mut desk = Desk::new([primary("a"), secondary("b"), secondary("c")]);
    assert_eq!(served(&mut desk, of_model("opus")), "a");
    let Acquired::Granted(grant) = desk.ask(of_model("haiku")) else { panic!("not granted") };
    assert_eq!(grant.endpoint.id.as_str(), "a", "a model that is new to the session begins where that is");
    let limit = Throttle::Named(Duration::from_secs(60));
    desk.report(&grant, Report { throttle: Some(limit), ..Report::of(Outcome::Neutral) }, Some("haiku"));
    let elsewhere = served(&mut desk, of_model("haiku"));
    for _ in 0..4 {
        assert_eq!(served(&mut desk, of_model("opus")), "a");
        assert_eq!(served(&mut desk, of_model("haiku")), elsewhere);
    }
    desk.fail("a");
    assert_ne!(served(&mut desk, of_model("opus")), "a", "no bond outweighs an isolation");
    assert_eq!(served(&mut desk, of_model("haiku")), elsewhere);
}

/// Once wrong: a small model that only a secondary serves drew everything new in the session there.
#[test]
fn a_model_that_is_new_to_a_session_is_neither_kept_on_a_secondary_nor_waits_for_a_cache_that_it_does_not_have() {
    let of_model = |model: &str| Ask { model: Some(model.into()), ..of_session("s") };
    let large = super::super::super::endpoint::ModelFilter::new(&["opus".to_owned(), "sonnet".to_owned()]).unwrap();
    let mut desk = Desk::new([Endpoint { models: large, ..primary("a") }, secondary("b")]);
    assert_eq!(served(&mut desk, of_model("opus")), "a");
    assert_eq!(served(&mut desk, of_model("haiku")), "b");
    let Acquired::Granted(grant) = desk.ask(of_model("sonnet")) else { panic!("not granted") };
    assert_eq!(grant.endpoint.id.as_str(), "a");
    let limit = Throttle::Named(Duration::from_secs(3));
    desk.report(&grant, Report { throttle: Some(limit), ..Report::of(Outcome::Neutral) }, Some("sonnet"));
    assert_eq!(served(&mut desk, of_model("sonnet")), "b", "no cache is waited for");
    assert_eq!((served(&mut desk, of_model("opus")), served(&mut desk, of_model("sonnet"))), ("a".into(), "b".into()));
}

#[test]
fn a_short_cooldown_of_its_own_endpoint_is_waited_out_and_a_long_one_is_not() {
    for (seconds, waits) in [(5, true), (6, false)] {
        let mut desk = Desk::new([primary("a"), secondary("b")]);
        assert_eq!(served(&mut desk, of_session("s")), "a");
        let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
        let limit = Throttle::Named(Duration::from_secs(seconds));
        desk.report(&grant, Report { throttle: Some(limit), ..Report::of(Outcome::Neutral) }, Some("m"));
        let next = desk.ask(of_session("s"));
        assert_eq!(matches!(next, Acquired::Waiting(_)), waits, "{seconds} s: {next:?}");
        if waits {
            assert_eq!(desk.core.next_wake(), Some(at(seconds)));
            desk.now = seconds;
            desk.core.tick(at(seconds), &mut desk.out);
            assert_eq!(desk.granted_to_waiters(), ["a"]);
        }
    }
}

#[test]
fn a_full_endpoint_lends_its_session_out_and_has_it_back() {
    let narrow = Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") };
    let mut desk = Desk::new([narrow, secondary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    let other = desk.lease();
    assert_eq!(served(&mut desk, of_session("s")), "b");
    desk.settle(&other, Outcome::Success);
    assert_eq!(served(&mut desk, of_session("s")), "a");
}

#[test]
fn a_session_whose_endpoint_has_failed_it_is_bound_elsewhere() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    let epoch = desk.core.view_of_id("a").epoch;
    assert_eq!(served(&mut desk, Ask { tried: vec![tried("a", epoch)], turn: Turn::Retry, ..of_session("s") }), "b");
    assert_eq!(served(&mut desk, of_session("s")), "b");
}

#[test]
fn a_new_credential_loses_its_sessions() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    served(&mut desk, of_session("s"));
    desk.apply([secondary("b")]);
    assert_eq!(desk.core.view(at(0)).sessions, 0);
}

#[test]
fn a_session_that_was_never_served_waits_for_no_cooldown() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
    let limit = Throttle::Named(Duration::from_secs(3));
    desk.report(&grant, Report { throttle: Some(limit), ..Report::of(Outcome::Neutral) }, Some("m"));
    assert_eq!(served(&mut desk, of_session("s")), "b", "there is no cache to wait for");
}

/// Once wrong: each cooldown that was short enough was waited out, and with overloads, which are no attempts, until the deadline,
/// though another endpoint was free.
#[test]
fn a_request_that_its_sessions_endpoint_has_refused_goes_elsewhere() {
    for throttle in [Throttle::Named(Duration::from_secs(3)), Throttle::Overload(Some(Duration::from_secs(3)))] {
        let mut desk = Desk::new([primary("a"), secondary("b")]);
        assert_eq!(served(&mut desk, of_session("s")), "a");
        let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
        desk.report(&grant, Report { throttle: Some(throttle), ..Report::of(Outcome::Neutral) }, Some("m"));
        let again = Ask { tried: vec![tried("a", grant.ticket.epoch)], turn: Turn::Retry, ..of_session("s") };
        assert_eq!(served(&mut desk, again), "b", "{throttle:?}");
        assert_eq!(served(&mut desk, of_session("s")), "b", "where its cache is now");
    }
}

/// Found from outside: after a time-out at its session's endpoint, which had been isolated and had recovered meanwhile, a request
/// waited for the same time-out once more, with another endpoint idle.
#[test]
fn a_request_that_its_sessions_endpoint_has_failed_goes_to_one_it_has_not_tried_though_that_has_recovered() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
    desk.fail("a");
    desk.recover("a");
    let reach = Reach::Parked { until: at(10) };
    let again = Ask { tried: vec![tried("a", grant.ticket.epoch)], turn: Turn::Retry, reach, ..of_session("s") };
    assert_eq!(served(&mut desk, again), "b");
}

#[test]
fn without_affinity_no_session_is_remembered() {
    let affinity = super::super::super::sessions::AffinityPolicy { enabled: false, ..registry_policy().affinity };
    let mut desk = Desk::with(RegistryPolicy { affinity, ..registry_policy() }, [primary("a")]);
    served(&mut desk, of_session("s"));
    assert_eq!(desk.core.view(at(0)).sessions, 0);
}

#[test]
fn a_reload_without_affinity_frees_the_sessions_that_were_bound_before() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    assert_eq!(served(&mut desk, of_session("s")), "b");
    desk.recover("a");
    let affinity = super::super::super::sessions::AffinityPolicy { enabled: false, ..registry_policy().affinity };
    desk.core.set_policy(RegistryPolicy { affinity, ..registry_policy() });
    assert_eq!(served(&mut desk, of_session("s")), "a");
}

#[test]
fn what_a_bound_session_gets_is_a_turn_like_any_other() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    for _ in 0..5 {
        assert_eq!(served(&mut desk, of_session("s")), "a");
        assert_eq!(desk.leased(), "b", "the session has had the turn of the first");
    }
}

#[test]
fn what_bound_sessions_get_of_a_drained_endpoint_costs_it_no_turns_once_it_takes_new_ones_again() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    desk.apply([Endpoint { weight: 0, ..primary("a") }, primary("b")]);
    for _ in 0..3 {
        assert_eq!(served(&mut desk, of_session("s")), "a");
    }
    desk.apply([primary("a"), primary("b")]);
    let turns: Vec<String> = (0..4).map(|_| desk.leased()).collect();
    assert_eq!(turns, ["b", "a", "b", "a"]);
}

#[test]
fn where_no_place_is_left_to_wait_at_a_session_goes_elsewhere_at_once() {
    let mut desk = Desk::with(RegistryPolicy { park_max: 0, ..registry_policy() }, [primary("a"), secondary("b")]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
    let limit = Throttle::Named(Duration::from_secs(3));
    desk.report(&grant, Report { throttle: Some(limit), ..Report::of(Outcome::Neutral) }, Some("m"));
    assert_eq!(served(&mut desk, of_session("s")), "b");
}

#[test]
fn a_session_waits_for_room_in_an_endpoint_that_takes_no_new_ones() {
    let drained = Endpoint { weight: 0, max_in_flight: NonZeroU32::new(1), ..primary("a") };
    let mut desk = Desk::new([Endpoint { weight: 100, ..drained.clone() }]);
    assert_eq!(served(&mut desk, of_session("s")), "a");
    desk.apply([drained]);
    let Acquired::Granted(grant) = desk.ask(of_session("s")) else { panic!("not granted") };
    let waits = desk.ask(Ask { reach: Reach::Parked { until: at(10) }, ..of_session("s") });
    assert!(matches!(waits, Acquired::Waiting(_)), "{waits:?}");
    desk.settle(&grant, Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

/// The session had gone idle while an attempt of it was under way, so a drained endpoint was no longer open to it.
#[test]
fn who_waits_finds_its_sessions_drained_endpoint_again_when_an_attempt_of_it_ends() {
    let full = Endpoint { max_in_flight: NonZeroU32::new(1), ..secondary("b") };
    let own = Endpoint { max_in_flight: NonZeroU32::new(2), ..primary("a") };
    let mut desk = Desk::new([own.clone(), full.clone()]);
    let Acquired::Granted(long) = desk.ask(of_session("s")) else { panic!("not granted") };
    desk.apply([Endpoint { weight: 0, ..own }, full]);
    let _kept = desk.lease();
    desk.now = 3600;
    let waits = desk.ask(Ask { reach: Reach::Parked { until: at(3610) }, ..of_session("s") });
    assert!(matches!(waits, Acquired::Waiting(_)), "{waits:?}");
    desk.report(&long, Report::of(Outcome::Success), Some("m"));
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

/// A drained endpoint is for the sessions that are bound to it, and the clock unbinds them without waking anybody.
#[test]
fn who_waits_for_its_sessions_drained_endpoint_is_looked_at_again_once_the_session_has_gone_idle() {
    let own = Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") };
    let mut desk = Desk::new([own.clone()]);
    let Acquired::Granted(_long) = desk.ask(of_session("s")) else { panic!("not granted") };
    desk.apply([Endpoint { weight: 0, ..own }]);
    desk.now = 3595;
    for (origin, until) in [(of_session("s").origin, 3610), (of_session("s").origin, 3600)] {
        let waits = desk.ask(Ask { origin, reach: Reach::Parked { until: at(until) }, ..of_session("s") });
        assert!(matches!(waits, Acquired::Waiting(_)), "{waits:?}");
    }
    desk.out.clear();
    desk.core.wake(at(3600), &mut desk.out);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused(_, NoEndpoint::SwitchedOff { total: 1 }));
    assert_eq!(desk.out.iter().filter(|effect| refused(effect)).count(), 2, "{:?}", desk.out);
}

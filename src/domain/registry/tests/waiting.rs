//! Parking: which requests wait, for what, for how long, and in which order.

use super::super::super::ids::ClientId;
use super::super::super::opinions::FailedAttempt;
use super::super::super::sessions::Origin;
use super::*;
use crate::domain::schedule::Finished;

fn parked(until: u64) -> Ask {
    Ask { reach: Reach::Parked { until: at(until) }, ..ask() }
}

fn of(client: &str, until: u64) -> Ask {
    Ask { client: Some(ClientId::new(client).unwrap()), ..parked(until) }
}

fn other_profile() -> ProfileId {
    ProfileId::new("other").unwrap()
}

fn is_waiting(acquired: &Acquired) -> bool {
    matches!(acquired, Acquired::Waiting(_))
}

/// The waiters that have been granted an endpoint, in order.
fn granted(desk: &mut Desk) -> Vec<WaiterId> {
    let granted = |effect| match effect {
        Effect::Granted(waiter, _) => Some(waiter),
        _ => None,
    };
    desk.out.drain(..).filter_map(granted).collect()
}

fn refusals(desk: &mut Desk) -> Vec<NoEndpoint> {
    let refused = |effect| match effect {
        Effect::Refused(_, why) => Some(why),
        _ => None,
    };
    desk.out.drain(..).filter_map(refused).collect()
}

fn hastened(desk: &mut Desk) -> usize {
    let count = desk.out.iter().filter(|effect| matches!(effect, Effect::Hasten(_))).count();
    desk.out.clear();
    count
}

/// A verification that began at this second and failed; the next one is a minute away.
fn failed_at(began: u64) -> Finished {
    let next_in = Duration::from_secs(60);
    Finished { step: 1, verifications: 1, began: at(began), next_in, next: at(began) + next_in }
}

#[test]
fn requests_wait_for_an_endpoint_that_recovers_first_come_first_served() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    desk.fail("a");
    let Acquired::Waiting(first) = desk.ask(parked(10)) else { panic!("not waiting") };
    assert!(is_waiting(&desk.ask(parked(10))));
    desk.now = 3;
    desk.out.clear();
    desk.recover("a");
    assert_eq!(granted(&mut desk), [first], "there is room for one");
    assert_eq!(desk.core.view(at(3)).parked, 1);
}

#[test]
fn parking_ends_in_a_refusal_when_the_allowance_is_spent() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(desk.core.next_wake(), Some(at(10)));
    desk.now = 10;
    desk.core.tick(at(10), &mut desk.out);
    assert!(matches!(refusals(&mut desk)[..], [NoEndpoint::Isolated { isolated: 1, .. }]));
}

#[test]
fn who_can_not_be_served_in_time_is_refused_at_once() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    let epoch = desk.core.view_of_id("a").epoch;
    desk.core.still_failing(&id("a"), epoch, &failed_at(1), at(2), &mut desk.out);
    desk.now = 2;
    let refused = desk.ask(parked(5));
    let next = Duration::from_secs(4);
    assert!(
        matches!(refused, Acquired::Refused(NoEndpoint::Isolated { next: Some(n), .. }) if n == next),
        "a hastened verification may begin at 6: {refused:?}"
    );
    assert!(matches!(desk.ask(parked(6)), Acquired::Refused(_)), "what begins then ends later");
    assert!(is_waiting(&desk.ask(parked(7))));
    let none = desk.ask(Ask { reach: Reach::Fresh, ..ask() });
    assert!(matches!(none, Acquired::Refused(_)), "{none:?}");
}

#[test]
fn nobody_waits_for_what_only_the_operator_can_mend() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, Outcome::Fatal(Fatal::Account));
    desk.judge(&grant, Ruling::Trip { reason: Reason::Account, failures: 1 });
    desk.out.clear();
    assert!(matches!(desk.ask(parked(10)), Acquired::Refused(NoEndpoint::Isolated { next: None, .. })));
    assert_eq!(hastened(&mut desk), 0);
}

#[test]
fn verification_is_hastened_once_until_it_has_failed() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.out.clear();
    desk.leased();
    assert_eq!(hastened(&mut desk), 0, "another one is usable");
    desk.fail("b");
    desk.out.clear();
    for _ in 0..5 {
        assert!(is_waiting(&desk.ask(parked(10))));
    }
    assert_eq!(hastened(&mut desk), 1);
    let epoch = desk.core.view_of_id("a").epoch;
    desk.core.still_failing(&id("a"), epoch, &failed_at(1), at(1), &mut desk.out);
    assert_eq!(hastened(&mut desk), 1, "who still waits asks again");
}

/// Found by reading: the first delay was taken for that of a relapse, so its verification counted as due while it was a
/// minute away, and requests waited for it in vain.
#[test]
fn after_a_relapse_the_verifier_alone_knows_when_it_is_due() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.recover("a");
    desk.fail("a");
    desk.now = 20;
    desk.fail("b");
    desk.out.clear();
    assert!(is_waiting(&desk.ask(parked(30))));
    let relapsed = desk.core.view_of_id("a").epoch;
    let wanted = desk.out.iter().find_map(|effect| match effect {
        Effect::Hasten(wanted) => Some(wanted.clone()),
        _ => None,
    });
    assert!(wanted.unwrap().contains(&(id("a"), relapsed)));
    desk.now = 30;
    desk.core.tick(at(30), &mut desk.out);
    let told = refusals(&mut desk);
    assert!(matches!(told[..], [NoEndpoint::Isolated { next: Some(Duration::ZERO), .. }]), "{told:?}");
}

#[test]
fn a_verification_that_is_due_is_not_hastened() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    desk.out.clear();
    desk.now = 5;
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 0);
}

#[test]
fn one_that_is_verified_at_once_need_not_be_hastened() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    desk.apply([Endpoint { auth: super::super::super::endpoint::Auth::Passthrough, ..primary("a") }]);
    desk.out.clear();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 0, "it is another service");
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    desk.judge(&grant, TRIP);
    let failed =
        FailedAttempt { ticket: grant.ticket, kind: FailureKind::UpstreamStatus, status: Some(500), error: None };
    desk.core.doubt(&ask(), &[failed], at(0), &mut desk.out);
    desk.out.clear();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 0, "its failure is in doubt");
}

#[test]
fn nobody_is_verified_any_sooner_while_another_is_usable_though_it_is_full_or_was_tried() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }, primary("b")]);
    desk.fail("b");
    desk.out.clear();
    let tried_there = vec![tried("a", desk.core.view_of_id("a").epoch)];
    assert!(is_waiting(&desk.ask(Ask { tried: tried_there, ..parked(10) })));
    assert_eq!(hastened(&mut desk), 0, "this request has tried the other");
    let _kept = desk.lease();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 0, "the other will have room");
}

#[test]
fn a_request_may_be_served_by_one_that_had_failed_it_and_has_recovered_since() {
    let mut desk = Desk::new([primary("a")]);
    let epoch = desk.core.view_of_id("a").epoch;
    desk.fail("a");
    let failed_there = Ask { tried: vec![tried("a", epoch)], turn: Turn::Retry, ..parked(10) };
    assert!(is_waiting(&desk.ask(failed_there)));
    desk.recover("a");
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

#[test]
fn a_request_may_be_served_by_one_whose_cooldown_has_ended_since() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&grant, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    let epoch = desk.core.view_of_id("a").epoch;
    let limited_there = Ask { tried: vec![tried("a", epoch)], turn: Turn::Retry, ..parked(10) };
    assert!(is_waiting(&desk.ask(limited_there)));
    assert_eq!(desk.core.next_wake(), Some(at(4)));
    desk.now = 4;
    desk.core.tick(at(4), &mut desk.out);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

/// Found from outside: a request went back to the endpoint that had refused it for a second, past a secondary that it had
/// not asked.
#[test]
fn one_that_was_not_tried_comes_before_one_that_may_serve_again() {
    let mut desk = Desk::new([primary("a"), secondary("c")]);
    let epoch = desk.core.view_of_id("a").epoch;
    let grant = desk.lease();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&grant, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    desk.now = 5;
    for reach in [Reach::Parked { until: at(20) }, Reach::Again] {
        let failed_there = Ask { tried: vec![tried("a", epoch)], turn: Turn::Retry, reach, ..ask() };
        let Acquired::Granted(grant) = desk.ask(failed_there) else { panic!("nothing with {reach:?}") };
        assert_eq!(grant.endpoint.id, id("c"), "{reach:?}");
        desk.settle(&grant, Outcome::Neutral);
    }
    desk.fail("a");
    let epoch = desk.core.view_of_id("a").epoch;
    desk.recover("a");
    let failed_before = Ask { tried: vec![tried("a", epoch)], turn: Turn::Retry, ..parked(20) };
    let Acquired::Granted(grant) = desk.ask(failed_before) else { panic!("nothing after the recovery") };
    assert_eq!(grant.endpoint.id, id("c"));
}

#[test]
fn an_overload_is_waited_out_within_the_deadline_and_a_limit_within_the_parking() {
    for (throttle, waits) in
        [(Throttle::Overload(Some(Duration::from_secs(20))), true), (Throttle::Named(Duration::from_secs(20)), false)]
    {
        let mut desk = Desk::new([primary("a")]);
        let grant = desk.lease();
        desk.report(&grant, Report { throttle: Some(throttle), ..Report::of(Outcome::Neutral) }, None);
        assert_eq!(is_waiting(&desk.ask(Ask { deadline: at(60), ..parked(10) })), waits, "{throttle:?}");
        assert!(!is_waiting(&desk.ask(Ask { deadline: at(20), ..parked(10) })), "{throttle:?}");
    }
}

#[test]
fn room_in_a_full_endpoint_goes_to_who_has_waited_longest() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    let first = desk.lease();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert!(is_waiting(&desk.ask(parked(10))));
    desk.settle(&first, Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
    desk.now = 10;
    desk.core.tick(at(10), &mut desk.out);
    assert_eq!(refusals(&mut desk), [NoEndpoint::Full { usable: 1 }]);
}

/// A waiter that found nothing is not looked at again once the room is taken, but its time may be up.
#[test]
fn who_gets_nothing_of_the_room_is_refused_where_its_time_is_up() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    let first = desk.lease();
    for (number, until) in [(10, 20), (11, 10), (12, 20)] {
        assert!(is_waiting(&desk.ask(Ask { origin: Origin::Request(number), ..parked(until) })));
    }
    desk.now = 10;
    desk.settle(&first, Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
    let view = desk.core.view(at(10));
    assert_eq!((view.waiting, view.parked), (1, 1), "the second one's time is up, and the third one waits");
}

/// Once wrong: in a full pool each ended attempt had every waiter looked at, and each look was at every endpoint.
#[test]
fn an_attempts_end_costs_a_full_pool_no_look_at_each_endpoint_for_each_waiter() {
    let full = |name: &str| Endpoint { max_in_flight: NonZeroU32::new(1), ..primary(name) };
    let mut desk = Desk::new(["a", "b", "c"].map(full));
    let leases = [desk.lease(), desk.lease(), desk.lease()];
    for number in 10..15 {
        assert!(is_waiting(&desk.ask(Ask { origin: Origin::Request(number), ..parked(10) })));
    }
    let before = desk.core.waiters.looks();
    desk.settle(&leases[0], Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
    assert_eq!(desk.core.waiters.looks() - before, 1, "the others would find what they have found before");
}

/// Once wrong: each waiter whose time was up had all others looked at, which found what they had found before.
#[test]
fn whose_time_is_up_has_nobody_else_looked_at() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    for until in 10..30 {
        assert!(is_waiting(&desk.ask(Ask { origin: Origin::Request(until), ..parked(until) })));
    }
    let before = desk.core.waiters.looks();
    for until in 10..30 {
        assert_eq!(desk.core.next_wake(), Some(at(until)));
        desk.core.wake(at(until), &mut desk.out);
        assert_eq!(refusals(&mut desk).len(), 1, "at {until}");
    }
    assert_eq!(desk.core.waiters.looks() - before, 20, "one for each");
}

#[test]
fn whose_time_is_up_leaves_the_others_in_their_order() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    let lease = desk.lease();
    let waiters = [20, 10, 20].map(|until| match desk.ask(parked(until)) {
        Acquired::Waiting(waiter) => waiter,
        other => panic!("not waiting: {other:?}"),
    });
    desk.core.wake(at(10), &mut desk.out);
    assert_eq!(refusals(&mut desk), [NoEndpoint::Full { usable: 1 }]);
    desk.now = 11;
    desk.settle(&lease, Outcome::Success);
    assert_eq!(granted(&mut desk), [waiters[0]]);
    assert_eq!((desk.core.view(at(11)).waiting, desk.core.next_wake()), (1, Some(at(20))));
}

/// The end of a cooldown does not by itself wake a request that waits for a verdict, but the waking of another serves it
/// too.
#[test]
fn who_waits_for_a_verdict_is_served_by_a_cooldown_that_another_has_waited_for() {
    let elsewhere = Endpoint { profiles: vec![other_profile()], ..primary("b") };
    let both = Endpoint { profiles: vec![ProfileId::default(), other_profile()], ..primary("a") };
    let mut desk = Desk::new([both, elsewhere, Endpoint { priority: 0, ..primary("c") }]);
    let grants: Vec<Grant> = (0..2).map(|_| desk.lease()).collect();
    let of = |name: &str| grants.iter().find(|grant| grant.endpoint.id == id(name)).unwrap();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(of("a"), Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    desk.settle(of("c"), FAILED);
    assert!(is_waiting(&desk.ask(ask())), "for the verdict on c");
    desk.core.isolate_by_admin(&id("b"), ADMIN, at(0), &mut desk.out).unwrap();
    assert!(is_waiting(&desk.ask(Ask { profile: other_profile(), ..parked(10) })), "for a");
    assert_eq!(desk.core.next_wake(), Some(at(4)));
    desk.out.clear();
    desk.core.wake(at(4), &mut desk.out);
    assert_eq!(desk.granted_to_waiters(), ["a", "a"]);
}

#[test]
fn there_are_so_many_places_and_a_client_has_a_quarter_of_them_while_others_wait() {
    let mut desk = Desk::with(RegistryPolicy { park_max: 8, ..registry_policy() }, [primary("a")]);
    desk.fail("a");
    let alone = (0..8).map(|_| match desk.ask(of("greedy", 10)) {
        Acquired::Waiting(waiter) => waiter,
        other => panic!("alone it may have them all: {other:?}"),
    });
    let alone: Vec<WaiterId> = alone.collect();
    assert!(!is_waiting(&desk.ask(of("greedy", 10))), "all places are taken");
    desk.out.clear();
    for _ in 0..2 {
        assert!(is_waiting(&desk.ask(of("modest", 10))), "the greedy one makes room");
    }
    let refused = desk.out.drain(..).filter_map(|effect| match effect {
        Effect::Refused(waiter, _) => Some(waiter),
        _ => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), [alone[7], alone[6]], "those that came last");
    assert!(!is_waiting(&desk.ask(of("modest", 10))), "it has its quarter");
    assert!(!is_waiting(&desk.ask(of("greedy", 10))));
    assert_eq!(desk.core.view(at(0)).parked, 8);
}

#[test]
fn who_has_no_more_than_its_share_of_the_places_gives_none_up() {
    let mut desk = Desk::with(RegistryPolicy { park_max: 4, ..registry_policy() }, [primary("a")]);
    desk.fail("a");
    for client in ["one", "two", "three", "four"] {
        assert!(is_waiting(&desk.ask(of(client, 10))), "{client}");
    }
    assert!(!is_waiting(&desk.ask(of("five", 10))));
    assert_eq!(refusals(&mut desk), []);
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let mut desk = Desk::with(RegistryPolicy { park_max: 1, ..registry_policy() }, [primary("a")]);
    desk.fail("a");
    let Acquired::Waiting(waiter) = desk.ask(parked(10)) else { panic!("not waiting") };
    assert!(!is_waiting(&desk.ask(parked(10))));
    desk.core.leave(&[waiter].into());
    assert!(is_waiting(&desk.ask(parked(10))));
}

#[test]
fn of_several_clients_that_leave_nobody_is_left_and_the_others_keep_their_order() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    let lease = desk.lease();
    let waiters = [10, 11, 12, 13, 14].map(|until| match desk.ask(of("alice", until)) {
        Acquired::Waiting(waiter) => waiter,
        other => panic!("not waiting: {other:?}"),
    });
    desk.core.leave(&[waiters[0], waiters[2], waiters[3]].into());
    assert_eq!((desk.core.view(at(0)).parked, desk.core.next_wake()), (2, Some(at(11))));
    desk.out.clear();
    desk.settle(&lease, Outcome::Success);
    assert_eq!(granted(&mut desk), [waiters[1]]);
}

#[test]
fn waiting_for_a_verdict_takes_no_place() {
    let mut desk = Desk::with(RegistryPolicy { park_max: 0, ..registry_policy() }, [primary("a")]);
    let grant = desk.lease();
    desk.settle(&grant, FAILED);
    for _ in 0..2 {
        assert!(is_waiting(&desk.ask(ask())));
    }
    let view = desk.core.view(at(0));
    assert_eq!((view.waiting, view.parked), (2, 0));
}

#[test]
fn room_that_comes_while_a_verdict_is_awaited_goes_to_who_waits() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }, primary("b")]);
    let (one, other) = (desk.lease(), desk.lease());
    let (full, failing) = if one.endpoint.id == id("a") { (one, other) } else { (other, one) };
    desk.settle(&failing, FAILED);
    assert!(is_waiting(&desk.ask(ask())));
    desk.settle(&full, Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"], "whoever asks next would have got it");
}

#[test]
fn who_waits_for_an_overload_to_pass_is_served_by_a_limit_that_ends_before() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let (one, other) = (desk.lease(), desk.lease());
    for (grant, throttle) in
        [(&one, Throttle::Overload(Some(Duration::from_secs(20)))), (&other, Throttle::Named(Duration::from_secs(12)))]
    {
        desk.report(grant, Report { throttle: Some(throttle), ..Report::of(Outcome::Neutral) }, None);
    }
    assert!(is_waiting(&desk.ask(Ask { deadline: at(60), ..parked(10) })));
    assert_eq!(desk.core.next_wake(), Some(at(12)));
    desk.now = 12;
    desk.core.tick(at(12), &mut desk.out);
    assert_eq!(desk.granted_to_waiters(), [other.endpoint.id.to_string()]);
}

/// Once wrong: a stopping gateway left them waiting for verifications that nothing held any more.
#[test]
fn when_the_gateway_stops_the_parked_are_refused_and_nobody_is_parked_any_more() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    let held = desk.lease();
    desk.settle(&held, FAILED);
    let Acquired::Waiting(for_verdict) = desk.ask(parked(10)) else { panic!("not waiting") };
    desk.judge(&held, TRIP);
    let Acquired::Waiting(_) = desk.ask(parked(10)) else { panic!("not waiting") };
    desk.out.clear();
    desk.core.stop_parking(at(0), &mut desk.out);
    assert_eq!(refusals(&mut desk), [NoEndpoint::Stopping, NoEndpoint::Stopping], "{for_verdict:?} is parked by now");
    assert!(matches!(desk.ask(parked(10)), Acquired::Refused(NoEndpoint::Stopping)));
    desk.recover("b");
    assert_eq!(desk.leased(), "b", "attempts go on");
    let failing = desk.lease();
    desk.settle(&failing, FAILED);
    assert!(is_waiting(&desk.ask(parked(10))), "a verdict is still waited for");
    desk.judge(&failing, Ruling::Keep);
    assert_eq!(desk.granted_to_waiters(), ["b"]);
}

#[test]
fn who_waits_for_a_verdict_while_the_gateway_stops_still_gets_it() {
    let mut desk = Desk::new([primary("a")]);
    let failing = desk.lease();
    desk.settle(&failing, FAILED);
    assert!(is_waiting(&desk.ask(ask())));
    desk.core.stop_parking(at(0), &mut desk.out);
    assert_eq!(refusals(&mut desk), []);
    desk.judge(&failing, Ruling::Keep);
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

/// Once wrong: while the waiters were looked at, those not yet looked at took no place.
#[test]
fn who_waits_for_a_verdict_is_parked_only_where_there_is_a_place() {
    let policy = RegistryPolicy { park_max: 2, ..registry_policy() };
    let mut desk = Desk::with(policy, [primary("a"), Endpoint { profiles: vec![other_profile()], ..primary("c") }]);
    desk.core.isolate_by_admin(&id("c"), ADMIN, at(0), &mut desk.out).unwrap();
    let held = desk.lease();
    desk.settle(&held, FAILED);
    for _ in 0..2 {
        assert!(is_waiting(&desk.ask(parked(10))), "for the verdict");
    }
    for _ in 0..2 {
        assert!(is_waiting(&desk.ask(Ask { profile: other_profile(), ..parked(10) })), "parked");
    }
    desk.judge(&held, TRIP);
    assert_eq!(desk.core.view(at(0)).parked, 2);
}

/// Once wrong: it was refused, though an endpoint was free.
#[test]
fn who_gives_up_its_place_is_served_by_another_endpoint_where_one_is_free() {
    use super::super::super::testing::session;
    let policy = RegistryPolicy { park_max: 4, ..registry_policy() };
    let elsewhere = Endpoint { profiles: vec![other_profile()], ..primary("c") };
    let mut desk = Desk::with(policy, [primary("a"), secondary("b"), elsewhere]);
    desk.core.isolate_by_admin(&id("c"), ADMIN, at(0), &mut desk.out).unwrap();
    let origin = Origin::Session(session(None, Protocol::Anthropic, "s"));
    let of_session = || Ask { origin, ..of("greedy", 10) };
    let Acquired::Granted(grant) = desk.ask(of_session()) else { panic!("not granted") };
    desk.settle(&grant, Outcome::Success);
    let Acquired::Granted(grant) = desk.ask(of_session()) else { panic!("not granted") };
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&grant, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    for _ in 0..4 {
        assert!(is_waiting(&desk.ask(of_session())), "for its own endpoint");
    }
    desk.out.clear();
    assert!(is_waiting(&desk.ask(Ask { profile: other_profile(), ..of("modest", 10) })));
    assert_eq!(desk.granted_to_waiters(), ["b"]);
}

/// Once wrong: with a deadline sooner than the end of the parking, the refusal told nothing.
#[test]
fn who_waits_until_its_deadline_is_told_what_it_has_waited_for() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    assert!(is_waiting(&desk.ask(Ask { deadline: at(5), ..parked(10) })));
    desk.now = 5;
    desk.core.tick(at(5), &mut desk.out);
    assert!(matches!(refusals(&mut desk)[..], [NoEndpoint::Isolated { isolated: 1, .. }]));
}

/// Once wrong: each ended attempt had every waiter looked at, though it could change nothing for them.
#[test]
fn an_attempts_end_that_makes_no_room_leaves_the_waiters_alone() {
    let mut desk = Desk::new([primary("a"), Endpoint { profiles: vec![other_profile()], ..primary("c") }]);
    desk.fail("a");
    assert!(is_waiting(&desk.ask(parked(10))));
    let elsewhere = desk.ask(Ask { profile: other_profile(), ..ask() });
    let Acquired::Granted(elsewhere) = elsewhere else { panic!("not granted") };
    desk.now = 10;
    desk.settle(&elsewhere, Outcome::Success);
    assert_eq!(refusals(&mut desk), [], "their time is up, but that is for the clock to say");
    desk.core.tick(at(10), &mut desk.out);
    assert_eq!(refusals(&mut desk).len(), 1);
}

#[test]
fn a_verification_is_hastened_anew_after_its_endpoint_was_switched_off_and_on() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    desk.out.clear();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 1);
    for enabled in [false, true] {
        desk.core.set_enabled(&id("a"), enabled, ADMIN, at(0), &mut desk.out).unwrap();
    }
    desk.out.clear();
    assert!(is_waiting(&desk.ask(parked(10))));
    assert_eq!(hastened(&mut desk), 1, "the verifier knows nothing of the first any more");
}

#[test]
fn a_models_cooldown_that_ends_brings_no_request_of_another_path_back_to_where_it_failed() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    desk.fail("b");
    let grant = desk.lease();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&grant, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    let epoch = desk.core.view_of_id("a").epoch;
    desk.now = 5;
    let failed_there = Ask { service: Service::Other, tried: vec![tried("a", epoch)], ..parked(15) };
    assert!(!matches!(desk.ask(failed_there), Acquired::Granted(_)), "nothing of a has changed for it");
}

#[test]
fn who_has_waited_for_this_moment_comes_before_who_asks_in_it() {
    let mut desk = Desk::new([Endpoint { max_in_flight: NonZeroU32::new(1), ..primary("a") }]);
    let grant = desk.lease();
    let limit = Some(Throttle::Named(Duration::from_secs(4)));
    desk.report(&grant, Report { throttle: limit, ..Report::of(Outcome::Neutral) }, None);
    assert!(is_waiting(&desk.ask(parked(10))));
    desk.now = 4;
    let late = desk.ask(parked(10));
    assert!(is_waiting(&late), "no tick has come, and yet it is not served first: {late:?}");
    assert_eq!(desk.granted_to_waiters(), ["a"]);
}

/// Once wrong: it was waited for and verified, and when it was back the request was refused.
#[test]
fn nobody_waits_for_a_drained_endpoint_that_is_isolated_but_its_own_sessions() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    desk.apply([Endpoint { weight: 0, ..primary("a") }]);
    desk.out.clear();
    let asked = desk.ask(parked(10));
    assert!(matches!(asked, Acquired::Refused(NoEndpoint::SwitchedOff { total: 1 })), "{asked:?}");
    assert_eq!(hastened(&mut desk), 0);
}

//! What reloads and admins change, and what they can't.

use super::*;
use crate::domain::base_url::BaseUrl;
use crate::domain::endpoint::{Auth, AuthStyle};
use crate::domain::schedule::Urgency;
use crate::domain::secret::Secret;

#[test]
fn disabling_and_enabling_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    let before = desk.core.view_of_id("a").epoch;
    let switch = |desk: &mut Desk, on| desk.core.set_enabled(&id("a"), on, ADMIN, at(1), &mut Vec::new());
    assert_eq!(switch(&mut desk, false), Ok(true));
    assert_eq!(switch(&mut desk, false), Ok(false));
    assert_eq!(desk.standing("a"), Standing::Disabled);
    assert!(!desk.recover("a"), "a disabled endpoint stays disabled");
    assert_eq!(switch(&mut desk, true), Ok(true));
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.core.view_of_id("a").epoch > before);
    assert_eq!(desk.core.set_enabled(&id("x"), true, ADMIN, at(1), &mut Vec::new()), Err(SwitchError::Unknown));
}

#[test]
fn a_disabled_endpoint_gets_nothing_and_comes_back_where_it_was() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.leased(), "b");
    assert_eq!(desk.core.isolate_by_admin(&id("a"), ADMIN, at(1), &mut desk.out), Err(SwitchError::Disabled));
    desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.leased(), "a");
}

#[test]
fn a_new_definition_keeps_the_isolation_and_voids_what_was_under_way() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    let under_way = desk.lease();
    desk.fail("a");
    let old = desk.core.view_of_id("a").epoch;
    let other_key =
        Endpoint { auth: Auth::Own { style: AuthStyle::XApiKey, key: Secret::new("another") }, ..primary("a") };
    desk.apply([other_key, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.core.restore(proof(&id("a"), old), at(1), &mut desk.out).is_none());
    assert_eq!(recovery(&desk.core.failures()[0]).urgency, Urgency::AtOnce);
    assert!(!under_way.gate.is_at(under_way.ticket.epoch));
}

/// A waiting request is served as soon as its client's profile has an endpoint, and so is one that comes with the old name.
#[test]
fn a_request_goes_on_in_its_clients_profile_by_whatever_name() {
    let [one, two] = ["one", "two"].map(|name| ProfileId::new(name).unwrap());
    let [alice, bob] = ["alice", "bob"].map(|name| ClientId::new(name).unwrap());
    let of = |profile: &ProfileId| Endpoint {
        profiles: vec![profile.clone()],
        max_in_flight: NonZeroU32::new(1),
        ..primary("a")
    };
    let mut desk = Desk::new([of(&one)]);
    let parked = Reach::Parked { until: at(10) };
    let by = |client: &ClientId| Ask { profile: one.clone(), client: Some(client.clone()), reach: parked, ..ask() };
    let Acquired::Granted(under_way) = desk.ask(by(&alice)) else { panic!("a is free") };
    let Acquired::Waiting(waiter) = desk.ask(by(&alice)) else { panic!("a is full") };
    desk.core.set_clients(BTreeMap::from([(alice.clone(), two.clone())]));
    desk.apply([of(&two)]);
    desk.settle(&under_way, Outcome::Success);
    assert_eq!(desk.granted_to_waiters(), ["a"], "{waiter:?}");
    let later = desk.ask(by(&alice));
    assert!(matches!(later, Acquired::Waiting(_)), "it is full again: {later:?}");
    let gone = desk.ask(by(&bob));
    assert!(matches!(gone, Acquired::Refused(NoEndpoint::ProfileGone)), "nobody serves bob: {gone:?}");
}

#[test]
fn removing_and_adding_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    desk.apply([secondary("b")]);
    let moved = Endpoint { base_url: BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([moved, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary, "another service has no past");
}

#[test]
fn another_service_of_the_same_name_in_between_does_not_launder_a_failed_endpoint() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    let another = Endpoint { base_url: BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([another, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary);
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.recover("a"));
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Primary, "it was sound when it left");
}

#[test]
fn changing_a_sound_endpoint_into_one_that_left_isolated_does_not_launder_that() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.fail("a");
    desk.apply([secondary("b")]);
    let another = Endpoint { base_url: BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..primary("a") };
    desk.apply([another, secondary("b")]);
    let under_way = desk.lease();
    assert_eq!(under_way.endpoint.id, id("a"));
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Failure, "b"));
    assert!(!under_way.gate.is_at(under_way.ticket.epoch));
}

#[test]
fn what_an_admin_switched_off_stays_off_though_it_leaves_the_settings_and_comes_back() {
    let mut desk = Desk::new([primary("a"), secondary("b")]);
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    desk.apply([Endpoint { weight: 7, ..primary("a") }, secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Disabled);
    desk.apply([secondary("b")]);
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Disabled);
    desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.standing("a"), Standing::Primary);
}

#[test]
fn an_endpoint_whose_credential_is_missing_is_off_until_it_has_one() {
    let keyless = Endpoint { auth: Auth::Missing, ..primary("a") };
    let mut desk = Desk::new([keyless, secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Disabled, "b"));
    let switched_on = desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out);
    assert_eq!(switched_on, Err(SwitchError::NoCredential));
    desk.apply([primary("a"), secondary("b")]);
    assert_eq!((desk.standing("a"), desk.leased().as_str()), (Standing::Primary, "a"));
    desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out).unwrap();
    assert_eq!(desk.core.set_enabled(&id("a"), true, ADMIN, at(1), &mut desk.out), Ok(true));
}

#[test]
fn a_changed_weight_voids_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let grant = desk.lease();
    desk.apply([Endpoint { weight: 7, ..primary("a") }]);
    assert!(grant.gate.is_at(grant.ticket.epoch));
    desk.settle(&grant, FAILED);
    assert!(desk.core.awaits_verdict(grant.ticket.serial));
}

#[test]
fn a_removed_endpoint_finishes_what_is_in_flight() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    let grant = desk.lease();
    let kept = if grant.endpoint.id == id("a") { "b" } else { "a" };
    desk.apply([primary(kept)]);
    desk.settle(&grant, Outcome::Success);
    assert_eq!(desk.core.view(at(0)).leaks, 0);
    assert_eq!(desk.leased(), kept);
}

#[test]
fn weight_zero_takes_nothing_new() {
    let drained = Endpoint { weight: 0, ..primary("a") };
    let mut desk = Desk::new([drained, secondary("b")]);
    assert_eq!(desk.leased(), "b");
}

#[test]
fn an_admins_switch_that_moves_nobody_is_kept_all_the_same() {
    let mut off = primary("a");
    off.enabled = false;
    let mut desk = Desk::new([off]);
    desk.out.clear();
    assert_eq!(desk.core.set_enabled(&id("a"), false, ADMIN, at(1), &mut desk.out), Ok(false));
    assert!(matches!(desk.out[..], [Effect::Keep(Keep::Now)]), "{:?}", desk.out);
}

/// Once wrong: only endpoints that had left the settings were remembered, and rolling back a key made a failed one sound
/// again.
#[test]
fn another_key_and_the_old_one_again_do_not_launder_a_failed_endpoint() {
    let with =
        |key: &str| Endpoint { auth: Auth::Own { style: AuthStyle::XApiKey, key: Secret::new(key) }, ..primary("a") };
    let mut desk = Desk::new([with("x"), secondary("b")]);
    desk.fail("a");
    desk.apply([with("y"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure);
    assert!(desk.recover("a"));
    desk.apply([with("x"), secondary("b")]);
    assert_eq!(desk.standing("a"), Standing::Failure, "x has not proved itself since it failed");
    assert!(desk.recover("a"));
    for key in ["y", "x"] {
        desk.apply([with(key), secondary("b")]);
        assert_eq!(desk.standing("a"), Standing::Primary, "both have");
    }
}

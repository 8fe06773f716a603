//! Whether an endpoint is known to work at all: if one that never did is isolated, the operator is told so.

use super::super::super::base_url::BaseUrl;
use super::super::super::schedule::AtHome;
use super::*;

/// Isolates an endpoint, and returns whether the operator was told that it had never worked.
fn is_told(desk: &mut Desk, name: &str) -> bool {
    desk.out.clear();
    desk.core.isolate_by_admin(&id(name), ADMIN, at(desk.now), &mut desk.out).unwrap();
    desk.out.iter().any(|effect| matches!(effect, Effect::NeverProven(of) if *of == id(name)))
}

fn epoch(desk: &Desk) -> Epoch {
    desk.core.view_of_id("a").epoch
}

#[test]
fn of_an_endpoint_that_never_worked_the_operator_is_told_once() {
    let mut desk = Desk::new([primary("a")]);
    assert!(is_told(&mut desk, "a"));
    desk.core.set_enabled(&id("a"), false, ADMIN, at(0), &mut desk.out).unwrap();
    assert!(!desk.core.view_of_id("a").proven);
    assert!(desk.core.set_enabled(&id("a"), true, ADMIN, at(0), &mut desk.out).unwrap());
    assert!(desk.recover("a") && desk.core.view_of_id("a").proven);
    assert!(!is_told(&mut desk, "a"), "it has passed its verification");
}

#[test]
fn whoever_has_served_or_passed_any_conversation_is_known_to_work() {
    let works: [fn(&mut Desk); 3] = [
        |desk| {
            let grant = desk.lease();
            desk.settle(&grant, Outcome::Success);
        },
        |desk| desk.core.fit(&id("a"), epoch(desk), AtHome::Opinion, None, at(0), &mut desk.out),
        |desk| desk.core.proved(&id("a"), epoch(desk), &mut desk.out),
    ];
    let kept = |desk: &Desk| desk.out.iter().filter(|effect| matches!(effect, Effect::Keep(_))).count();
    for work in works {
        let mut desk = Desk::new([primary("a")]);
        assert!(!desk.core.view_of_id("a").proven);
        desk.out.clear();
        work(&mut desk);
        assert!(desk.core.view_of_id("a").proven);
        assert!(matches!(
            desk.out.iter().find(|effect| matches!(effect, Effect::Keep(_))),
            Some(Effect::Keep(Keep::Soon))
        ));
        work(&mut desk);
        assert_eq!(kept(&desk), 1, "no request writes what is written already");
        assert!(!is_told(&mut desk, "a"));
    }
}

#[test]
fn what_was_passed_in_another_epoch_or_by_another_service_proves_nothing() {
    let mut desk = Desk::new([primary("a")]);
    let before = epoch(&desk);
    desk.apply([secondary("a")]);
    desk.core.proved(&id("a"), before, &mut desk.out);
    desk.core.fit(&id("a"), before, AtHome::Opinion, None, at(0), &mut desk.out);
    assert!(!desk.core.view_of_id("a").proven);
    desk.core.proved(&id("a"), epoch(&desk), &mut desk.out);
    desk.apply([Endpoint { base_url: BaseUrl::parse("http://127.0.0.1:2").unwrap(), ..secondary("a") }]);
    assert!(!desk.core.view_of_id("a").proven, "it is another service now");
}

#[test]
fn who_served_the_latest_answer_is_known_by_name_though_it_has_left() {
    let mut desk = Desk::new([primary("a")]);
    let latest = |desk: &Desk| desk.core.view(at(0)).last_served;
    let grant = desk.lease();
    assert_eq!(latest(&desk), None);
    desk.settle(&grant, Outcome::Success);
    assert_eq!(latest(&desk), Some(id("a")));
    desk.apply([primary("b")]);
    assert_eq!(latest(&desk), Some(id("a")));
}

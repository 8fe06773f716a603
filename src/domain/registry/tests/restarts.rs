//! What one run leaves to the next.

use super::super::super::endpoint::Auth;
use super::super::super::memory::{Almanac, Image, Memory, Salt};
use super::*;

const ALMANAC: Almanac = Almanac { zero: Duration::ZERO };
const SALT: Salt = Salt::new([7; 16]);

fn begun(memory: Memory, endpoints: impl IntoIterator<Item = Endpoint>) -> Desk {
    let mut core = RegistryCore::new(registry_policy());
    core.remember(memory, &ALMANAC, at(0));
    let mut desk = Desk { core, out: Vec::new(), now: 0 };
    desk.apply(endpoints);
    desk
}

fn image(desk: &Desk) -> Image {
    desk.core.image(&ALMANAC, at(desk.now))
}

#[test]
fn services_are_named_under_the_salt_of_the_first_start_for_ever() {
    let first = begun(Memory::Fresh(SALT), [primary("a")]);
    assert_eq!(image(&first).salt, SALT);
    let second = begun(Memory::Kept(Box::new(image(&first))), [primary("a")]);
    assert_eq!(image(&second), image(&first));
    let third = begun(Memory::Lost(SALT), [primary("a")]);
    assert_eq!(image(&third).salt, SALT);
}

#[test]
fn where_the_past_is_lost_everybody_proves_itself_at_once() {
    let mut desk = begun(Memory::Lost(SALT), [primary("a"), secondary("b")]);
    let jobs = desk.core.failures();
    assert!(jobs.len() == 2 && jobs.iter().all(|job| job.at_once && job.reason == Reason::Admin), "{jobs:?}");
    assert!(desk.recover("a"));
    assert_eq!(desk.leased(), "a");
    assert_eq!(desk.standing("b"), Standing::Failure);
}

#[test]
fn a_service_that_left_isolated_comes_back_isolated_though_a_restart_was_in_between() {
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), secondary("b")]);
    before.fail("a");
    before.apply([secondary("b")]);
    let mut after = begun(Memory::Kept(Box::new(image(&before))), [secondary("b")]);
    assert_eq!(image(&after).departed.len(), 1);
    after.apply([primary("a"), secondary("b")]);
    assert_eq!(after.standing("a"), Standing::Failure);
    assert_eq!(after.leased(), "b");
}

#[test]
fn one_that_is_out_of_the_settings_only_at_the_start_comes_back_isolated_too() {
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), secondary("b")]);
    before.fail("a");
    let mut after = begun(Memory::Kept(Box::new(image(&before))), [secondary("b")]);
    after.apply([primary("a"), secondary("b")]);
    assert_eq!(after.standing("a"), Standing::Failure);
}

/// The same name for another service: what was known of the one before does not hold, but nobody is laundered by it.
#[test]
fn an_endpoint_that_is_another_service_after_a_restart_stays_isolated_and_is_asked_at_once() {
    let other = |name: &str| Endpoint { auth: Auth::Passthrough, ..primary(name) };
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), primary("b")]);
    before.fail("a");
    before.fail("b");
    assert!(before.recover("b") && before.core.view_of_id("b").slow_start);
    let kept = || Memory::Kept(Box::new(image(&before)));
    for (endpoints, at_once, slow_start) in
        [([primary("a"), primary("b")], false, true), ([other("a"), other("b")], true, false)]
    {
        let after = begun(kept(), endpoints);
        let jobs = after.core.failures();
        assert_eq!(
            jobs.iter().map(|job| (job.endpoint.id.as_str(), job.at_once)).collect::<Vec<_>>(),
            [("a", at_once)]
        );
        assert_eq!(after.core.view_of_id("b").slow_start, slow_start);
    }
}

#[test]
fn what_an_admin_has_switched_stays_switched() {
    let off = || Endpoint { enabled: false, ..secondary("b") };
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), off()]);
    for (name, on) in [("a", false), ("b", true)] {
        before.core.set_enabled(&id(name), on, ADMIN, at(0), &mut before.out).unwrap();
    }
    let kept = image(&before);
    assert_eq!((&kept.switched_off[..], &kept.switched_on[..]), (&[id("a")][..], &[id("b")][..]));
    let after = begun(Memory::Kept(Box::new(kept)), [primary("a"), off()]);
    assert_eq!((after.standing("a"), after.standing("b")), (Standing::Disabled, Standing::Secondary));
}

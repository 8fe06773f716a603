//! What an isolation knows of the one before, and of its endpoint's definition.

use super::super::super::endpoint::Auth;
use super::super::super::schedule::{Finished, Urgency};
use super::*;

#[test]
fn an_isolation_within_the_slow_start_is_a_relapse_unless_an_admin_said_so() {
    for (seconds, by_admin, relapse) in [(0, false, true), (29, false, true), (30, false, false), (0, true, false)] {
        let mut desk = Desk::new([primary("a")]);
        desk.fail("a");
        desk.recover("a");
        desk.now = seconds;
        if by_admin {
            desk.core.isolate_by_admin(&id("a"), ADMIN, at(seconds), &mut desk.out).unwrap();
        } else {
            desk.fail("a");
        }
        assert_eq!(recovery(&desk.core.failures()[0]).relapse, relapse, "after {seconds} s, by an admin: {by_admin}");
    }
}

/// A new definition is verified at once, but only once: after that the verification goes on like any other.
#[test]
fn a_new_definition_is_verified_at_once_until_that_has_failed() {
    let mut desk = Desk::new([primary("a")]);
    desk.fail("a");
    let before = desk.core.view_of_id("a").epoch;
    desk.apply([Endpoint { auth: Auth::Passthrough, ..primary("a") }]);
    let now = desk.core.view_of_id("a").epoch;
    let is_at_once = |desk: &Desk| recovery(&desk.core.failures()[0]).urgency == Urgency::AtOnce;
    assert!(is_at_once(&desk) && before != now);
    let finished = Finished { step: 1, verifications: 1, began: at(0), next_in: Duration::from_secs(5), next: at(5) };
    desk.core.still_failing(&id("a"), before, &finished, at(0), &mut desk.out);
    assert!(is_at_once(&desk), "that was the old definition's");
    desk.core.still_failing(&id("a"), now, &finished, at(0), &mut desk.out);
    assert!(!is_at_once(&desk));
}

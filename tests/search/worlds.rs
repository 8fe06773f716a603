//! The worlds that are gone through. Each is small enough for the usual run, or larger by `QCC_SEARCH=large`.

use qcc_gateway::domain::endpoint::Home;

use super::graph::{Size, search};
use super::scope::Scope;

fn is_large() -> bool {
    match std::env::var("QCC_SEARCH").as_deref() {
        Ok("large") => true,
        Ok(other) => panic!("QCC_SEARCH is {other:?}, and can only be large"),
        Err(_) => false,
    }
}

/// Goes through the smaller world, or the larger one where that is asked for.
fn search_one(small: Scope, large: Scope) -> Size {
    search(if is_large() { large } else { small })
}

#[test]
fn the_promises_hold_where_one_failure_isolates() {
    let small = Scope { requests: Some(2), ..Scope::traffic(1) };
    let size = search_one(small, Scope { requests: Some(3), reports: 2, ..small });
    assert!(size.states > 10_000, "hardly anything was reached: {size:?}");
}

#[test]
fn the_promises_hold_where_two_failures_isolate() {
    let small = Scope { requests: Some(2), reports: 2, max_per_endpoint: 2, hours: true, ..Scope::traffic(2) };
    let size = search_one(small, Scope { requests: Some(3), ..small });
    assert!(size.states > 500, "hardly anything was reached: {size:?}");
}

#[test]
fn the_promises_hold_among_equals() {
    let homes = [Home::Primary; 2];
    let small = Scope { name: "equals", homes, requests: Some(2), max_per_endpoint: 2, ..Scope::traffic(2) };
    let size = search_one(small, Scope { requests: Some(3), ..small });
    assert!(size.states > 300, "hardly anything was reached: {size:?}");
}

#[test]
fn the_promises_hold_while_an_admin_switches_clients_leave_and_messages_are_lost() {
    let small =
        Scope { name: "switches", requests: Some(1), losses: true, switches: 1, leavers: 1, ..Scope::traffic(1) };
    let size = search_one(small, Scope { workers: 1, requests: Some(2), ..small });
    assert!(size.states > 2_000, "hardly anything was reached: {size:?}");
}

#[test]
fn the_promises_hold_while_the_settings_change() {
    let small = Scope { name: "reloads", requests: Some(1), reloads: 2, ..Scope::traffic(1) };
    let size = search_one(small, Scope { reloads: 3, ..small });
    assert!(size.states > 5_000, "hardly anything was reached: {size:?}");
}

#[test]
fn the_promises_hold_while_failures_are_doubted() {
    let small = Scope { name: "doubts", requests: Some(1), doubts: true, switches: 1, ..Scope::traffic(2) };
    let size = search_one(small, Scope { requests: Some(2), switches: 0, ..small });
    assert!(size.states > 2_000, "hardly anything was reached: {size:?}");
}

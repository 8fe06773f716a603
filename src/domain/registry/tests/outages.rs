//! When an outage is reported, of a protocol for which a profile has nothing usable: at its beginning, once.

use super::*;

impl Desk {
    /// The outages reported since the last look: profile, endpoints, isolated ones.
    fn outages(&mut self) -> Vec<(String, usize, usize)> {
        let outage = |effect| match effect {
            Effect::NothingUsable { profile, endpoints, isolated, .. } => {
                Some((profile.to_string(), endpoints, isolated))
            }
            _ => None,
        };
        self.out.drain(..).filter_map(outage).collect()
    }
}

fn of_default(endpoints: usize, isolated: usize) -> Vec<(String, usize, usize)> {
    vec![("default".to_owned(), endpoints, isolated)]
}

fn disabled(name: &str) -> Endpoint {
    Endpoint { enabled: false, ..primary(name) }
}

#[test]
fn an_outage_is_told_once_and_again_only_after_one_became_usable() {
    let mut desk = Desk::new([primary("a"), primary("b")]);
    desk.fail("a");
    assert_eq!(desk.outages(), [], "one is left");
    desk.fail("b");
    assert_eq!(desk.outages(), of_default(2, 2));
    desk.core.set_enabled(&id("a"), false, ADMIN, at(0), &mut desk.out).unwrap();
    desk.core.set_enabled(&id("a"), true, ADMIN, at(0), &mut desk.out).unwrap();
    desk.apply([primary("a"), primary("b"), disabled("c")]);
    assert_eq!(desk.outages(), [], "it is the same outage");
    assert!(desk.recover("a"));
    assert_eq!(desk.outages(), []);
    desk.fail("a");
    assert_eq!(desk.outages(), of_default(3, 2));
}

#[test]
fn the_isolation_is_told_before_the_outage_that_it_brings_about() {
    let mut desk = Desk::new([primary("a")]);
    desk.out.clear();
    desk.fail("a");
    let told = desk.out.iter().filter_map(|effect| match effect {
        Effect::Note(event, _) => Some(event.kind.as_str()),
        Effect::NothingUsable { .. } => Some("nothing_usable"),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["isolated", "nothing_usable"]);
}

#[test]
fn switching_off_the_last_one_is_an_outage_too() {
    let mut desk = Desk::new([primary("a"), disabled("b")]);
    assert_eq!(desk.outages(), []);
    desk.core.set_enabled(&id("a"), false, ADMIN, at(0), &mut desk.out).unwrap();
    assert_eq!(desk.outages(), of_default(2, 0));
}

#[test]
fn a_start_or_a_reload_with_nothing_usable_is_an_outage() {
    let mut desk = Desk::new([disabled("a")]);
    assert_eq!(desk.outages(), of_default(1, 0));
    desk.apply([primary("a")]);
    assert_eq!(desk.outages(), []);
    desk.apply([disabled("a"), disabled("b")]);
    assert_eq!(desk.outages(), of_default(2, 0));
}

#[test]
fn each_profile_has_outages_of_its_own() {
    let of = |name: &str, profiles: &[&str]| Endpoint {
        profiles: profiles.iter().map(|name| ProfileId::new(name).unwrap()).collect(),
        ..primary(name)
    };
    let mut desk = Desk::new([of("a", &["default", "x"]), of("b", &["x"])]);
    desk.fail("a");
    assert_eq!(desk.outages(), of_default(1, 1));
    desk.core.set_enabled(&id("b"), false, ADMIN, at(0), &mut desk.out).unwrap();
    assert_eq!(desk.outages(), [("x".to_owned(), 2, 1)]);
}

/// Found by review: with only the endpoints of one protocol isolated, nothing was reported, though its clients were not
/// served.
#[test]
fn each_protocol_has_outages_of_its_own_if_it_is_meant_to_be_served() {
    let openai = |name: &str, enabled| Endpoint { protocol: Protocol::OpenAi, enabled, ..primary(name) };
    let lost = |desk: &mut Desk| {
        let lost = |effect| match effect {
            Effect::NothingUsable { protocol, endpoints, isolated, .. } => {
                Some((protocol.as_str(), endpoints, isolated))
            }
            _ => None,
        };
        desk.out.drain(..).filter_map(lost).collect::<Vec<_>>()
    };
    let isolate = |desk: &mut Desk, name: &str| desk.core.isolate_by_admin(&id(name), ADMIN, at(0), &mut desk.out);
    let mut desk = Desk::new([primary("a"), openai("o", false)]);
    assert_eq!(lost(&mut desk), [], "the settings have it so");
    isolate(&mut desk, "a").unwrap();
    assert_eq!(lost(&mut desk), [("anthropic", 1, 1)]);
    desk.apply([primary("a"), primary("b"), openai("o", true), openai("p", false)]);
    isolate(&mut desk, "o").unwrap();
    assert_eq!(lost(&mut desk), [("openai", 2, 1)], "there is one of the other");
    isolate(&mut desk, "b").unwrap();
    assert_eq!(lost(&mut desk), [("anthropic", 2, 2)]);
    assert!(desk.recover("o"));
    desk.core.set_enabled(&id("o"), false, ADMIN, at(0), &mut desk.out).unwrap();
    assert_eq!(lost(&mut desk), [("openai", 2, 0)], "an admin takes the last one away");
    desk.apply([Endpoint { enabled: false, ..primary("a") }, openai("o", false)]);
    assert_eq!(lost(&mut desk), [], "nothing is meant to be served: it is the same outage");
}

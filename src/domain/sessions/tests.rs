use super::super::testing::{at, session};
use super::*;

const A: Slot = Slot::from_raw(0);
const B: Slot = Slot::from_raw(1);
const MODEL: Model = None;

fn policy(max_sessions: usize) -> AffinityPolicy {
    AffinityPolicy {
        enabled: true,
        ttl: Duration::from_secs(100),
        secondary_ttl: Duration::from_secs(10),
        patience: Duration::from_secs(5),
        max_sessions: NonZeroUsize::new(max_sessions).unwrap(),
    }
}

fn key(name: &str) -> SessionKey {
    session(None, Protocol::Anthropic, name)
}

fn found(sessions: &Sessions, key: SessionKey, now: Moment, policy: &AffinityPolicy) -> Option<Bond> {
    sessions.find(key, &MODEL, now, policy).next()
}

/// Once wrong: if one model's endpoint was in a cooldown for it, the whole session moved, and the others lost their caches.
#[test]
fn each_model_of_a_session_is_bound_by_itself_and_a_new_one_begins_where_the_latest_is() {
    let policy = policy(10);
    let [opus, haiku, sonnet] = ["opus", "haiku", "sonnet"].map(|name| Some(Arc::from(name)));
    let mut sessions = Sessions::new(&policy);
    let bonds = |sessions: &Sessions, model: &Model, now| {
        sessions
            .find(key("s"), model, at(now), &policy)
            .map(|bond| (bond.endpoint, bond.has_served))
            .collect::<Vec<_>>()
    };
    sessions.bind(key("s"), &opus, A, at(0), &policy);
    sessions.used(key("s"), &opus, A, true, at(1));
    assert_eq!(bonds(&sessions, &haiku, 1), [(A, true)]);
    sessions.bind(key("s"), &haiku, B, at(2), &policy);
    assert_eq!(bonds(&sessions, &opus, 2), [(A, true), (B, false)]);
    assert_eq!(bonds(&sessions, &sonnet, 2), [(B, false)]);
    sessions.used(key("s"), &opus, A, true, at(50));
    sessions.used(key("s"), &haiku, A, true, at(60));
    assert_eq!(bonds(&sessions, &opus, 149), [(A, true)], "the latest has lapsed, and its own has not");
    assert_eq!(bonds(&sessions, &haiku, 149), []);
    sessions.bind(key("s"), &opus, A, at(100), &policy);
    assert_eq!((bonds(&sessions, &opus, 100), sessions.count(at(100), &policy)), (vec![(A, true)], 1));
    sessions.forget(|endpoint| endpoint == A);
    assert_eq!((bonds(&sessions, &opus, 100), bonds(&sessions, &haiku, 100)), (vec![], vec![(B, false)]));
}

#[test]
fn the_bonds_of_other_models_are_forgotten_with_time_too() {
    let policy = policy(10);
    let mut sessions = Sessions::new(&policy);
    for model in ["m1", "m2", "m3"] {
        sessions.bind(key("s"), &Some(Arc::from(model)), A, at(0), &policy);
    }
    assert_eq!((sessions.latest.len(), sessions.others.len()), (1, 2));
    sessions.bind(key("t"), &MODEL, A, at(101 + LONGEST_ATTEMPT.as_secs()), &policy);
    assert_eq!((sessions.latest.len(), sessions.others.len()), (1, 0));
}

#[test]
fn a_session_stays_bound_until_it_was_idle_for_too_long() {
    let policy = policy(10);
    let mut sessions = Sessions::new(&policy);
    sessions.bind(key("s"), &MODEL, A, at(0), &policy);
    let bond = Bond { with: With::ThisModel, endpoint: A, idle: Duration::from_secs(99), has_served: false };
    assert_eq!(found(&sessions, key("s"), at(99), &policy), Some(bond));
    assert_eq!(found(&sessions, key("s"), at(100), &policy), None);
    sessions.used(key("s"), &MODEL, A, true, at(50));
    sessions.used(key("s"), &MODEL, B, true, at(90));
    assert!(found(&sessions, key("s"), at(149), &policy).is_some_and(|bond| bond.has_served));
    sessions.bind(key("s"), &MODEL, A, at(50), &policy);
    assert!(found(&sessions, key("s"), at(50), &policy).is_some_and(|bond| bond.has_served));
    sessions.bind(key("s"), &MODEL, B, at(50), &policy);
    assert!(found(&sessions, key("s"), at(50), &policy).is_some_and(|bond| !bond.has_served));
    assert!(found(&sessions, key("s"), at(150), &policy).is_none());
}

#[test]
fn of_too_many_sessions_the_least_recently_used_is_forgotten() {
    let policy = policy(2);
    let mut sessions = Sessions::new(&policy);
    for name in ["s1", "s2", "s1", "s3"] {
        sessions.bind(key(name), &MODEL, A, at(0), &policy);
    }
    let known = ["s1", "s2", "s3"].map(|name| found(&sessions, key(name), at(0), &policy).is_some());
    assert_eq!((known, sessions.count(at(0), &policy)), ([true, false, true], 2));
    assert_eq!(Sessions::new(&policy).count(at(0), &policy), 0);
}

/// Once wrong: they were counted for as long as there was room for them.
#[test]
fn sessions_that_were_idle_for_too_long_do_not_count() {
    let policy = policy(10);
    let mut sessions = Sessions::new(&policy);
    for (name, now) in [("s1", 0), ("s2", 10), ("s3", 20)] {
        sessions.bind(key(name), &MODEL, A, at(now), &policy);
    }
    sessions.used(key("s1"), &MODEL, A, true, at(30));
    sessions.used(key("s2"), &MODEL, B, true, at(40));
    assert_eq!([109, 110, 120, 130].map(|now| sessions.count(at(now), &policy)), [3, 2, 1, 0]);
}

/// Once wrong: they left the table only when it was full, and each count went through all of them.
#[test]
fn what_nothing_binds_any_more_leaves_the_table_as_others_come() {
    let policy = policy(1000);
    let mut sessions = Sessions::new(&policy);
    for number in 0..100 {
        sessions.bind(key(&format!("old {number}")), &MODEL, A, at(0), &policy);
    }
    let later = 100 + LONGEST_ATTEMPT.as_secs();
    sessions.bind(key("new 0"), &MODEL, A, at(later), &policy);
    assert_eq!(sessions.latest.len(), 101, "an attempt of each may be under way");
    for number in 1..=60 {
        sessions.bind(key(&format!("new {number}")), &MODEL, A, at(later + 1), &policy);
    }
    assert_eq!((sessions.latest.len(), sessions.count(at(later + 1), &policy)), (61, 61));
}

#[test]
fn an_attempt_that_takes_longer_than_a_session_may_be_idle_keeps_it_bound_but_not_for_ever() {
    let policy = policy(10);
    let later = 100 + LONGEST_ATTEMPT.as_secs();
    for (ends, is_bound) in [(later, true), (later + 1, false)] {
        let mut sessions = Sessions::new(&policy);
        for name in ["s1", "s2", "s3", "s4"] {
            sessions.bind(key(name), &MODEL, A, at(0), &policy);
        }
        sessions.bind(key("other"), &MODEL, A, at(ends), &policy);
        // The first two of these have left the table, the others not yet.
        for name in ["s1", "s2", "s3", "s4"] {
            sessions.used(key(name), &MODEL, A, true, at(ends));
            assert_eq!(found(&sessions, key(name), at(ends), &policy).is_some(), is_bound, "{name} at {ends}");
        }
        assert_eq!(sessions.count(at(ends), &policy), if is_bound { 5 } else { 1 });
    }
}

#[test]
fn what_was_forgotten_stays_so_though_sessions_may_be_idle_for_longer_now() {
    let short = policy(10);
    let long = AffinityPolicy { ttl: Duration::from_hours(24), ..short };
    let later = 101 + LONGEST_ATTEMPT.as_secs();
    let mut sessions = Sessions::new(&short);
    for name in ["s1", "s2", "s3", "s4"] {
        sessions.bind(key(name), &MODEL, A, at(0), &short);
        sessions.used(key(name), &MODEL, A, true, at(0));
    }
    sessions.bind(key("other"), &MODEL, A, at(later), &short);
    for name in ["s1", "s4"] {
        assert_eq!(found(&sessions, key(name), at(later), &long), None, "{name}");
    }
    assert_eq!(sessions.count(at(later), &long), 1);
    sessions.bind(key("s4"), &MODEL, A, at(later), &long);
    assert!(found(&sessions, key("s4"), at(later), &long).is_some_and(|bond| !bond.has_served), "its cache is cold");
}

#[test]
fn of_a_key_no_more_is_shown_than_tells_it_from_others() {
    let [one, other] = ["s1", "s2"].map(|name| format!("{:?}", key(name)));
    assert!(one.starts_with("SessionKey(") && one.chars().count() == "SessionKey(1234…)".chars().count(), "{one}");
    assert_ne!(one, other);
}

#[test]
fn a_session_is_its_clients_and_its_protocols_own() {
    let (alice, bob) = (ClientId::new("alice").unwrap(), ClientId::new("bob").unwrap());
    let keys = [
        session(None, Protocol::Anthropic, "s"),
        session(Some(&alice), Protocol::Anthropic, "s"),
        session(Some(&bob), Protocol::Anthropic, "s"),
        session(Some(&bob), Protocol::OpenAi, "s"),
        session(Some(&bob), Protocol::OpenAi, "t"),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(keys.iter().skip(index + 1).all(|other| other != key), "{index}");
    }
}

#[test]
fn all_sessions_of_an_endpoint_can_be_forgotten() {
    let policy = policy(10);
    let mut sessions = Sessions::new(&policy);
    sessions.bind(key("s1"), &MODEL, A, at(0), &policy);
    sessions.bind(key("s2"), &MODEL, B, at(0), &policy);
    sessions.forget(|endpoint| endpoint == A);
    assert_eq!(sessions.count(at(0), &policy), 1);
    assert!(found(&sessions, key("s2"), at(0), &policy).is_some());
}

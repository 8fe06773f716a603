use super::super::testing::at;
use super::*;

const POLICY: CoolingPolicy = CoolingPolicy {
    default_cooldown: Duration::from_secs(5),
    exhausted_after: Duration::from_mins(5),
    overload_cooldown: Duration::from_secs(2),
    overload_max: Duration::from_secs(30),
    isolate_after: Duration::from_mins(2),
};

fn named(seconds: u64) -> Throttle {
    Throttle::Named(Duration::from_secs(seconds))
}

fn from(request: u64) -> Origin {
    Origin::Request(request)
}

/// When the cooldown for requests that name no model ends, in seconds.
fn until(cooling: &Cooling, now: u64) -> Option<u64> {
    Some(cooling.now(None, at(now))?.until.since(Moment::START).as_secs())
}

#[test]
fn a_named_limit_rests_the_model_and_the_later_of_two_deadlines_wins() {
    let mut cooling = Cooling::default();
    let opus: Arc<str> = Arc::from("opus");
    for (now, seconds, expected) in [(0, 7, 7), (1, 3, 7), (2, 10, 12)] {
        cooling.throttle(Some(&opus), named(seconds), from(1), at(now), at(now), &POLICY);
        let cooldown = cooling.now(Some(&opus), at(now)).unwrap();
        assert_eq!((cooldown.until, cooldown.reason), (at(expected), CooldownReason::RateLimit));
    }
    assert_eq!(cooling.now(None, at(2)), None, "another model does not rest");
    assert_eq!(cooling.now(Some(&opus), at(12)), None);
    assert!(cooling.has_ended_since(Some(&opus), at(3), at(12)));
    assert!(!cooling.has_ended_since(Some(&opus), at(3), at(11)));
    assert!(!cooling.has_ended_since(Some(&opus), at(12), at(13)));
}

#[test]
fn a_limit_without_a_time_rests_only_when_a_second_comes_from_elsewhere() {
    let mut cooling = Cooling::default();
    let mut limit = |request, now| cooling.throttle(None, Throttle::Unnamed, from(request), at(now), at(now), &POLICY);
    assert_eq!(limit(1, 0), Throttled::Noted);
    assert_eq!(limit(1, 1), Throttled::Noted, "the same request again");
    assert!(matches!(limit(2, 2), Throttled::Rests(cooldown) if cooldown.until == at(7)));
    assert!(matches!(limit(3, 8), Throttled::Rests(cooldown) if cooldown.until == at(18)), "it doubles");
    cooling.success(None);
    let after = cooling.throttle(None, Throttle::Unnamed, from(4), at(30), at(30), &POLICY);
    assert_eq!(after, Throttled::Noted, "a success resets it");
}

#[test]
fn no_more_is_believed_than_a_weeks_window_and_a_day() {
    let mut cooling = Cooling::default();
    cooling.throttle(None, named(30 * 86_400), from(1), at(0), at(0), &POLICY);
    assert_eq!(until(&cooling, 0), Some(8 * 86_400));
    assert_eq!(CooldownReason::RateLimit.as_str(), "rate_limit");
    assert_eq!(CooldownReason::Overload.as_str(), "overload");
}

/// What ends at a moment has ended at that moment.
#[test]
fn times_end_to_the_instant() {
    let unnamed = |cooling: &mut Cooling, request, now| {
        cooling.throttle(None, Throttle::Unnamed, from(request), at(now), at(now), &POLICY)
    };
    let mut remembered = Cooling::default();
    unnamed(&mut remembered, 1, 0);
    assert!(matches!(unnamed(&mut remembered, 2, 59), Throttled::Rests(_)), "within the minute");
    let mut forgotten = Cooling::default();
    unnamed(&mut forgotten, 1, 0);
    assert_eq!(unnamed(&mut forgotten, 2, 60), Throttled::Noted, "a minute later nobody remembers the first");
    let mut rests = Cooling::default();
    rests.throttle(None, named(10), from(1), at(0), at(0), &POLICY);
    assert!(matches!(unnamed(&mut rests, 1, 9), Throttled::Rests(_)), "it rests already");
    assert_eq!((rests.all(at(13)).count(), rests.all(at(14)).count()), (1, 0));
    assert_eq!(unnamed(&mut rests, 1, 14), Throttled::Noted, "it rests no more");
    let mut silent = Cooling::default();
    let mut overload = |now| silent.throttle(None, Throttle::Overload(None), from(1), at(now), at(now), &POLICY);
    overload(0);
    assert!(matches!(overload(2 + 119), Throttled::TooLong), "a silence that is too short");
    assert!(matches!(overload(121 + 120), Throttled::Rests(_)), "as long as an isolation takes");
}

#[test]
fn only_what_is_a_used_up_window_and_still_runs_ends_early() {
    let opus: Arc<str> = Arc::from("opus");
    let mut cooling = Cooling::default();
    cooling.throttle(Some(&opus), named(60), from(1), at(0), at(0), &POLICY);
    assert!(!cooling.end_exhausted(Some(&opus), at(10), &POLICY), "a short one");
    assert!(cooling.now(Some(&opus), at(10)).is_some());
    cooling.throttle(None, named(3600), from(1), at(0), at(0), &POLICY);
    assert!(!cooling.end_exhausted(None, at(3600), &POLICY), "one that is over");
    assert!(!cooling.end_exhausted(Some(&opus), at(3599), &POLICY), "another model's");
    assert!(cooling.end_exhausted(None, at(3599), &POLICY));
}

#[test]
fn a_cooldown_of_before_the_start_is_taken_up() {
    for reason in [CooldownReason::RateLimit, CooldownReason::Overload] {
        let mut cooling = Cooling::default();
        let before = Cooldown { since: at(0), until: at(9), reason };
        cooling.resume(None, before);
        assert_eq!(cooling.now(None, at(8)), Some(before));
    }
}

#[test]
fn an_overload_rests_twice_as_long_each_time_until_a_success() {
    let mut cooling = Cooling::default();
    for (now, expected) in [(0, 2), (10, 14), (20, 28), (30, 46), (50, 80), (81, 111)] {
        cooling.throttle(None, Throttle::Overload(None), from(1), at(now), at(now), &POLICY);
        assert_eq!(until(&cooling, now), Some(expected), "at {now}");
    }
    cooling.success(None);
    cooling.throttle(None, Throttle::Overload(None), from(1), at(115), at(115), &POLICY);
    assert_eq!(until(&cooling, 115), Some(117));
}

#[test]
fn a_burst_of_overloads_doubles_once() {
    let mut cooling = Cooling::default();
    for _ in 0..20 {
        cooling.throttle(None, Throttle::Overload(None), from(1), at(0), at(1), &POLICY);
    }
    assert_eq!(until(&cooling, 1), Some(3));
}

#[test]
fn an_overload_may_name_its_own_time() {
    let mut cooling = Cooling::default();
    let seven = Throttle::Overload(Some(Duration::from_secs(7)));
    cooling.throttle(None, seven, from(1), at(0), at(0), &POLICY);
    assert_eq!(until(&cooling, 0), Some(7));
    let mut zero = Cooling::default();
    zero.throttle(None, Throttle::Overload(Some(Duration::ZERO)), from(1), at(0), at(0), &POLICY);
    assert_eq!(until(&zero, 0), Some(2), "no time at all is none");
}

/// Once wrong: a millisecond was believed, so that each waiting request asked a thousand times a second.
#[test]
fn an_overload_can_not_ask_for_hardly_any_time() {
    let mut cooling = Cooling::default();
    let hardly = Throttle::Overload(Some(Duration::from_millis(1)));
    let told = cooling.throttle(None, hardly, from(1), at(0), at(0), &POLICY);
    assert!(matches!(told, Throttled::Rests(cooldown) if cooldown.until == Moment::START + SHORTEST), "{told:?}");
}

/// Once wrong: a day was believed, during which the endpoint was asked nothing.
#[test]
fn an_overload_can_not_ask_for_more_than_a_moment() {
    let mut cooling = Cooling::default();
    let day = Throttle::Overload(Some(Duration::from_hours(24)));
    cooling.throttle(None, day, from(1), at(0), at(0), &POLICY);
    assert_eq!(until(&cooling, 0), Some(POLICY.exhausted_after.as_secs()));
}

/// Once wrong: the time of a cooldown, when nothing is sent, counted as a silence.
#[test]
fn an_overload_that_names_a_long_time_again_is_too_long_too() {
    let mut cooling = Cooling::default();
    let mut overload = |now| {
        let long = Throttle::Overload(Some(Duration::from_secs(300)));
        cooling.throttle(None, long, from(1), at(now), at(now), &POLICY) == Throttled::TooLong
    };
    assert_eq!([0, 301].map(&mut overload), [false, true]);
}

/// Once wrong: a short rest of another model made the time of the long one a silence.
#[test]
fn a_short_overload_of_another_model_does_not_shorten_a_long_one() {
    let mut cooling = Cooling::default();
    let opus: Arc<str> = Arc::from("opus");
    let mut overload = |model, named, now| {
        let overload = Throttle::Overload(Some(Duration::from_secs(named)));
        cooling.throttle(model, overload, from(1), at(now), at(now), &POLICY) == Throttled::TooLong
    };
    assert!(!overload(Some(&opus), 300, 0) && !overload(None, 2, 10));
    assert!(overload(Some(&opus), 2, 301));
}

#[test]
fn overloaded_for_too_long_without_a_success_is_too_long() {
    let overload = |cooling: &mut Cooling, now| {
        cooling.throttle(None, Throttle::Overload(None), from(1), at(now), at(now), &POLICY) == Throttled::TooLong
    };
    let mut cooling = Cooling::default();
    assert_eq!([0, 60, 119, 120].map(|now| overload(&mut cooling, now)), [false, false, false, true]);
    let mut with_success = Cooling::default();
    overload(&mut with_success, 0);
    overload(&mut with_success, 60);
    with_success.success(None);
    assert!(!overload(&mut with_success, 120));
    let mut after_silence = Cooling::default();
    overload(&mut after_silence, 0);
    assert!(!overload(&mut after_silence, 500), "nobody had asked it in between");
}

#[test]
fn each_of_several_used_up_windows_has_its_turn() {
    let models = ["opus", "haiku", "sonnet"].map(Arc::<str>::from);
    let mut cooling = Cooling::default();
    for (model, now) in models.iter().zip(0..) {
        cooling.throttle(Some(model), named(3600), from(1), at(now), at(now), &POLICY);
    }
    let mut turns = Vec::new();
    for now in 10..15 {
        let model = cooling.exhausted(at(now), &POLICY).and_then(|(model, _)| model).cloned();
        cooling.still_exhausted(model.as_ref(), at(now));
        turns.extend(model);
    }
    assert_eq!(turns.iter().map(|model| &**model).collect::<Vec<_>>(), ["opus", "haiku", "sonnet", "opus", "haiku"]);
}

#[test]
fn a_used_up_window_can_end_early() {
    let mut cooling = Cooling::default();
    cooling.throttle(None, named(3600), from(1), at(0), at(0), &POLICY);
    assert!(cooling.exhausted(at(10), &POLICY).is_some());
    assert!(cooling.end_exhausted(None, at(10), &POLICY));
    assert_eq!(cooling.now(None, at(10)), None);
    cooling.throttle(None, named(299), from(1), at(20), at(20), &POLICY);
    assert!(cooling.exhausted(at(20), &POLICY).is_none());
}

#[test]
fn a_window_is_used_up_by_more_than_the_time_that_is_set() {
    for (seconds, expected) in [(300, false), (301, true)] {
        let mut cooling = Cooling::default();
        cooling.throttle(None, named(seconds), from(1), at(0), at(0), &POLICY);
        assert_eq!(cooling.exhausted(at(0), &POLICY).is_some(), expected, "{seconds} s");
    }
}

#[test]
fn a_cooldown_that_begins_as_another_ends_is_one_of_its_own() {
    let mut cooling = Cooling::default();
    for now in [0, 10] {
        cooling.throttle(None, named(10), from(1), at(now), at(now), &POLICY);
        assert_eq!(cooling.now(None, at(now)).map(|cooldown| cooldown.since), Some(at(now)));
    }
}

/// An endpoint that has shown that it works does not rest for what led to its isolation; a limit is another matter.
#[test]
fn a_recovery_forgets_overloads_and_no_limits() {
    let mut cooling = Cooling::default();
    let opus: Arc<str> = Arc::from("opus");
    let overload = |cooling: &mut Cooling, now| {
        cooling.throttle(None, Throttle::Overload(None), from(1), at(now), at(now), &POLICY)
    };
    cooling.throttle(Some(&opus), named(600), from(1), at(0), at(0), &POLICY);
    for now in [0, 60, 119] {
        overload(&mut cooling, now);
    }
    cooling.recover();
    assert_eq!(until(&cooling, 119), None);
    assert!(cooling.now(Some(&opus), at(119)).is_some());
    let first = Cooldown { since: at(120), until: at(122), reason: CooldownReason::Overload };
    assert_eq!(overload(&mut cooling, 120), Throttled::Rests(first), "the first of a new series");
}

#[test]
fn clients_can_not_fill_the_memory_with_names_of_models() {
    let mut cooling = Cooling::default();
    for number in 0..1000 {
        let model: Arc<str> = Arc::from(format!("m{number}"));
        cooling.throttle(Some(&model), named(10), from(1), at(0), at(0), &POLICY);
        assert!(cooling.by_model.len() <= MAX_MODELS, "after {number}");
    }
}

#[test]
fn among_many_models_those_whose_rest_has_ended_make_room_and_no_other() {
    let mut cooling = Cooling::default();
    let [long, late] = ["long", "late"].map(Arc::<str>::from);
    cooling.throttle(Some(&long), named(100), from(1), at(0), at(0), &POLICY);
    for number in 1..MAX_MODELS {
        let model: Arc<str> = Arc::from(format!("m{number}"));
        cooling.throttle(Some(&model), named(10), from(1), at(0), at(0), &POLICY);
    }
    cooling.throttle(Some(&late), named(5), from(1), at(10), at(10), &POLICY);
    let kept: Vec<_> = cooling.by_model.keys().flatten().map(|model| &**model).collect();
    assert_eq!(kept, ["late", "long"]);
}

/// Once wrong: attempts under way at the same time got the delay of the next step.
#[test]
fn a_burst_of_limits_without_a_time_doubles_nothing() {
    let mut cooling = Cooling::default();
    for request in 1..=20 {
        cooling.throttle(None, Throttle::Unnamed, from(request), at(0), at(1), &POLICY);
    }
    assert_eq!(until(&cooling, 1), Some(6));
}

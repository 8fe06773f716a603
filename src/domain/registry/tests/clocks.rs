//! A clock that was set back between two runs makes nothing last longer.

use super::super::super::conversation::Manner;
use super::super::super::cooling::CooldownReason;
use super::super::super::memory::{
    Almanac, Image, KeptCooldown, KeptEndpoint, KeptIsolation, KeptProgress, Memory, Salt, ServiceDigest, Timestamp,
};
use super::super::super::schedule::{Schedule, SchedulePolicy};
use super::*;

const ALMANAC: Almanac = Almanac { zero: Duration::ZERO };
/// By how much the clock was ahead when the file was written, in seconds: a year.
const AHEAD: u64 = 365 * 24 * 3600;

fn desk_of(change: impl FnOnce(&mut KeptEndpoint), now: u64) -> Desk {
    let salt = Salt::default();
    let a = primary("a");
    let mut kept = KeptEndpoint {
        id: id("a"),
        service: ServiceDigest::of(&a, salt),
        isolation: None,
        recovered_at: None,
        progress: KeptProgress::default(),
        cooldowns: Vec::new(),
        proven: false,
    };
    change(&mut kept);
    let image = Image { salt, made_at: time(now + AHEAD), endpoints: vec![kept], ..Image::default() };
    let mut core = RegistryCore::new(registry_policy());
    core.remember(Memory::Kept(Box::new(image)), &ALMANAC, at(now));
    let mut desk = Desk { core, out: Vec::new(), now };
    desk.apply([a]);
    desk
}

fn time(seconds: u64) -> Timestamp {
    ALMANAC.time_of(at(seconds))
}

#[test]
fn an_isolated_endpoint_that_was_not_verified_yet_is_verified_soon_though_the_clock_was_set_back() {
    let isolation = KeptIsolation {
        reason: Reason::UpstreamStatus,
        at: time(1000 + AHEAD),
        failures: 3,
        error: None,
        manner: Manner::Whole,
        model: None,
        suffices: Suffices::ThatModel,
        relapse: false,
        at_once: false,
    };
    let desk = desk_of(|kept| kept.isolation = Some(isolation), 1000);
    let policy = SchedulePolicy {
        initial_delay: Duration::from_secs(5),
        multiplier: 2.0,
        interval: Duration::from_mins(1),
        interval_account: Duration::from_mins(15),
        jitter: 0.0,
        concurrency: 4,
    };
    let mut schedule = Schedule::new(policy);
    schedule.update(&desk.core.conversations(at(1000)), at(1000), || 0.5);
    let due = schedule.next_due().unwrap();
    assert!(due <= at(1060), "due in {:?}", due.since(at(1000)));
}

#[test]
fn a_verification_that_was_planned_comes_as_soon_as_planned() {
    let isolation = KeptIsolation {
        reason: Reason::Account,
        at: time(900 + AHEAD),
        failures: 1,
        error: None,
        manner: Manner::Whole,
        model: None,
        suffices: Suffices::ThatModel,
        relapse: false,
        at_once: false,
    };
    let progress = KeptProgress { step: 9, verifications: 3, next: Some(time(1100 + AHEAD)) };
    let desk = desk_of(|kept| (kept.isolation, kept.progress) = (Some(isolation), progress), 1000);
    let resume = recovery(&desk.core.conversations(at(1000))[0]).resume.unwrap();
    assert_eq!(resume.since_isolation.unwrap().next, at(1100));
}

#[test]
fn a_short_cooldown_stays_short_though_the_clock_was_set_back() {
    let cooldown = KeptCooldown {
        model: None,
        since: time(1000 + AHEAD),
        until: time(1005 + AHEAD),
        reason: CooldownReason::RateLimit,
    };
    let desk = desk_of(|kept| kept.cooldowns = vec![cooldown], 1000);
    let view = desk.core.view(at(1010));
    assert_eq!(view.endpoints[0].cooldowns, [], "it was one of five seconds");
}

#[test]
fn slow_start_ends_though_the_clock_was_set_back() {
    let desk = desk_of(|kept| kept.recovered_at = Some(time(1000 + AHEAD)), 1000);
    assert!(!desk.core.view(at(1100)).endpoints[0].slow_start);
}

//! What one run leaves to the next.

use super::super::super::conversation::Manner;
use super::super::super::endpoint::Auth;
use super::super::super::events::EventKind;
use super::super::super::memory::{Almanac, Image, KeptProgress, Memory, Salt};
use super::super::super::opinions::FailedAttempt;
use super::super::super::schedule::{Finished, Recovery, Resume, Urgency, Verified};
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

/// The third verification of an isolated endpoint has failed just now.
fn fail_verification(desk: &mut Desk, name: &str) {
    let next_in = Duration::from_secs(60);
    let finished = Finished { step: 3, verifications: 3, began: at(desk.now), next_in, next: at(desk.now) + next_in };
    let epoch = desk.core.view_of_id(name).epoch;
    desk.core.still_failing(&id(name), epoch, &finished, at(desk.now), &mut desk.out);
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
    assert!(
        jobs.len() == 2
            && jobs.iter().map(recovery).all(|job| job.urgency == Urgency::AtOnce && job.reason == Reason::Admin),
        "{jobs:?}"
    );
    assert!(desk.recover("a"));
    assert_eq!(desk.leased(), "a");
    assert_eq!(desk.standing("b"), Standing::Failure);
}

#[test]
fn where_only_the_latest_is_lost_all_others_prove_themselves_too() {
    let all = || [primary("a"), secondary("b"), secondary("c"), secondary("d")];
    let mut before = begun(Memory::Fresh(SALT), all());
    before.fail("a");
    before.fail("c");
    assert!(before.recover("c"));
    before.core.set_enabled(&id("d"), false, ADMIN, at(before.now), &mut before.out).unwrap();
    let outdated = Memory::Outdated(Box::new(image(&before)));
    let mut after = begun(outdated, all());
    let reasons = after
        .core
        .failures()
        .iter()
        .map(|job| (job.subject.endpoint.id.to_string(), recovery(job).reason))
        .collect::<Vec<_>>();
    let proves = |name: &str, reason| (name.to_owned(), reason);
    assert_eq!(
        reasons,
        [proves("a", Reason::UpstreamStatus), proves("b", Reason::Admin), proves("c", Reason::Admin)],
        "what is known of an isolation stays, and whoever had none has one"
    );
    assert_eq!(after.standing("d"), Standing::Disabled);
    after.core.set_enabled(&id("d"), true, ADMIN, at(after.now), &mut after.out).unwrap();
    assert_eq!(after.standing("d"), Standing::Failure);
    assert!(after.recover("b"));
    assert_eq!(after.leased(), "b");
}

/// The isolations reported since the last call: endpoint, reason, note.
fn told_isolated(desk: &mut Desk) -> Vec<(String, Option<Reason>, MoveNote)> {
    let told = |effect| match effect {
        Effect::Note(event, note) if event.kind == EventKind::Isolated => {
            Some((event.endpoint?.to_string(), event.reason, note))
        }
        _ => None,
    };
    desk.out.drain(..).filter_map(told).collect()
}

#[test]
fn an_isolation_is_told_where_it_begins_and_where_settings_bring_it_back_but_not_again_at_each_start() {
    let failed = |name: &str| (name.to_owned(), Some(Reason::UpstreamStatus), MoveNote::Failures(3));
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), secondary("b")]);
    before.fail("a");
    assert_eq!(told_isolated(&mut before), [failed("a")]);
    before.apply([Endpoint { weight: 7, ..primary("a") }, secondary("b")]);
    assert_eq!(told_isolated(&mut before), [], "it was isolated already");
    let mut after = begun(Memory::Kept(Box::new(image(&before))), [primary("a"), secondary("b")]);
    assert_eq!((after.standing("a"), told_isolated(&mut after)), (Standing::Failure, vec![]));
    after.apply([secondary("b")]);
    after.apply([primary("a"), secondary("b")]);
    assert_eq!(told_isolated(&mut after), [failed("a")]);
    after.apply([secondary("b")]);
    after.apply([Endpoint { auth: Auth::Passthrough, ..primary("a") }, secondary("b")]);
    assert_eq!((after.standing("a"), told_isolated(&mut after)), (Standing::Primary, vec![]));
    after.apply([primary("a"), secondary("b")]);
    assert_eq!((after.standing("a"), told_isolated(&mut after)), (Standing::Failure, vec![failed("a")]));
    let mut lost = begun(Memory::Lost(SALT), [primary("a"), secondary("b")]);
    let nobody_knows = |name: &str| (name.to_owned(), Some(Reason::Admin), MoveNote::Failures(0));
    assert_eq!(told_isolated(&mut lost), [nobody_knows("a"), nobody_knows("b")]);
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

/// With the same name for another service, what was known of the old one does not hold, but no isolation is laundered.
#[test]
fn an_endpoint_that_is_another_service_after_a_restart_stays_isolated_and_is_asked_at_once() {
    let other = |name: &str| Endpoint { auth: Auth::Passthrough, ..primary(name) };
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), primary("b")]);
    before.fail("a");
    before.fail("b");
    assert!(before.recover("b") && before.core.view_of_id("b").slow_start);
    let kept = || Memory::Kept(Box::new(image(&before)));
    for (endpoints, urgency, slow_start) in
        [([primary("a"), primary("b")], Urgency::Delayed, true), ([other("a"), other("b")], Urgency::AtOnce, false)]
    {
        let after = begun(kept(), endpoints);
        let jobs = after.core.failures();
        assert_eq!(
            jobs.iter().map(|job| (job.subject.endpoint.id.as_str(), recovery(job).urgency)).collect::<Vec<_>>(),
            [("a", urgency)]
        );
        assert_eq!(after.core.view_of_id("b").slow_start, slow_start);
    }
}

/// Found by review: after a restart the operator was told that an endpoint that had served for months had never worked.
#[test]
fn who_has_worked_in_the_last_run_is_known_to_work_in_this_one_unless_it_is_another_service_now() {
    let mut before = begun(Memory::Fresh(SALT), [primary("a"), secondary("b")]);
    let grant = before.lease();
    before.settle(&grant, Outcome::Success);
    let written = serde_json::to_value(image(&before)).unwrap();
    let mut earlier = written.clone();
    assert!(earlier["endpoints"][0].as_object_mut().unwrap().remove("proven").is_some());
    let other = Endpoint { auth: Auth::Passthrough, ..primary("a") };
    for (written, a, proven) in
        [(&written, primary("a"), true), (&written, other, false), (&earlier, primary("a"), false)]
    {
        let memory = Memory::Kept(Box::new(serde_json::from_value(written.clone()).unwrap()));
        let mut after = begun(memory, [a, secondary("b")]);
        assert_eq!(["a", "b"].map(|name| after.core.view_of_id(name).proven), [proven, false]);
        after.fail("a");
        let is_told = after.out.iter().any(|effect| matches!(effect, Effect::NeverProven(_)));
        assert_eq!(is_told, !proven);
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

#[test]
fn an_endpoint_that_has_failed_in_a_stream_has_to_stream_in_the_next_run_too() {
    for manner in [Manner::Whole, Manner::Either, Manner::Streamed] {
        let mut before = begun(Memory::Fresh(SALT), [primary("a")]);
        let fail = |desk: &mut Desk| {
            let grant = desk.lease();
            let error = Some(ErrorNote::new("HTTP 500").seen_in(manner));
            desk.report(&grant, Report { error, ..Report::of(FAILED) }, None);
            desk.judge(&grant, TRIP);
            desk.core.failures()[0].subject.manner
        };
        let at_first = fail(&mut before);
        assert_eq!(at_first, if manner == Manner::Either { Manner::Whole } else { manner });
        assert!(before.recover("a"));
        assert_eq!(fail(&mut before), manner, "in a relapse");
        let written = serde_json::to_string(&image(&before)).unwrap();
        let after = begun(Memory::Kept(Box::new(serde_json::from_str(&written).unwrap())), [primary("a")]);
        assert_eq!(after.core.failures()[0].subject.manner, manner);
    }
}

#[test]
fn an_isolation_and_its_verification_go_on_as_they_were() {
    let key = |name: &str| Endpoint { auth: Auth::Passthrough, ..primary(name) };
    let mut before = begun(Memory::Fresh(SALT), ["relapsed", "redefined", "doubted"].map(primary));
    before.fail("relapsed");
    assert!(before.recover("relapsed"));
    before.fail("relapsed");
    fail_verification(&mut before, "relapsed");
    before.fail("redefined");
    let endpoints = || [primary("relapsed"), key("redefined"), primary("doubted")];
    before.apply(endpoints());
    let grant = before.lease();
    before.settle(&grant, FAILED);
    before.judge(&grant, TRIP);
    let failed =
        FailedAttempt { ticket: grant.ticket, kind: FailureKind::UpstreamStatus, status: Some(500), error: None };
    before.core.doubt(&ask(), &[failed], at(0), &mut before.out);
    let after = begun(Memory::Kept(Box::new(image(&before))), endpoints());
    assert_eq!(image(&after), image(&before));
    let next = at(60);
    let resume = Resume { step: 3, since_isolation: Some(Verified { verifications: 3, next }) };
    let begins_anew = Resume { step: 0, since_isolation: None };
    let jobs = after.core.failures();
    let jobs = jobs.iter().map(|job| {
        let Recovery { relapse, urgency, resume, .. } = recovery(job);
        (job.subject.endpoint.id.as_str(), relapse, urgency, resume.unwrap())
    });
    assert_eq!(
        jobs.collect::<Vec<_>>(),
        [
            ("doubted", false, Urgency::AtOnce, begins_anew),
            ("redefined", false, Urgency::AtOnce, begins_anew),
            ("relapsed", true, Urgency::Delayed, resume)
        ]
    );
}

#[test]
fn after_a_recovery_the_step_that_was_reached_is_kept_for_a_relapse() {
    let mut desk = begun(Memory::Fresh(SALT), [primary("a")]);
    let progress = |desk: &Desk| image(desk).endpoints[0].progress;
    desk.fail("a");
    fail_verification(&mut desk, "a");
    assert!(desk.recover("a"));
    let of_step = KeptProgress { step: 3, ..KeptProgress::default() };
    assert_eq!(progress(&desk), of_step);
    for (now, is_kept) in [(29, true), (30, false)] {
        desk.now = now;
        assert_eq!(image(&desk).endpoints[0].recovered_at.is_some(), is_kept, "the slow start, at {now}");
    }
    desk.now = 0;
    desk.fail("a");
    assert_eq!(progress(&desk), of_step, "it has relapsed");
    assert!(desk.recover("a"));
    desk.now = 30;
    desk.fail("a");
    assert_eq!(progress(&desk), KeptProgress::default(), "that is another outage");
}

/// An endpoint that passes each verification at once has no failed one whose step was noted.
#[test]
fn the_step_of_the_latest_verification_is_kept_though_it_passed() {
    let mut desk = begun(Memory::Fresh(SALT), [primary("a")]);
    let pass = |desk: &mut Desk, step| {
        let epoch = desk.core.view_of_id("a").epoch;
        desk.core.passed(&id("a"), epoch, step);
        assert!(desk.recover("a"));
        desk.core.passed(&id("a"), epoch, 9);
    };
    for step in [1, 2] {
        desk.fail("a");
        pass(&mut desk, step);
        assert_eq!(image(&desk).endpoints[0].progress, KeptProgress { step, ..KeptProgress::default() });
    }
    let mut after = begun(Memory::Kept(Box::new(image(&desk))), [primary("a")]);
    after.fail("a");
    assert_eq!(recovery(&after.core.failures()[0]).resume, Some(Resume { step: 2, since_isolation: None }));
    desk.now = 30;
    desk.fail("a");
    fail_verification(&mut desk, "a");
    pass(&mut desk, 3);
    desk.now = 60;
    desk.fail("a");
    pass(&mut desk, 1);
    assert_eq!(image(&desk).endpoints[0].progress.step, 1, "what another outage had reached is no matter");
}

#[test]
fn another_service_of_the_same_name_takes_over_no_step() {
    let mut desk = begun(Memory::Fresh(SALT), [primary("a")]);
    desk.fail("a");
    assert!(desk.recover("a"));
    desk.fail("a");
    fail_verification(&mut desk, "a");
    assert_eq!(image(&desk).endpoints[0].progress.step, 3);
    desk.apply([Endpoint { auth: Auth::Passthrough, ..primary("a") }]);
    assert_eq!(image(&desk).endpoints[0].progress, KeptProgress::default());
}

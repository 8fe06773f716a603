//! What is delivered, when, and what is lost.

use proptest::prelude::*;

use super::*;
use crate::domain::endpoint::Protocol;
use crate::domain::ids::ProfileId;
use crate::domain::testing::at;

const OK: Delivery = Delivery::Answered { status: 204, retry_after: None };

fn notice(number: u64) -> Notice {
    Notice::reload_failed(Moment::START, &number.to_string())
}

fn status(status: u16) -> Delivery {
    Delivery::Answered { status, retry_after: None }
}

/// An outbox with this many notices, pushed at the start.
fn holding(count: u64) -> Outbox {
    let mut outbox = Outbox::default();
    for number in 1..=count {
        outbox.push(notice(number), Moment::START);
    }
    outbox
}

#[track_caller]
fn begin(outbox: &mut Outbox, now: Moment) -> Parcel {
    match outbox.next(now) {
        Next::Deliver(parcel) => parcel,
        other => panic!("nothing to deliver: {other:?}"),
    }
}

#[test]
fn notices_go_out_one_at_a_time_and_in_order() {
    let mut outbox = holding(2);
    assert_eq!(begin(&mut outbox, at(0)), Parcel { number: 1, notice: notice(1), lost: 0 });
    assert_eq!(outbox.next(at(0)), Next::Nothing, "one is under way");
    assert_eq!(outbox.ended(OK, at(1), 0.5), Some(Fate::Delivered { after_failures: 0 }));
    assert_eq!(begin(&mut outbox, at(1)).number, 2);
    outbox.ended(OK, at(1), 0.5);
    assert_eq!((outbox.next(at(1)), outbox.is_empty()), (Next::Nothing, true));
    assert_eq!(outbox.ended(OK, at(1), 0.5), None, "nothing is under way");
}

#[test]
fn an_answer_decides_whether_a_notice_is_tried_again() {
    for (code, again) in [
        (200, None),
        (299, None),
        (301, Some(false)),
        (400, Some(false)),
        (404, Some(false)),
        (408, Some(true)),
        (410, Some(false)),
        (429, Some(true)),
        (500, Some(true)),
        (503, Some(true)),
        (999, Some(true)),
    ] {
        let mut outbox = holding(1);
        begin(&mut outbox, at(0));
        let fate = outbox.ended(status(code), at(0), 0.0).unwrap();
        let really = match fate {
            Fate::Delivered { .. } => None,
            Fate::Again { .. } => Some(true),
            Fate::Refused | Fate::GivenUp => Some(false),
        };
        assert_eq!((really, outbox.len()), (again, usize::from(again == Some(true))), "{code}");
    }
}

#[test]
fn the_pause_doubles_to_its_bound_and_is_all_chance() {
    let mut outbox = holding(1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        outbox.hurry();
        begin(&mut outbox, at(0));
        let Some(Fate::Again { pause, first }) = outbox.ended(Delivery::Unanswered, at(0), 1.0) else { panic!() };
        assert_eq!(first, pauses.is_empty());
        pauses.push(pause.as_secs_f64());
    }
    assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]);
    outbox.hurry();
    begin(&mut outbox, at(0));
    outbox.ended(Delivery::Unanswered, at(0), 0.25);
    assert_eq!(outbox.next(at(74)), Next::At(at(75)));
    assert_eq!(begin(&mut outbox, at(75)).number, 1);
}

#[test]
fn a_receiver_is_left_alone_for_as_long_as_it_asks_within_bounds() {
    for (asked, granted) in [(7, 7), (10_000, 900)] {
        let mut outbox = holding(1);
        begin(&mut outbox, at(0));
        let later = Delivery::Answered { status: 429, retry_after: Some(Duration::from_secs(asked)) };
        outbox.ended(later, at(0), 1.0);
        assert_eq!(outbox.next(at(0)), Next::At(at(granted)));
    }
}

#[test]
fn a_notice_is_given_up_after_an_hour_or_two_hundred_tries() {
    let mut outbox = holding(1);
    begin(&mut outbox, at(3599));
    assert!(matches!(outbox.ended(status(500), at(3599), 0.0), Some(Fate::Again { .. })));
    begin(&mut outbox, at(3600));
    assert_eq!(outbox.ended(status(500), at(3600), 0.0), Some(Fate::GivenUp));

    let mut outbox = holding(1);
    for _ in 1..200 {
        begin(&mut outbox, at(0));
        assert!(matches!(outbox.ended(status(500), at(0), 0.0), Some(Fate::Again { .. })));
    }
    begin(&mut outbox, at(0));
    assert_eq!(outbox.ended(status(500), at(0), 0.0), Some(Fate::GivenUp));
}

#[test]
fn a_receiver_that_stays_away_is_not_asked_more_often_for_the_next_notice() {
    let mut outbox = holding(2);
    for _ in 0..11 {
        outbox.hurry();
        begin(&mut outbox, at(0));
        outbox.ended(Delivery::Unanswered, at(0), 1.0);
    }
    outbox.hurry();
    begin(&mut outbox, at(3600));
    assert_eq!(outbox.ended(Delivery::Unanswered, at(3600), 1.0), Some(Fate::GivenUp));
    assert_eq!(outbox.next(at(3600)), Next::At(at(3900)));
}

#[test]
fn beyond_the_bound_the_oldest_is_dropped_and_the_next_delivered_tells_how_many() {
    let bound = MAX_WAITING as u64;
    let mut outbox = holding(bound);
    assert_eq!(begin(&mut outbox, at(0)).number, 1);
    assert_eq!(outbox.push(notice(bound + 1), at(0)), Posted::FirstOverflow);
    assert_eq!(outbox.push(notice(bound + 2), at(0)), Posted::Overflow);
    assert_eq!(outbox.len(), MAX_WAITING);
    outbox.ended(status(500), at(0), 0.0);
    assert_eq!(begin(&mut outbox, at(0)).lost, 0, "one that is under way tells the same at each try");
    outbox.ended(OK, at(0), 0.0);
    let next = begin(&mut outbox, at(0));
    assert_eq!((next.number, next.lost), (4, 2));
    outbox.ended(OK, at(0), 0.0);
    assert_eq!(begin(&mut outbox, at(0)).lost, 0);
}

#[test]
fn one_that_was_refused_is_told_of_as_lost() {
    let mut outbox = holding(3);
    begin(&mut outbox, at(0));
    outbox.ended(status(400), at(0), 0.0);
    assert_eq!(begin(&mut outbox, at(0)).lost, 1);
    outbox.ended(status(400), at(0), 0.0);
    assert_eq!(begin(&mut outbox, at(0)).lost, 2, "nobody has heard of the first yet");
}

#[test]
fn what_waits_goes_to_the_new_receiver_at_once_if_that_wants_it() {
    let mut outbox = holding(2);
    outbox.push(
        Notice::NothingUsable {
            at: at(0),
            profile: ProfileId::default(),
            protocol: Protocol::Anthropic,
            endpoints: 1,
            isolated: 1,
        },
        at(0),
    );
    begin(&mut outbox, at(0));
    outbox.ended(Delivery::Unanswered, at(0), 1.0);
    outbox.redirect(|kind| kind == NoticeKind::NothingUsable, at(0));
    assert_eq!((begin(&mut outbox, at(0)).number, outbox.len()), (3, 1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Next,
    End(u16),
    Fail,
    Pass(u64),
    Redirect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        4 => Just(Step::Next),
        3 => prop::sample::select(vec![200, 400, 429, 500]).prop_map(Step::End),
        1 => Just(Step::Fail),
        1 => (0..2000_u64).prop_map(Step::Pass),
        1 => Just(Step::Redirect),
    ];
    prop::collection::vec(step, 0..1500)
}

proptest! {
    #[test]
    fn each_is_delivered_once_in_order_or_counted_as_lost(steps in steps(), chance in 0.0..=1.0_f64) {
        let (mut outbox, mut now, mut under_way) = (Outbox::default(), 0, None);
        let (mut pushed, mut delivered, mut told) = (0, Vec::new(), 0);
        for step in steps {
            match step {
                Step::Push => {
                    outbox.push(notice(pushed), at(now));
                    pushed += 1;
                }
                Step::Next => match outbox.next(at(now)) {
                    Next::Deliver(parcel) => {
                        prop_assert!(under_way.is_none(), "two at once");
                        under_way = Some(parcel);
                    }
                    Next::At(moment) => prop_assert!(at(now) < moment),
                    Next::Nothing => prop_assert!(under_way.is_some() || outbox.is_empty()),
                },
                Step::End(_) | Step::Fail => {
                    let delivery = match step {
                        Step::End(code) => status(code),
                        _ => Delivery::Unanswered,
                    };
                    let fate = outbox.ended(delivery, at(now), chance);
                    prop_assert_eq!(fate.is_some(), under_way.is_some());
                    if let (Some(Fate::Delivered { .. }), Some(parcel)) = (fate, under_way.take()) {
                        delivered.push(parcel.number);
                        told += parcel.lost;
                    }
                }
                Step::Pass(seconds) => now += seconds,
                Step::Redirect => {
                    outbox.redirect(|_| true, at(now));
                    under_way = None;
                }
            }
            prop_assert!(outbox.len() <= MAX_WAITING);
        }
        prop_assert!(delivered.is_sorted_by(|a, b| a < b), "{:?}", delivered);
        prop_assert_eq!(pushed, delivered.len() as u64 + outbox.len() as u64 + told + outbox.lost);
        prop_assert_eq!(outbox.lost_in_all(), told + outbox.lost, "it never falls");
    }
}

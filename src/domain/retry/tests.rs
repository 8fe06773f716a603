use super::super::ids::{Epoch, Serial};
use super::super::testing::{at, id};
use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    max_per_endpoint: 2,
    deadline: Moment::after_start(Duration::from_secs(10)),
    backoff: Duration::from_millis(100),
    backoff_max: Duration::from_millis(300),
    park: Duration::from_secs(5),
};

fn ticket(endpoint: &str) -> Ticket {
    Ticket { endpoint: id(endpoint), epoch: Epoch::from_raw(1), serial: Serial::from_raw(1) }
}

fn fail<A>(
    plan: &mut Plan<A>,
    endpoint: &str,
    class: Class,
    throttle: Option<Throttle>,
    answer: Option<(LastResort, A)>,
) {
    plan.begin();
    let judgement = Judgement { throttle, ..Judgement::of_fault(class, "x") };
    plan.failed(&ticket(endpoint), &judgement, PathKind::Llm, answer, at(0));
}

fn plan(steps: &[(Class, Option<LastResort>)]) -> Plan<usize> {
    let mut plan = Plan::new(POLICY);
    for (number, (class, rank)) in steps.iter().enumerate() {
        fail(&mut plan, "a", *class, None, rank.map(|rank| (rank, number)));
    }
    plan
}

#[test]
fn attempts_end_at_their_number_and_at_the_deadline() {
    let mut plan = Plan::<()>::new(RetryPolicy { max_attempts: 2, ..POLICY });
    assert!(plan.may_try(at(0)) && !plan.may_try(at(10)) && !plan.is_last());
    plan.begin();
    assert!(plan.is_last());
    plan.begin();
    assert!(!plan.may_try(at(0)));
    plan.withdraw();
    assert!(plan.may_try(at(0)));
}

#[test]
fn the_first_attempt_is_not_the_last_though_it_is_the_only_one() {
    let only_one = Plan::<()>::new(RetryPolicy { max_attempts: 1, ..POLICY });
    assert!(!only_one.is_last());
    let mut one_of_three = Plan::<()>::new(POLICY);
    one_of_three.begin();
    assert!(!one_of_three.is_last());
}

#[test]
fn a_client_whose_own_time_is_up_is_told_of_a_timeout() {
    let mut plan = Plan::<()>::new(POLICY);
    fail(&mut plan, "a", Class::Timeout, None, None);
    plan.begin();
    plan.timed_out();
    assert_eq!(plan.take_ending(), Ending::TimedOut { attempts: 2 });
}

#[test]
fn an_overload_is_not_counted() {
    let mut plan = Plan::<()>::new(POLICY);
    for _ in 0..20 {
        fail(&mut plan, "a", Class::Overloaded, None, None);
        assert_eq!(plan.turn(), Turn::Paced);
    }
    assert!(plan.may_try(at(0)));
    assert!(plan.tried().iter().all(|tried| !tried.spent));
}

/// Found with two endpoints that lacked the model: for half of the requests nothing was left to ask the third one, which had it.
#[test]
fn an_endpoint_that_lacks_the_model_takes_nothing_of_the_retry_budget() {
    for class in Class::ALL {
        let mut plan = Plan::<()>::new(POLICY);
        fail(&mut plan, "a", class, None, None);
        fail(&mut plan, "b", Class::UpstreamStatus, None, None);
        assert_eq!(plan.turn(), Turn::Retry, "{class:?} before");
        fail(&mut plan, "c", class, None, None);
        let lacks = matches!(class, Class::ModelMissing | Class::RelayModelMissing | Class::Unsupported);
        assert_eq!(plan.turn() == Turn::Onward, lacks, "{class:?}");
    }
}

#[test]
fn the_best_answer_in_hand_is_passed_on_and_of_equals_the_last() {
    use Class::{Connect, Credential, Forbidden, Overloaded, RateLimited, Timeout, UpstreamStatus};
    use LastResort::{ClientError, Never, Overload, RateLimit, ServerError};
    for (steps, ending) in [
        (vec![(UpstreamStatus, Some(ServerError)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(1)),
        (vec![(Forbidden, Some(ClientError)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(0)),
        (vec![(RateLimited, Some(RateLimit)), (UpstreamStatus, Some(ServerError))], Ending::PassOn(1)),
        (vec![(Overloaded, Some(Overload)), (RateLimited, Some(RateLimit))], Ending::PassOn(1)),
        (vec![(Overloaded, Some(Overload)), (Connect, None)], Ending::Overloaded(0)),
        (vec![(Credential, Some(Never))], Ending::Failed { attempts: 1 }),
        (vec![(Connect, None), (Timeout, None)], Ending::Failed { attempts: 2 }),
        (vec![(Timeout, None), (Timeout, None)], Ending::TimedOut { attempts: 2 }),
        (vec![], Ending::NoAttempt),
    ] {
        assert_eq!(plan(&steps).take_ending(), ending, "{steps:?}");
    }
}

#[test]
fn of_rate_limits_the_one_that_ends_soonest_is_passed_on() {
    let named = |seconds| Some(Throttle::Named(Duration::from_secs(seconds)));
    for (throttles, expected) in
        [([named(7), named(3)], 1), ([named(3), named(7)], 0), ([named(3), Some(Throttle::Unnamed)], 1)]
    {
        let mut plan = Plan::new(POLICY);
        for (number, throttle) in throttles.into_iter().enumerate() {
            fail(&mut plan, "a", Class::RateLimited, throttle, Some((LastResort::RateLimit, number)));
        }
        assert_eq!(plan.take_ending(), Ending::PassOn(expected), "{throttles:?}");
    }
}

#[test]
fn with_a_client_error_in_hand_nobody_waits_and_nobody_is_asked_twice() {
    let mut plan = Plan::new(POLICY);
    fail(&mut plan, "a", Class::Forbidden, None, Some((LastResort::ClientError, ())));
    assert_eq!(plan.reach(at(0)), Reach::Fresh);
    assert_eq!(plan.pause_before_repeat(1.0), None);
}

#[test]
fn the_pause_before_a_repeat_doubles_up_to_its_bound_and_is_all_chance() {
    let mut plan = Plan::<()>::new(RetryPolicy { max_per_endpoint: 9, ..POLICY });
    assert_eq!(plan.pause_before_repeat(1.0), None, "nothing has failed yet");
    fail(&mut plan, "a", Class::UpstreamStatus, None, None);
    let pauses: Vec<_> = (0..4).filter_map(|_| plan.pause_before_repeat(1.0)).map(|p| p.as_millis()).collect();
    assert_eq!(pauses, [100, 200, 300, 300]);
    assert_eq!(plan.pause_before_repeat(0.0), Some(Duration::ZERO));
}

#[test]
fn an_endpoint_is_spent_after_so_many_attempts() {
    let mut plan = Plan::<()>::new(POLICY);
    fail(&mut plan, "a", Class::UpstreamStatus, None, None);
    assert!(!plan.tried()[0].spent && plan.tried()[0].host_in_doubt);
    fail(&mut plan, "a", Class::Stream, None, None);
    assert!(plan.tried()[0].spent && plan.tried()[0].host_in_doubt, "what was seen of its host is not forgotten");
    assert_eq!((plan.tried().len(), plan.failures().len(), plan.pause_before_repeat(1.0)), (1, 2, None));
}

#[test]
fn waiting_is_one_allowance() {
    let mut plan = Plan::<()>::new(POLICY);
    plan.waited(Duration::from_secs(2));
    assert_eq!(plan.reach(at(1)), Reach::Parked { until: at(4) });
    plan.waited(Duration::from_secs(9));
    assert_eq!(plan.reach(at(1)), Reach::Parked { until: at(1) });
}

#[test]
fn turns_are_told_apart_for_the_budget() {
    let mut plan = Plan::<()>::new(POLICY);
    let mut turns = vec![plan.turn()];
    for class in [Class::UpstreamStatus, Class::UpstreamStatus, Class::Overloaded, Class::Connect] {
        fail(&mut plan, "a", class, None, None);
        turns.push(plan.turn());
    }
    assert_eq!(turns, [Turn::First, Turn::Retry, Turn::Retry, Turn::Paced, Turn::Retry]);
}

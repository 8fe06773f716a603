//! A request's trail: which endpoints its attempts went to, and how each ended.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use super::ids::EndpointId;
use super::time::Moment;

/// The bytes in which most steps fit.
const LIKELY_STEP: usize = 32;
/// The most steps that are shown. Overloads are waited out, so there may be hundreds, too many for an answer's head.
const MAX_TOLD: usize = 20;

/// The label of an attempt that the client did not wait for.
const CANCELLED: &str = "cancelled";

/// One attempt, and how it ended.
#[derive(Clone, Debug)]
struct Step {
    endpoint: EndpointId,
    label: Cow<'static, str>,
    began: Moment,
    /// Set once the attempt has ended, or its answer flows.
    elapsed: Option<Duration>,
}

impl Step {
    fn tell(&self, text: &mut String) {
        let Self { endpoint, label, elapsed, .. } = self;
        for part in [endpoint.as_str(), "=", label, "@"] {
            text.push_str(part);
        }
        // Writing into a String can't fail.
        let _ = write!(text, "{}ms", elapsed.unwrap_or_default().as_millis());
    }
}

/// The attempts of one request.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    steps: Vec<Step>,
}

impl Trail {
    /// How many attempts there were.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// The endpoint that the last attempt went to.
    #[must_use]
    pub fn last_endpoint(&self) -> Option<&EndpointId> {
        self.steps.last().map(|step| &step.endpoint)
    }

    /// The trail as text: `main=529@12ms,backup=ok@340ms`. Of very many steps the first and the last, with `...` between them.
    #[must_use]
    pub fn words(&self) -> String {
        let surplus = self.steps.len().saturating_sub(MAX_TOLD);
        let omitted = if surplus > 0 { MAX_TOLD / 2..MAX_TOLD / 2 + surplus } else { 0..0 };
        let mut text = String::with_capacity(self.steps.len().min(MAX_TOLD) * LIKELY_STEP);
        for (number, step) in self.steps.iter().enumerate() {
            if omitted.contains(&number) {
                if number == omitted.start {
                    text.push_str(",...");
                }
                continue;
            }
            if number > 0 {
                text.push(',');
            }
            step.tell(&mut text);
        }
        text
    }

    /// Adds an attempt that begins.
    pub fn begin(&mut self, endpoint: EndpointId, began: Moment) {
        // Nearly always there is only one.
        self.steps.reserve_exact(1);
        self.steps.push(Step { endpoint, label: CANCELLED.into(), began, elapsed: None });
    }

    /// Takes back the last attempt, because nothing was sent.
    pub fn withdraw(&mut self) {
        self.steps.pop();
    }

    /// Notes how the last attempt ended, or that its answer flows.
    pub fn end(&mut self, label: Cow<'static, str>, elapsed: Duration) {
        if let Some(step) = self.steps.last_mut() {
            step.label = label;
            step.elapsed = Some(elapsed);
        }
    }

    /// Notes that the client no longer waits for the last attempt, or for the rest of its answer, if that is `flowing`.
    pub fn cancel(&mut self, flowing: bool, now: Moment) {
        if let Some(step) = self.steps.last_mut().filter(|step| flowing || step.elapsed.is_none()) {
            step.label = CANCELLED.into();
            step.elapsed = Some(now.since(step.began));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, id};
    use super::*;

    #[test]
    fn a_trail_tells_whom_it_went_to_and_what_came_of_it() {
        let mut trail = Trail::default();
        assert_eq!((trail.words(), trail.attempts()), (String::new(), 0));
        trail.begin(id("main"), at(1));
        assert_eq!(trail.words(), "main=cancelled@0ms");
        trail.end("529".into(), Duration::from_millis(12));
        trail.begin(id("gone"), at(2));
        trail.withdraw();
        trail.begin(id("backup"), at(2));
        trail.cancel(false, at(3));
        assert_eq!(trail.words(), "main=529@12ms,backup=cancelled@1000ms");
        assert_eq!((trail.last_endpoint(), trail.attempts()), (Some(&id("backup")), 2));
    }

    #[test]
    fn what_has_ended_is_cancelled_only_while_it_flows() {
        let mut trail = Trail::default();
        trail.begin(id("a"), at(1));
        trail.end("ok".into(), Duration::from_millis(5));
        trail.cancel(false, at(9));
        assert_eq!(trail.words(), "a=ok@5ms");
        trail.cancel(true, at(9));
        assert_eq!(trail.words(), "a=cancelled@8000ms");
    }

    /// Found with forty endpoints that were overloaded for four seconds: each was asked eight times.
    #[test]
    fn of_very_many_steps_the_first_and_the_last_are_told() {
        let trail_of = |steps: usize| {
            let mut trail = Trail::default();
            for number in 0..steps {
                trail.begin(id(&format!("e{number}")), at(0));
            }
            trail.words()
        };
        let steps = |numbers: std::ops::Range<usize>| {
            numbers.map(|number| format!("e{number}=cancelled@0ms")).collect::<Vec<_>>().join(",")
        };
        assert_eq!(trail_of(20), steps(0..20));
        assert_eq!(trail_of(21), format!("{},...,{}", steps(0..10), steps(11..21)));
        assert_eq!(trail_of(1000), format!("{},...,{}", steps(0..10), steps(990..1000)));
    }
}

//! Cooldowns: for which models an endpoint rests in its home queue, and until when. A rest is no fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::Growth;
use super::sessions::Origin;
use super::throttle::Throttle;
use super::time::Moment;

/// The longest cooldown after rate limits that name no time.
const UNNAMED_LIMIT: Duration = Duration::from_mins(1);
/// The shortest cooldown that an answer can ask for, so that one which names hardly any time does not invite a storm.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest cooldown that is believed: a week's window and a day.
const LONGEST: Duration = Duration::from_hours(8 * 24);
/// How long a rate limit that names no time is remembered in wait of a second one.
const MEMORY: Duration = Duration::from_mins(1);
/// For how many models an endpoint's cooldowns are kept; clients choose the names.
const MAX_MODELS: usize = 256;

/// How long an endpoint rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolingPolicy {
    /// After a rate limit that names no time; doubles with each further one.
    pub default_cooldown: Duration,
    /// A longer cooldown than this is a used-up window.
    pub exhausted_after: Duration,
    /// After an overload that names no time; doubles with each further one.
    pub overload_cooldown: Duration,
    /// The longest of these.
    pub overload_max: Duration,
    /// Overloaded for this long without one success isolates.
    pub isolate_after: Duration,
}

/// What an endpoint rests for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CooldownReason {
    /// The credential's limit is used up.
    RateLimit,
    /// The provider is overloaded.
    Overload,
}

impl CooldownReason {
    /// The word for it in stats and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Overload => "overload",
        }
    }
}

/// One cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// When it was announced.
    pub since: Moment,
    /// When it ends.
    pub until: Moment,
    /// What for.
    pub reason: CooldownReason,
}

/// What a throttled answer has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// Nothing: it may be the request's own fault.
    Noted,
    /// The endpoint rests until then, or rested that long already.
    Rests(Cooldown),
    /// It was overloaded for too long.
    TooLong,
}

/// The rests of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rests {
    limit: Option<Cooldown>,
    /// How many cooldowns after unnamed limits there were since the last success.
    limit_step: u32,
    /// Who got a rate limit that names no time, and when.
    unnamed: Option<(Origin, Moment)>,
    overload: Option<Cooldown>,
    overload_step: u32,
}

impl Rests {
    /// Of two deadlines the later one counts.
    fn latest(&self) -> Option<Cooldown> {
        [self.limit, self.overload].into_iter().flatten().max_by_key(|cooldown| cooldown.until)
    }
}

/// The cooldowns of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cooling {
    by_model: BTreeMap<Option<Arc<str>>, Rests>,
    /// Since when and until when overloads came without a success in between.
    overloaded: Option<(Moment, Moment)>,
    /// No cooldown ends later than this.
    rested_by: Moment,
}

impl Cooling {
    /// Whether it may rest for any model at this moment. It does not where this says so.
    #[must_use]
    pub fn may_rest(&self, now: Moment) -> bool {
        now < self.rested_by
    }

    /// Takes in an answer that says that it is too much. `began` is when its attempt was let through: one that was under way
    /// when a cooldown was announced tells nothing that this did not.
    pub fn throttle(
        &mut self,
        model: Option<&Arc<str>>,
        throttle: Throttle,
        origin: Origin,
        began: Moment,
        now: Moment,
        policy: &CoolingPolicy,
    ) -> Throttled {
        let throttled = self.take_in(model, throttle, origin, began, now, policy);
        if let Throttled::Rests(cooldown) = throttled {
            self.rested_by = self.rested_by.max(cooldown.until);
        }
        throttled
    }

    fn take_in(
        &mut self,
        model: Option<&Arc<str>>,
        throttle: Throttle,
        origin: Origin,
        began: Moment,
        now: Moment,
        policy: &CoolingPolicy,
    ) -> Throttled {
        self.make_room(now);
        if matches!(throttle, Throttle::Overload(_)) && self.is_overloaded_too_long(now, policy) {
            return Throttled::TooLong;
        }
        let rests = self.by_model.entry(model.cloned()).or_default();
        let is_news = |cooldown: &Option<Cooldown>| cooldown.is_none_or(|cooldown| cooldown.since <= began);
        match throttle {
            Throttle::Named(time) => {
                let until = now + time.clamp(SHORTEST, LONGEST);
                Throttled::Rests(extend(&mut rests.limit, until, now, CooldownReason::RateLimit))
            }
            Throttle::Unnamed => {
                let is_second = |(first, at): &(Origin, Moment)| *first != origin && now.since(*at) < MEMORY;
                let already = rests.limit.filter(|cooldown| cooldown.until > now);
                if already.is_none() && !rests.unnamed.as_ref().is_some_and(is_second) {
                    rests.unnamed = Some((origin, now));
                    return Throttled::Noted;
                }
                let until = now + grown(policy.default_cooldown, UNNAMED_LIMIT, rests.limit_step);
                if is_news(&rests.limit) {
                    rests.limit_step = rests.limit_step.saturating_add(1);
                }
                Throttled::Rests(extend(&mut rests.limit, until, now, CooldownReason::RateLimit))
            }
            Throttle::Overload(named) => {
                if is_news(&rests.overload) {
                    rests.overload_step = rests.overload_step.saturating_add(1);
                }
                let step = rests.overload_step.saturating_sub(1);
                let named = named.filter(|named| !named.is_zero()).map(|named| named.clamp(SHORTEST, LONGEST));
                let rest = named.unwrap_or_else(|| grown(policy.overload_cooldown, policy.overload_max, step));
                let cooldown = extend(&mut rests.overload, now + rest, now, CooldownReason::Overload);
                if let Some((_, latest)) = &mut self.overloaded {
                    // Nobody asks while it rests, so that time is no silence.
                    *latest = cooldown.until.max(*latest);
                }
                Throttled::Rests(cooldown)
            }
        }
    }

    /// Overloads that come again and again count from the first; after a long silence they count anew.
    fn is_overloaded_too_long(&mut self, now: Moment, policy: &CoolingPolicy) -> bool {
        let (since, latest) = match self.overloaded {
            // Another model may rest for longer than this one will.
            Some((since, latest)) if now.since(latest) < policy.isolate_after => (since, latest.max(now)),
            Some(_) | None => (now, now),
        };
        self.overloaded = Some((since, latest));
        now.since(since) >= policy.isolate_after
    }

    /// A success: what grew starts anew. A cooldown that was announced still holds.
    pub fn success(&mut self, model: Option<&Arc<str>>) {
        self.overloaded = None;
        if self.by_model.is_empty() {
            return;
        }
        if let Some(rests) = self.by_model.get_mut(&model.cloned()) {
            (rests.limit_step, rests.overload_step, rests.unnamed) = (0, 0, None);
        }
    }

    /// The cooldown for this model, if there is one now.
    #[must_use]
    pub fn now(&self, model: Option<&Arc<str>>, now: Moment) -> Option<Cooldown> {
        if self.by_model.is_empty() {
            return None;
        }
        self.by_model.get(&model.cloned())?.latest().filter(|cooldown| cooldown.until > now)
    }

    /// Whether a cooldown for this model has ended since `then`.
    #[must_use]
    pub fn has_ended_since(&self, model: Option<&Arc<str>>, then: Moment, now: Moment) -> bool {
        let latest = self.by_model.get(&model.cloned()).and_then(Rests::latest);
        latest.is_some_and(|cooldown| cooldown.until > then && cooldown.until <= now)
    }

    /// All cooldowns of this moment.
    pub fn all(&self, now: Moment) -> impl Iterator<Item = (Option<&Arc<str>>, Cooldown)> {
        self.by_model
            .iter()
            .filter_map(|(model, rests)| Some((model.as_ref(), rests.latest()?)))
            .filter(move |(_, cooldown)| cooldown.until > now)
    }

    /// The used-up window that was announced first, with the model that it is for.
    #[must_use]
    pub fn exhausted(&self, now: Moment, policy: &CoolingPolicy) -> Option<(Option<&Arc<str>>, Cooldown)> {
        self.all(now).filter(|(_, cooldown)| is_exhausted(cooldown, policy)).min_by_key(|(_, cooldown)| cooldown.since)
    }

    /// Takes up a cooldown that was announced before this process began.
    pub fn resume(&mut self, model: Option<Arc<str>>, cooldown: Cooldown) {
        self.rested_by = self.rested_by.max(cooldown.until);
        let rests = self.by_model.entry(model).or_default();
        match cooldown.reason {
            CooldownReason::RateLimit => rests.limit = Some(cooldown),
            CooldownReason::Overload => rests.overload = Some(cooldown),
        }
    }

    /// Ends all used-up windows: the endpoint has shown that it serves again.
    pub fn end_exhausted(&mut self, now: Moment, policy: &CoolingPolicy) -> bool {
        let mut ended = false;
        for rests in self.by_model.values_mut() {
            if let Some(limit) = rests.limit.as_mut().filter(|limit| limit.until > now && is_exhausted(limit, policy)) {
                limit.until = now;
                ended = true;
            }
        }
        ended
    }

    /// Forgets overloads: the endpoint has recovered.
    pub fn recover(&mut self) {
        self.overloaded = None;
        for rests in self.by_model.values_mut() {
            (rests.overload, rests.overload_step) = (None, 0);
        }
    }

    fn make_room(&mut self, now: Moment) {
        if self.by_model.len() < MAX_MODELS {
            return;
        }
        self.by_model.retain(|_, rests| rests.latest().is_some_and(|cooldown| cooldown.until > now));
        while self.by_model.len() >= MAX_MODELS {
            let soonest = self.by_model.iter().min_by_key(|(_, rests)| rests.latest().map(|latest| latest.until));
            let Some(model) = soonest.map(|(model, _)| model.clone()) else { return };
            self.by_model.remove(&model);
        }
    }
}

/// Whether a cooldown is a used-up window.
#[must_use]
pub fn is_exhausted(cooldown: &Cooldown, policy: &CoolingPolicy) -> bool {
    cooldown.reason == CooldownReason::RateLimit && cooldown.until.since(cooldown.since) > policy.exhausted_after
}

fn grown(initial: Duration, limit: Duration, step: u32) -> Duration {
    Growth { initial, multiplier: 2.0, limit, jitter: 0.0 }.delay(step, 0.5)
}

/// Sets a cooldown, or lengthens the one that runs; it is never shortened.
fn extend(slot: &mut Option<Cooldown>, until: Moment, now: Moment, reason: CooldownReason) -> Cooldown {
    let running = slot.filter(|running| running.until > now);
    let cooldown = match running {
        Some(running) if running.until >= until => running,
        Some(running) => Cooldown { until, ..running },
        None => Cooldown { since: now, until, reason },
    };
    *slot = Some(cooldown);
    cooldown
}

#[cfg(test)]
mod tests {
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

    /// When the cooldown of the model that nobody named ends, in seconds.
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
        let mut limit =
            |request, now| cooling.throttle(None, Throttle::Unnamed, from(request), at(now), at(now), &POLICY);
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

    /// What ends at a moment has ended in that moment.
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
        assert!(!cooling.end_exhausted(at(10), &POLICY), "a short one");
        assert!(cooling.now(Some(&opus), at(10)).is_some());
        cooling.throttle(None, named(3600), from(1), at(0), at(0), &POLICY);
        assert!(!cooling.end_exhausted(at(3600), &POLICY), "one that is over");
        assert!(cooling.end_exhausted(at(3599), &POLICY));
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

    /// Once wrong: the time for which nobody asks, because it rests, counted as a silence.
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
    fn a_used_up_window_can_end_early() {
        let mut cooling = Cooling::default();
        cooling.throttle(None, named(3600), from(1), at(0), at(0), &POLICY);
        assert!(cooling.exhausted(at(10), &POLICY).is_some());
        assert!(cooling.end_exhausted(at(10), &POLICY));
        assert_eq!(cooling.now(None, at(10)), None);
        cooling.throttle(None, named(299), from(1), at(20), at(20), &POLICY);
        assert!(cooling.exhausted(at(20), &POLICY).is_none());
    }

    #[test]
    fn clients_can_not_fill_the_memory_with_names_of_models() {
        let mut cooling = Cooling::default();
        for number in 0..1000 {
            let model: Arc<str> = Arc::from(format!("m{number}"));
            cooling.throttle(Some(&model), named(10), from(1), at(0), at(0), &POLICY);
        }
        assert!(cooling.by_model.len() <= MAX_MODELS);
    }
}

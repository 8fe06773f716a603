//! Cooldowns: the models for which an endpoint rests in its home queue, and until when. A rest is no fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::Growth;
use super::limits::LONGEST_REST;
use super::sessions::Origin;
use super::throttle::Throttle;
use super::time::Moment;

/// The longest cooldown after rate limits that name no time.
const UNNAMED_LIMIT: Duration = Duration::from_mins(1);
/// The shortest cooldown that an answer can ask for, so that one that names hardly any time does not invite a storm.
const SHORTEST: Duration = Duration::from_millis(500);
/// How long a rate limit that names no time is remembered, in case a second one follows.
const MEMORY: Duration = Duration::from_mins(1);
/// The most models for which an endpoint's cooldowns are kept. Clients choose the names.
const MAX_MODELS: usize = 256;

/// How long an endpoint rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolingPolicy {
    /// After a rate limit that names no time; doubles with each further one.
    pub default_cooldown: Duration,
    /// A rate limit's cooldown that is longer than this is a used-up window.
    pub exhausted_after: Duration,
    /// After an overload that names no time; doubles with each further one.
    pub overload_cooldown: Duration,
    /// The longest cooldown after overloads that name no time.
    pub overload_max: Duration,
    /// An endpoint that is overloaded for this long without one success is isolated.
    pub isolate_after: Duration,
}

/// Why an endpoint rests.
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
    /// Why.
    pub reason: CooldownReason,
}

/// What a rate limit or an overload has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// Nothing: it may be the request's own fault.
    Noted,
    /// The endpoint rests for this cooldown, which may have begun before.
    Rests(Cooldown),
    /// The endpoint was overloaded for too long.
    TooLong,
}

/// The rests of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rests {
    limit: Option<Cooldown>,
    /// How many cooldowns followed unnamed limits since the last success.
    limit_step: u32,
    /// Whose request met a rate limit that names no time, and when.
    unnamed: Option<(Origin, Moment)>,
    overload: Option<Cooldown>,
    overload_step: u32,
    /// When a conversation last found the window still used up.
    asked: Option<Moment>,
}

impl Rests {
    /// The cooldown that ends last.
    fn latest(&self) -> Option<Cooldown> {
        [self.limit, self.overload].into_iter().flatten().max_by_key(|cooldown| cooldown.until)
    }
}

/// The cooldowns of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cooling {
    by_model: BTreeMap<Option<Arc<str>>, Rests>,
    /// The first and the last moment of overloads without a success in between.
    overloaded: Option<(Moment, Moment)>,
    /// No cooldown ends later than this.
    rested_by: Moment,
}

impl Cooling {
    /// Whether the endpoint may rest for some model at this moment. If `false`, it rests for none.
    #[must_use]
    pub fn may_rest(&self, now: Moment) -> bool {
        now < self.rested_by
    }

    /// Takes in a rate limit or an overload. `began` is when its attempt was let through: an attempt that was under way when a
    /// cooldown was announced adds nothing to what that said.
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
        if matches!(throttle, Throttle::Overload(_)) && self.note_overload(now, policy) {
            return Throttled::TooLong;
        }
        let rests = self.by_model.entry(model.cloned()).or_default();
        // Only an attempt that began after the latest cooldown was announced makes the next one longer.
        let step_of = |cooldown: &Option<Cooldown>, step: &mut u32| {
            if cooldown.is_none_or(|cooldown| cooldown.since <= began) {
                *step = step.saturating_add(1);
            }
            step.saturating_sub(1)
        };
        match throttle {
            Throttle::Named(time) => {
                let until = now + time.clamp(SHORTEST, LONGEST_REST);
                Throttled::Rests(extend(&mut rests.limit, until, now, CooldownReason::RateLimit))
            }
            Throttle::Unnamed => {
                let is_second = |(first, at): &(Origin, Moment)| *first != origin && now.since(*at) < MEMORY;
                let already = rests.limit.filter(|cooldown| cooldown.until > now);
                if already.is_none() && !rests.unnamed.as_ref().is_some_and(is_second) {
                    rests.unnamed = Some((origin, now));
                    return Throttled::Noted;
                }
                let step = step_of(&rests.limit, &mut rests.limit_step);
                let until = now + grown(policy.default_cooldown, UNNAMED_LIMIT, step);
                Throttled::Rests(extend(&mut rests.limit, until, now, CooldownReason::RateLimit))
            }
            Throttle::Overload(named) => {
                let step = step_of(&rests.overload, &mut rests.overload_step);
                // An overload is momentary. One that names hours would keep the endpoint from everybody, and unlike a used-up
                // window, it is not checked meanwhile.
                let longest = policy.exhausted_after.clamp(SHORTEST, LONGEST_REST);
                let named = named.filter(|named| !named.is_zero()).map(|named| named.clamp(SHORTEST, longest));
                let rest = named.unwrap_or_else(|| grown(policy.overload_cooldown, policy.overload_max, step));
                let cooldown = extend(&mut rests.overload, now + rest, now, CooldownReason::Overload);
                if let Some((_, latest)) = &mut self.overloaded {
                    // Nobody asks the endpoint while it rests, so that time does not count as silence.
                    *latest = cooldown.until.max(*latest);
                }
                Throttled::Rests(cooldown)
            }
        }
    }

    /// Notes an overload. Returns whether overloads have gone on for too long, counted from the first of a series; a long silence
    /// ends a series.
    fn note_overload(&mut self, now: Moment, policy: &CoolingPolicy) -> bool {
        let (since, latest) = match self.overloaded {
            // Another model may rest longer than this one will.
            Some((since, latest)) if now.since(latest) < policy.isolate_after => (since, latest.max(now)),
            Some(_) | None => (now, now),
        };
        self.overloaded = Some((since, latest));
        now.since(since) >= policy.isolate_after
    }

    /// Notes a success: cooldowns grow from the beginning again. One that was announced still holds.
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

    /// The used-up window to ask about next, and its model: the window that was announced first of those never asked about, else
    /// the one that was asked about longest ago.
    #[must_use]
    pub fn exhausted(&self, now: Moment, policy: &CoolingPolicy) -> Option<(Option<&Arc<str>>, Cooldown)> {
        self.by_model
            .iter()
            .filter_map(|(model, rests)| Some((model.as_ref(), rests.latest()?, rests.asked)))
            .filter(|(_, cooldown, _)| cooldown.until > now && is_exhausted(cooldown, policy))
            .min_by_key(|(_, cooldown, asked)| (*asked, cooldown.since))
            .map(|(model, cooldown, _)| (model, cooldown))
    }

    /// Notes that a conversation found this model's window still used up, so that another one is asked about next.
    pub fn still_exhausted(&mut self, model: Option<&Arc<str>>, now: Moment) {
        if let Some(rests) = self.by_model.get_mut(&model.cloned()) {
            rests.asked = Some(now);
        }
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

    /// Ends this model's used-up window, because the endpoint has shown that it serves the model again. That says nothing about
    /// other models. Returns whether there was such a window.
    pub fn end_exhausted(&mut self, model: Option<&Arc<str>>, now: Moment, policy: &CoolingPolicy) -> bool {
        let limit = self.by_model.get_mut(&model.cloned()).and_then(|rests| rests.limit.as_mut());
        let Some(limit) = limit.filter(|limit| limit.until > now && is_exhausted(limit, policy)) else { return false };
        limit.until = now;
        true
    }

    /// Forgets overloads, because the endpoint has recovered.
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
    Growth { initial, multiplier: 2.0, limit }.delay(step)
}

/// Sets a cooldown, or lengthens the running one, which is never shortened.
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
mod tests;

//! Cooldowns, as one would keep them in a table: by model, what was announced, and what has come since the last success.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use qcc_gateway::domain::cooling::{Cooldown, CooldownReason, CoolingPolicy};
use qcc_gateway::domain::registry::CooldownView;
use qcc_gateway::domain::sessions::Origin;
use qcc_gateway::domain::throttle::Throttle;
use qcc_gateway::domain::time::Moment;

pub(crate) type Model = Option<Arc<str>>;

/// What is known of one model at one endpoint.
#[derive(Default)]
struct Line {
    limit: Option<Cooldown>,
    overload: Option<Cooldown>,
    /// Rate limits that named no time and were believed, since the last success.
    limits: u32,
    overloads: u32,
    /// The latest rate limit that named no time and was not believed.
    first_unnamed: Option<(Origin, Moment)>,
    /// When a conversation last found its window still used up.
    still_used_up: Option<Moment>,
}

impl Line {
    /// Of two the one that ends last.
    fn cooldown(&self) -> Option<Cooldown> {
        match (self.limit, self.overload) {
            (Some(limit), Some(overload)) if limit.until > overload.until => Some(limit),
            (limit, overload) => overload.or(limit),
        }
    }
}

/// What an answer that says "too much" must lead to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Nowhere,
    Rests(Option<Announced>),
    Isolates,
}

/// What is told of a cooldown when it begins, and again when it has grown into a used-up window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Cooldown,
    UsedUpWindow,
}

/// The cooldowns of one endpoint.
#[derive(Default)]
pub(crate) struct Rests {
    lines: BTreeMap<Model, Line>,
    /// The overloads since the last success, whichever the model: when they came, and until when one rested for them.
    overloaded: Vec<(Moment, Moment)>,
}

impl Rests {
    pub(crate) fn throttle(
        &mut self,
        model: &Model,
        throttle: Throttle,
        (origin, began): (Origin, Moment),
        now: Moment,
        policy: &CoolingPolicy,
    ) -> Leads {
        if let Throttle::Overload(_) = throttle {
            // While it rests nobody asks, so the silence begins when the rest ends.
            let silent_since = self.overloaded.iter().map(|(_, until)| *until).max();
            if silent_since.is_some_and(|since| now.since(since) >= policy.isolate_after) {
                self.overloaded.clear();
            }
            let first = self.overloaded.first().map_or(now, |(at, _)| *at);
            if now.since(first) >= policy.isolate_after {
                return Leads::Isolates;
            }
        }
        let was_used_up = self.now(model, now).is_some_and(|cooldown| is_exhausted(&cooldown, policy));
        let line = self.lines.entry(model.clone()).or_default();
        // Whoever asked before the latest rest was announced brings no news of its own.
        let is_news = |cooldown: Option<Cooldown>| cooldown.is_none_or(|cooldown| cooldown.since <= began);
        let believed = |time: Duration| time.clamp(Duration::from_millis(500), Duration::from_hours(8 * 24));
        let cooldown = match throttle {
            Throttle::Named(time) => rest(&mut line.limit, believed(time), now, CooldownReason::RateLimit),
            Throttle::Unnamed => {
                let rests = line.limit.is_some_and(|limit| limit.until > now);
                let of_another = line
                    .first_unnamed
                    .is_some_and(|(first, at)| first != origin && now.since(at) < Duration::from_mins(1));
                if !rests && !of_another {
                    line.first_unnamed = Some((origin, now));
                    return Leads::Nowhere;
                }
                line.limits += u32::from(is_news(line.limit));
                let time = doubled(policy.default_cooldown, line.limits.saturating_sub(1), Duration::from_mins(1));
                rest(&mut line.limit, time, now, CooldownReason::RateLimit)
            }
            Throttle::Overload(named) => {
                line.overloads += u32::from(is_news(line.overload));
                let own = doubled(policy.overload_cooldown, line.overloads.saturating_sub(1), policy.overload_max);
                let announced = named.filter(|named| *named > Duration::ZERO).map(believed);
                let time =
                    announced.map_or(own, |time| time.min(policy.exhausted_after.max(Duration::from_millis(500))));
                let cooldown = rest(&mut line.overload, time, now, CooldownReason::Overload);
                self.overloaded.push((now, cooldown.until));
                cooldown
            }
        };
        let is_used_up = is_exhausted(&cooldown, policy);
        let is_news = cooldown.since == now || (is_used_up && !was_used_up);
        let announced = if is_used_up { Announced::UsedUpWindow } else { Announced::Cooldown };
        Leads::Rests(is_news.then_some(announced))
    }

    /// What grew starts anew; what was announced still holds.
    pub(crate) fn success(&mut self, model: &Model) {
        self.overloaded.clear();
        if let Some(line) = self.lines.get_mut(model) {
            (line.limits, line.overloads, line.first_unnamed) = (0, 0, None);
        }
    }

    /// The endpoint has come back from the failure queue: it is overloaded no more.
    pub(crate) fn recover(&mut self) {
        self.overloaded.clear();
        for line in self.lines.values_mut() {
            (line.overload, line.overloads) = (None, 0);
        }
    }

    /// Of one process the next one knows only what it had announced and what still runs.
    pub(crate) fn restart(&mut self, kept: impl Fn(Moment) -> Moment, now: Moment) {
        self.overloaded.clear();
        for line in self.lines.values_mut() {
            let announced = line.cooldown().filter(|cooldown| cooldown.until > now);
            let announced = announced.map(|rest| Cooldown { since: kept(rest.since), until: kept(rest.until), ..rest });
            *line = Line::default();
            match announced {
                Some(rest) if rest.reason == CooldownReason::RateLimit => line.limit = Some(rest),
                Some(rest) => line.overload = Some(rest),
                None => {}
            }
        }
    }

    /// The endpoint serves this model again before its window begins anew. Tells whether that has ended a rest.
    pub(crate) fn return_early(&mut self, model: &Model, now: Moment, policy: &CoolingPolicy) -> bool {
        match self.lines.get_mut(model).and_then(|line| line.limit.as_mut()) {
            Some(limit) if limit.until > now && is_exhausted(limit, policy) => {
                limit.until = now;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn still_used_up(&mut self, model: &Model, now: Moment) {
        if let Some(line) = self.lines.get_mut(model) {
            line.still_used_up = Some(now);
        }
    }

    /// Of the models whose windows are used up the one that is to be asked next: in vain longest ago, or announced first.
    pub(crate) fn to_be_asked(&self, now: Moment, policy: &CoolingPolicy) -> Option<Model> {
        let used_up = self.shown(now, policy).into_iter().filter(|view| view.exhausted);
        let turn = |view: &CooldownView| (self.lines[&view.model].still_used_up, view.cooldown.since);
        used_up.min_by_key(turn).map(|view| view.model)
    }

    pub(crate) fn now(&self, model: &Model, now: Moment) -> Option<Cooldown> {
        self.lines.get(model)?.cooldown().filter(|cooldown| cooldown.until > now)
    }

    pub(crate) fn has_ended_since(&self, model: &Model, then: Moment, now: Moment) -> bool {
        let cooldown = self.lines.get(model).and_then(Line::cooldown);
        cooldown.is_some_and(|cooldown| cooldown.until > then && cooldown.until <= now)
    }

    /// All that is to be seen of it.
    pub(crate) fn shown(&self, now: Moment, policy: &CoolingPolicy) -> Vec<CooldownView> {
        let view = |(model, line): (&Model, &Line)| {
            let cooldown = line.cooldown().filter(|cooldown| cooldown.until > now)?;
            Some(CooldownView { model: model.clone(), cooldown, exhausted: is_exhausted(&cooldown, policy) })
        };
        self.lines.iter().filter_map(view).collect()
    }
}

pub(crate) fn is_exhausted(cooldown: &Cooldown, policy: &CoolingPolicy) -> bool {
    cooldown.reason == CooldownReason::RateLimit && cooldown.until.since(cooldown.since) > policy.exhausted_after
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    (0..times).fold(first, |time, _| (time * 2).min(longest))
}

/// A rest that runs is lengthened, never shortened; else a new one begins.
fn rest(slot: &mut Option<Cooldown>, time: Duration, now: Moment, reason: CooldownReason) -> Cooldown {
    let until = now + time;
    let running = slot.filter(|running| running.until > now);
    let cooldown = match running {
        Some(running) => Cooldown { until: running.until.max(until), ..running },
        None => Cooldown { since: now, until, reason },
    };
    *slot = Some(cooldown);
    cooldown
}

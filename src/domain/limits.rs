//! What the headers of an answer say about limits: how long an endpoint is to be left alone, and what is left of its allowances.

use std::time::{Duration, UNIX_EPOCH};

use super::calendar;

/// The most values that are kept of one answer. Providers send about twenty.
const MAX_VALUES: usize = 64;
/// The longest name or value that is taken for a rate limit's, in bytes.
const LONGEST: usize = 100;
/// The longest rest that is believed. Providers' longest windows are seven days.
pub(super) const LONGEST_REST: Duration = Duration::from_hours(8 * 24);
/// The rest after an answer whose named time is over already. Without it, a wrong clock would make us retry without pause.
const SHORTEST_REST: Duration = Duration::from_secs(1);
/// A plain number from here on is not a span but a date in seconds since 1970; from a thousand times this on, in milliseconds.
const FIRST_DATE: f64 = 1e9;
/// Clients give up at once on a `retry-after` above this, so a longer one is passed on as this.
pub const LONGEST_FOR_CLIENTS: Duration = Duration::from_secs(59);

const RETRY_AFTER: &str = "retry-after";
const RETRY_AFTER_MS: &str = "retry-after-ms";
const ANTHROPIC: &str = "anthropic-ratelimit-";
const OPENAI: &str = "x-ratelimit-";
/// The prefix of a subscription's windows: each window's name follows it, and their sum has none.
const UNIFIED: &str = "anthropic-ratelimit-unified";
const UNIFIED_RESET: &str = "anthropic-ratelimit-unified-reset";
const UNIFIED_STATUS: &str = "anthropic-ratelimit-unified-status";

/// The headers of one answer that concern limits, and when it came. They are parsed only when asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The time since 1970.
    came_at: Duration,
    /// Names in lower case, in the order of the answer.
    values: Vec<(String, String)>,
}

impl Limits {
    /// The limits of an answer without such headers.
    #[must_use]
    pub const fn none() -> Self {
        Self { came_at: Duration::ZERO, values: Vec::new() }
    }

    /// Picks the limits out of an answer's headers, whose names are in lower case. `came_at` is the time since 1970. Headers that
    /// are too long, or not printable ASCII, are left out.
    pub fn of<'h>(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>, came_at: Duration) -> Self {
        let concerns_limits = |name: &str| {
            matches!(name, RETRY_AFTER | RETRY_AFTER_MS) || name.starts_with(ANTHROPIC) || name.starts_with(OPENAI)
        };
        let values = headers
            .into_iter()
            .filter(|(name, value)| concerns_limits(name) && name.len() <= LONGEST && value.len() <= LONGEST)
            .filter_map(|(name, value)| Some((name, printable(value)?)))
            .take(MAX_VALUES)
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { came_at, values: values.collect() }
    }

    /// For how long the endpoint asks to be left alone: the latest of the times that `retry-after` and `retry-after-ms` name and
    /// the ends of used-up windows. `None` if the answer names no time.
    pub fn rest(&self) -> Option<Duration> {
        let used_up = self.values.iter().filter_map(|(name, value)| {
            let reset = until(value, self.came_at)?;
            self.is_used_up(name).then_some(reset)
        });
        self.named().into_iter().chain(used_up).max().map(believable)
    }

    /// The time that `retry-after` or `retry-after-ms` names; the longer one of both.
    pub fn retry_after(&self) -> Option<Duration> {
        self.named().map(believable)
    }

    /// The headers of rate limits, for people to look at.
    pub fn allowances(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_allowance = |name: &str| !matches!(name, RETRY_AFTER | RETRY_AFTER_MS);
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(move |(name, _)| is_allowance(name))
    }

    fn named(&self) -> Option<Duration> {
        let spans = self.values.iter().filter_map(|(name, value)| match name.as_str() {
            RETRY_AFTER => retry_after(value, self.came_at),
            RETRY_AFTER_MS => number(value).and_then(|millis| span(millis / 1000.0)),
            _ => None,
        });
        spans.max()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }

    /// Whether this header holds a readable time.
    fn has_time(&self, name: &str) -> bool {
        self.value(name).and_then(|value| until(value, self.came_at)).is_some()
    }

    /// Whether `name` is the `reset` of a used-up window.
    fn is_used_up(&self, name: &str) -> bool {
        let is_zero = |name: &str| self.value(name).and_then(number).is_some_and(|left| left <= 0.0);
        if let Some(window) = name.strip_suffix("-reset").filter(|_| name.starts_with(ANTHROPIC)) {
            let is_rejected =
                || self.value(&format!("{window}-status")).is_some_and(|status| status.starts_with("rejected"));
            return match window.strip_prefix(UNIFIED) {
                Some("") => is_rejected(),
                // Usage that can be bought beyond the windows, which most accounts don't do.
                Some("-overage") => false,
                // The sum tells which of them binds: a window for some models may be used up while requests are still served.
                Some(_) if self.value(UNIFIED_STATUS).is_some() && self.has_time(UNIFIED_RESET) => false,
                Some(_) | None => is_rejected() || is_zero(&format!("{window}-remaining")),
            };
        }
        // Some relays name a single window, without a kind.
        match name.strip_prefix("x-ratelimit-reset") {
            Some(kind) if kind.is_empty() || kind.starts_with('-') => is_zero(&format!("x-ratelimit-remaining{kind}")),
            Some(_) | None => false,
        }
    }
}

/// Whether this `retry-after`, passed on, would make clients give up, because they wait for at most 59 s.
#[must_use]
pub fn is_beyond_clients_patience(retry_after_value: &str, now: Duration) -> bool {
    retry_after(retry_after_value.trim(), now).is_some_and(|rest| rest > LONGEST_FOR_CLIENTS)
}

/// Whether this `retry-after-ms`, passed on, would make clients give up, because they wait for at most 59 s.
#[must_use]
pub fn is_millis_beyond_clients_patience(retry_after_ms_value: &str) -> bool {
    number(retry_after_ms_value.trim())
        .and_then(|millis| span(millis / 1000.0))
        .is_some_and(|rest| rest > LONGEST_FOR_CLIENTS)
}

fn printable(value: &[u8]) -> Option<&str> {
    let text = str::from_utf8(value).ok()?.trim();
    text.bytes().all(|b| matches!(b, b' '..=b'~')).then_some(text)
}

fn believable(rest: Duration) -> Duration {
    if rest.is_zero() { SHORTEST_REST } else { rest.min(LONGEST_REST) }
}

/// Reads seconds or a date (RFC 9110, section 10.2.3). Fractions are tolerated, and so is a date as a number.
fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    match number(value) {
        Some(number) => until_number(number, now),
        None => until_http_date(value, now),
    }
}

/// The time to a window's end, given as a date (RFC 3339 or HTTP), a span such as `6m0s` or `12ms`, a number of seconds, or a
/// date as a number.
fn until(value: &str, now: Duration) -> Option<Duration> {
    if let Some(number) = number(value) {
        return until_number(number, now);
    }
    until_rfc3339(value, now).or_else(|| written_span(value)).or_else(|| until_http_date(value, now))
}

/// The date of a window's end, as the time since 1970. `None` if it is given as a span, or lies beyond [`calendar::LAST`].
pub(super) fn date(value: &str) -> Option<Duration> {
    let date = match number(value) {
        Some(number) if number < FIRST_DATE => None,
        Some(number) => until_number(number, Duration::ZERO),
        None => until_rfc3339(value, Duration::ZERO).or_else(|| until_http_date(value, Duration::ZERO)),
    };
    date.filter(|date| *date <= calendar::LAST)
}

/// Reads a plain decimal number; not `inf`, `nan` or `1e3`.
fn number(value: &str) -> Option<f64> {
    let is_plain = value.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    is_plain.then(|| value.parse().ok()).flatten()
}

fn until_number(number: f64, now: Duration) -> Option<Duration> {
    if number >= FIRST_DATE * 1000.0 {
        return span(number / 1000.0).map(|date| date.saturating_sub(now));
    }
    if number >= FIRST_DATE {
        return span(number).map(|date| date.saturating_sub(now));
    }
    span(number)
}

/// A span of seconds: a negative number is zero, and one too large for a [`Duration`] is the longest.
fn span(seconds: f64) -> Option<Duration> {
    (!seconds.is_nan()).then(|| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

fn until_http_date(value: &str, now: Duration) -> Option<Duration> {
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(now))
}

/// The time until a date of RFC 3339; a date without a zone is taken for UTC.
fn until_rfc3339(value: &str, now: Duration) -> Option<Duration> {
    let date = calendar::with_zone(value).or_else(|| calendar::in_utc(value))?;
    Some(date.saturating_sub(now))
}

/// Reads a span as OpenAI writes it: numbers with units, such as `1h2m3.5s` or `12ms`.
fn written_span(value: &str) -> Option<Duration> {
    let mut rest = value;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at_checked(digits)?;
        let unit_ends = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_ends)?;
        let unit_in_seconds = match unit.trim() {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.saturating_add(span(amount.parse::<f64>().ok()? * unit_in_seconds)?);
        rest = after;
    }
    (!value.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests;

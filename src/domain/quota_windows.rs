//! What is left of an endpoint's allowances and windows, according to its latest headers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::limits::date;

/// The windows of Anthropic's subscriptions, as its headers name them.
const WINDOWS: [&str; 2] = ["5h", "7d"];
/// The longest name of a kind of allowance, in bytes; longer ones are ignored.
const LONGEST_KIND: usize = 40;

/// What is left of a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuotaWindow {
    /// The share that is left, 0 to 1.
    pub left: f64,
    /// When it begins anew, as the time since 1970.
    #[serde(skip)]
    pub resets: Option<Duration>,
}

/// What is left of each window, by the latest headers. A window that has begun anew since then is left out, because nothing is
/// known of it yet. `now` is the time since 1970.
#[must_use]
pub fn windows(headers: &BTreeMap<String, String>, now: Duration) -> BTreeMap<&'static str, QuotaWindow> {
    let window = |name: &'static str| {
        let value = |what: &str| headers.get(&format!("anthropic-ratelimit-unified-{name}-{what}"));
        let is_rejected = value("status").is_some_and(|status| status.starts_with("rejected"));
        let used = value("utilization").and_then(|used| number(used));
        let left = if is_rejected { Some(0.0) } else { used.map(|used| (1.0 - used).clamp(0.0, 1.0)) }?;
        let resets = value("reset").and_then(|reset| date(reset));
        let is_over = resets.is_some_and(|resets| resets <= now);
        (!is_over).then_some((name, QuotaWindow { left, resets }))
    };
    WINDOWS.into_iter().filter_map(window).collect()
}

/// What the headers name as remaining, by kind, such as `requests` or `input_tokens`; and what is left of the windows, as a share
/// of 1, such as `unified_5h`.
#[must_use]
pub fn remaining(headers: &BTreeMap<String, String>, now: Duration) -> BTreeMap<String, f64> {
    let mut remaining = BTreeMap::new();
    for (name, value) in headers {
        let anthropic = name.strip_prefix("anthropic-ratelimit-").and_then(|name| name.strip_suffix("-remaining"));
        let kind = anthropic.or_else(|| name.strip_prefix("x-ratelimit-remaining-"));
        if let (Some(kind), Some(value)) = (kind.filter(|kind| is_kind(kind)), number(value)) {
            remaining.insert(kind.replace('-', "_"), value);
        }
    }
    let windows = windows(headers, now).into_iter();
    remaining.extend(windows.map(|(name, window)| (format!("unified_{name}"), window.left)));
    remaining
}

fn is_kind(kind: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !kind.is_empty() && kind.len() <= LONGEST_KIND && kind.bytes().all(is_plain)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn headers(headers: &[(&str, &str)]) -> BTreeMap<String, String> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_left_of_a_window_is_what_is_not_used() {
        let later = Duration::from_secs(1_700_003_600);
        for (used, reset, status, left) in [
            ("0.58", "1700003600", "allowed", Some((0.42, Some(later)))),
            ("0.58", "2023-11-14T23:13:20Z", "allowed_warning", Some((0.42, Some(later)))),
            ("1.2", "1700003600", "allowed", Some((0.0, Some(later)))),
            ("0.9", "1700003600", "rejected", Some((0.0, Some(later)))),
            ("0.25", "soon", "allowed", Some((0.75, None))),
            ("0.25", "1700003600000000", "allowed", Some((0.75, None))),
            ("odd", "1700003600", "rejected", Some((0.0, Some(later)))),
            ("odd", "1700003600", "allowed", None),
            ("0.58", "1700000000", "rejected", None),
        ] {
            let headers = headers(&[
                ("anthropic-ratelimit-unified-5h-utilization", used),
                ("anthropic-ratelimit-unified-5h-reset", reset),
                ("anthropic-ratelimit-unified-5h-status", status),
            ]);
            let found = windows(&headers, NOW).remove("5h");
            assert_eq!(found.map(|window| window.resets), left.map(|(_, resets)| resets), "{used} {reset} {status}");
            if let (Some(found), Some((left, _))) = (found, left) {
                assert!((found.left - left).abs() < 1e-9, "{found:?}");
            }
        }
    }

    #[test]
    fn remaining_allowances_have_the_kinds_that_providers_name() {
        let headers = headers(&[
            ("anthropic-ratelimit-input-tokens-remaining", "900"),
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-unified-7d-utilization", "0.5"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-Odd\"kind", "1"),
            ("x-ratelimit-remaining-tokens", "many"),
            ("x-ratelimit-remaining", "3"),
        ]);
        let kinds: Vec<(String, f64)> = remaining(&headers, NOW).into_iter().collect();
        assert_eq!(
            kinds,
            [("input_tokens".to_owned(), 900.0), ("requests".to_owned(), 59.0), ("unified_7d".to_owned(), 0.5)]
        );
    }
}

use proptest::prelude::*;

use super::*;

/// 2026-11-15 12:00:00 UTC.
const NOW: Duration = Duration::from_secs(1_794_744_000);

fn limits(headers: &[(&str, &str)]) -> Limits {
    Limits::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())), NOW)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_retry_after_is_read_in_all_its_forms() {
    for (value, rest) in [
        ("7", Some(millis(7_000))),
        (" 7 ", Some(millis(7_000))),
        ("124633", Some(millis(124_633_000))),
        ("1.5", Some(millis(1_500))),
        ("0.25", Some(millis(250))),
        ("Sun, 15 Nov 2026 12:00:30 GMT", Some(millis(30_000))),
        ("Sunday, 15-Nov-26 12:00:30 GMT", Some(millis(30_000))),
        ("Sun Nov 15 12:00:30 2026", Some(millis(30_000))),
        ("1794744042", Some(millis(42_000))),
        ("1794744042000", Some(millis(42_000))),
        ("99999999", Some(LONGEST_REST)),
        ("0", Some(SHORTEST_REST)),
        ("-3", Some(SHORTEST_REST)),
        ("Sun, 15 Nov 2026 11:00:00 GMT", Some(SHORTEST_REST)),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("inf", None),
        ("NaN", None),
        ("7 seconds", None),
    ] {
        assert_eq!(limits(&[("retry-after", value)]).rest(), rest, "{value:?}");
        assert_eq!(limits(&[("retry-after", value)]).retry_after(), rest, "{value:?}");
    }
    assert_eq!(limits(&[("retry-after-ms", "1234")]).rest(), Some(millis(1_234)));
    assert_eq!(limits(&[("retry-after-ms", "12.5")]).rest(), Some(Duration::from_micros(12_500)));
    assert_eq!(limits(&[("retry-after-ms", "Sun, 15 Nov 2026 12:00:30 GMT")]).rest(), None);
}

#[test]
fn a_window_of_which_nothing_is_left_rests_to_its_end() {
    let soon = "2026-11-15T12:01:00Z";
    for (headers, rest) in [
        (vec![("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-requests-reset", soon)], 60_000),
        (vec![("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", soon)], 60_000),
        (
            vec![
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-15T13:02:00.5+01:00"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ],
            120_500,
        ),
        (
            vec![
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-11-15T07:02:00-05:00"),
            ],
            120_000,
        ),
        (
            vec![
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "1794754800"),
                ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
                ("anthropic-ratelimit-unified-7d-reset", "1794999999"),
            ],
            10_800_000,
        ),
        (vec![("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", soon)], 60_000),
        (vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "12ms")], 12),
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")], 360_000),
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1h2m3.5s")], 3_723_500),
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1d")], 86_400_000),
        (vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "17")], 17_000),
        (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1794744009")], 9_000),
    ] {
        assert_eq!(limits(&headers).rest(), Some(millis(rest)), "{headers:?}");
        assert_eq!(limits(&headers).retry_after(), None, "{headers:?}");
    }
}

/// Taken from real answers to subscriptions. Once wrong: a window that does not bind took the endpoint out for days.
#[test]
fn of_a_subscriptions_windows_the_one_that_binds_counts() {
    let day = |days: u64| (NOW + Duration::from_hours(24 * days)).as_secs().to_string();
    let (one, six) = (day(1), day(6));
    let overage = [
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ("anthropic-ratelimit-unified-overage-reset", six.as_str()),
        ("anthropic-ratelimit-unified-overage-disabled-reason", "org_spend_cap_reached"),
    ];
    let windows = [
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", one.as_str()),
        ("anthropic-ratelimit-unified-7d_oi-status", "rejected"),
        ("anthropic-ratelimit-unified-7d_oi-reset", six.as_str()),
    ];
    let sum =
        |status| [("anthropic-ratelimit-unified-status", status), ("anthropic-ratelimit-unified-reset", one.as_str())];
    let hours = |hours| Some(Duration::from_hours(hours));
    for (headers, rest) in [
        (overage.to_vec(), None),
        ([&overage[..], &[("retry-after", "5")]].concat(), Some(millis(5_000))),
        ([&overage[..], &windows, &sum("rejected")].concat(), hours(24)),
        ([&windows[..], &sum("allowed"), &[("retry-after", "5")]].concat(), Some(millis(5_000))),
        ([&overage[..], &windows].concat(), hours(6 * 24)),
        (
            [
                &windows[..2],
                &[("anthropic-ratelimit-unified-status", "rejected"), ("anthropic-ratelimit-unified-reset", "soon")],
            ]
            .concat(),
            hours(24),
        ),
    ] {
        assert_eq!(limits(&headers).rest(), rest, "{headers:?}");
    }
}

#[test]
fn a_window_that_has_room_names_no_time() {
    for headers in [
        vec![
            ("anthropic-ratelimit-requests-remaining", "1"),
            ("anthropic-ratelimit-requests-reset", "2026-11-15T12:01:00Z"),
        ],
        vec![("anthropic-ratelimit-requests-reset", "2026-11-15T12:01:00Z")],
        vec![("anthropic-ratelimit-requests-remaining", "0")],
        vec![("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-requests-reset", "soon")],
        vec![
            ("anthropic-ratelimit-unified-5h-status", "allowed"),
            ("anthropic-ratelimit-unified-5h-reset", "1794754800"),
        ],
        vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-tokens", "6m0s")],
        vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6 moons")],
        vec![("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "")],
        vec![],
    ] {
        assert_eq!(limits(&headers).rest(), None, "{headers:?}");
    }
}

#[test]
fn the_later_of_two_deadlines_wins() {
    let used_up = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m0s")];
    for (retry_after, rest) in [("7", 60_000), ("61", 61_000)] {
        let headers = [&used_up[..], &[("retry-after", retry_after)]].concat();
        assert_eq!(limits(&headers).rest(), Some(millis(rest)));
    }
    assert_eq!(limits(&[("retry-after", "2"), ("retry-after-ms", "2500")]).rest(), Some(millis(2_500)));
    assert_eq!(limits(&[("retry-after", "3"), ("retry-after", "2")]).rest(), Some(millis(3_000)));
}

#[test]
fn allowances_are_shown_where_they_are_short_and_printable() {
    let long = "9".repeat(LONGEST + 1);
    let seen = limits(&[
        ("content-type", "text/plain"),
        ("anthropic-ratelimit-requests-limit", " 50 "),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("retry-after", "3"),
        ("x-ratelimit-limit-tokens", &long),
        ("x-ratelimit-limit-requests", "ü"),
        ("x-ratelimit-reset-requests", "a\tb"),
    ]);
    let shown: Vec<_> = seen.allowances().collect();
    assert_eq!(shown, [("anthropic-ratelimit-requests-limit", "50"), ("x-ratelimit-remaining-tokens", "149984")]);
    let many: Vec<String> = (0..1000).map(|n| format!("x-ratelimit-{n}")).collect();
    let many = Limits::of(many.iter().map(|name| (name.as_str(), &b"1"[..])), NOW);
    assert_eq!(many.allowances().count(), MAX_VALUES);
}

#[test]
fn clients_are_not_told_to_wait_for_longer_than_they_would() {
    for (value, is_beyond) in [
        ("59", false),
        ("60", true),
        ("59.5", true),
        ("124633", true),
        ("Sun, 15 Nov 2026 12:00:59 GMT", false),
        ("Sun, 15 Nov 2026 12:01:00 GMT", true),
        ("Sun, 15 Nov 2026 11:00:00 GMT", false),
        ("soon", false),
        ("99999999999999999999999999", true),
    ] {
        assert_eq!(is_beyond_clients_patience(value, NOW), is_beyond, "{value}");
    }
    for (value, are_beyond) in [("59000", false), ("59000.5", true), ("7200000", true), ("-1", false), ("soon", false)]
    {
        assert_eq!(is_millis_beyond_clients_patience(value), are_beyond, "{value}");
    }
}

proptest! {
    #[test]
    fn whatever_a_header_says_the_rest_is_bounded(
        name in "retry-after|retry-after-ms|x-ratelimit-reset|anthropic-ratelimit-tokens-reset",
        value in "\\PC{0,30}|[0-9.+-]{0,30}|[0-9TZ:+.-]{10,30}",
        now in any::<u64>(),
    ) {
        let now = Duration::from_secs(now);
        let headers =
            [(name.as_str(), value.as_str()), ("x-ratelimit-remaining", "0"), ("anthropic-ratelimit-tokens-remaining", "0")];
        let limits = Limits::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())), now);
        if let Some(rest) = limits.rest() {
            prop_assert!(rest > Duration::ZERO && rest <= LONGEST_REST);
        }
        let _ = (is_beyond_clients_patience(&value, now), is_millis_beyond_clients_patience(&value));
    }
}

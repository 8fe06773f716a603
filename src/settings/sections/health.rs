//! `[breaker]`, `[rate_limit]`, `[overload]`, `[verifier]`, `[affinity]`: which endpoint is used.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::settings::reading::Table;

/// `[breaker]`
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// This many consecutive counted failures isolate an endpoint.
    pub failure_threshold: u32,
    /// So does this share of the attempts in the window, above 0 and at most 1 …
    pub failure_rate: f64,
    /// … once it holds this many.
    pub min_requests: u32,
    /// The window's length.
    pub window: Duration,
}

impl Breaker {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let in_range = |rate: f64| rate > 0.0 && rate <= 1.0;
        let breaker = Self {
            failure_threshold: table.integer("failure_threshold", 1..=1_000_000).unwrap_or_default(),
            failure_rate: table.number("failure_rate", "a number above 0 and at most 1", in_range).unwrap_or_default(),
            min_requests: table.integer("min_requests", 1..=1_000_000).unwrap_or_default(),
            window: table.positive_duration("window").unwrap_or_default(),
        };
        table.finish();
        breaker
    }
}

/// `[rate_limit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The cooldown after a 429 that names no time.
    pub default_cooldown: Duration,
    /// A longer cooldown than this is a used-up window.
    pub exhausted_after: Duration,
}

impl RateLimit {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let rate_limit = Self {
            default_cooldown: table.positive_duration("default_cooldown").unwrap_or_default(),
            exhausted_after: table.positive_duration("exhausted_after").unwrap_or_default(),
        };
        table.finish();
        rate_limit
    }
}

/// `[overload]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The first cooldown; it doubles until a success.
    pub cooldown: Duration,
    /// The longest cooldown.
    pub cooldown_max: Duration,
    /// This long without one success isolates.
    pub isolate_after: Duration,
}

impl Overload {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let overload = Self {
            cooldown: table.positive_duration("cooldown").unwrap_or_default(),
            cooldown_max: table.positive_duration("cooldown_max").unwrap_or_default(),
            isolate_after: table.positive_duration("isolate_after").unwrap_or_default(),
        };
        table.finish();
        overload
    }
}

/// `[verifier]`
#[derive(Clone, Debug, PartialEq)]
pub struct Verifier {
    /// From the isolation to the first verification.
    pub initial_delay: Duration,
    /// The factor by which the delay grows; at least 1.
    pub multiplier: f64,
    /// The longest delay.
    pub interval: Duration,
    /// The longest delay if credential or account is the reason.
    pub interval_account: Duration,
    /// The share of the delay that is left to chance, 0 to 1.
    pub jitter: f64,
    /// The timeout of one conversation.
    pub timeout: Duration,
    /// The most conversations at a time.
    pub concurrency: usize,
    /// The model to ask, if one is named for all endpoints.
    pub model: Option<String>,
    /// The last choice of a model if the protocol is Anthropic's.
    pub anthropic_model: String,
    /// The last choice of a model if the protocol is OpenAI's.
    pub openai_model: String,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: u32,
    /// The time in which a recovered endpoint's share grows to its full size.
    pub slow_start: Duration,
}

impl Verifier {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let verifier = Self {
            initial_delay: table.positive_duration("initial_delay").unwrap_or_default(),
            multiplier: table
                .number("multiplier", "a number of at least 1", |factor| factor >= 1.0)
                .unwrap_or_default(),
            interval: table.positive_duration("interval").unwrap_or_default(),
            interval_account: table.positive_duration("interval_account").unwrap_or_default(),
            jitter: table
                .number("jitter", "a number from 0 to 1", |share| (0.0..=1.0).contains(&share))
                .unwrap_or_default(),
            timeout: table.positive_duration("timeout").unwrap_or_default(),
            concurrency: table.integer("concurrency", 1..=10_000).unwrap_or_default(),
            model: table.optional_text("model"),
            anthropic_model: model(&mut table, "anthropic_model"),
            openai_model: model(&mut table, "openai_model"),
            max_tokens: table.integer("max_tokens", 1..=1_000_000).unwrap_or_default(),
            slow_start: table.duration("slow_start").unwrap_or_default(),
        };
        table.finish();
        verifier
    }
}

fn model(table: &mut Table<'_, '_>, key: &'static str) -> String {
    let model = table.text(key).unwrap_or_default();
    if model.is_empty() {
        table.fault(key, "no name", "the name of a model");
    }
    model
}

/// `[affinity]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Whether a session stays with its endpoint.
    pub enabled: bool,
    /// How long a session may be idle and still stay.
    pub ttl: Duration,
    /// How long a session on a secondary may be idle and still stay.
    pub secondary_ttl: Duration,
    /// The longest cooldown that a session waits out.
    pub patience: Duration,
    /// The most sessions remembered.
    pub max_sessions: NonZeroUsize,
}

impl Affinity {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let affinity = Self {
            enabled: table.flag("enabled").unwrap_or_default(),
            ttl: table.positive_duration("ttl").unwrap_or_default(),
            secondary_ttl: table.positive_duration("secondary_ttl").unwrap_or_default(),
            patience: table.duration("patience").unwrap_or_default(),
            max_sessions: table
                .integer("max_sessions", 1..=100_000_000)
                .and_then(NonZeroUsize::new)
                .unwrap_or(NonZeroUsize::MIN),
        };
        table.finish();
        affinity
    }
}

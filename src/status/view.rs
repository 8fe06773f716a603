//! What is read from the stats. Fields that a gateway of another version lacks are left out of the picture.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// The state of a gateway.
#[derive(Clone, Debug, Deserialize)]
pub struct View {
    pub(super) version: String,
    pub(super) start_time: String,
    pub(super) uptime: f64,
    pub(super) total_requests: u64,
    pub(super) success_rate: f64,
    #[serde(default)]
    pub(super) failed_requests: u64,
    #[serde(default)]
    pub(super) retries: u64,
    #[serde(default)]
    pub(super) parked: u64,
    pub(super) leaks: u64,
    /// Whether the settings on the disk were sound when they were last read.
    pub(super) config_last_reload_successful: Option<bool>,
    pub(super) endpoints: Vec<Row>,
}

/// An endpoint.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) standing: String,
    pub(super) status: String,
    pub(super) breaker: String,
    pub(super) in_flight: u64,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) success_rate: f64,
    pub(super) latency_ms: Spread,
    pub(super) ttft_ms: Option<Spread>,
    /// `off` or `on`, if an admin has switched it so and the settings say otherwise.
    pub(super) overruled: Option<String>,
    pub(super) isolated_reason: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) next_verification: Option<String>,
    /// Since the isolation.
    #[serde(default)]
    pub(super) verify_count: u64,
    pub(super) last_verification: Option<Verification>,
    #[serde(default)]
    pub(super) cooldowns: Vec<Cooldown>,
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p95: f64,
}

/// A test conversation.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Verification {
    pub(super) ok: bool,
    pub(super) error: Option<String>,
}

/// A cooldown, for one model if it names one.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cooldown {
    pub(super) model: Option<String>,
    pub(super) until: String,
    /// Whether it is a used-up window.
    #[serde(default)]
    pub(super) exhausted: bool,
}

impl View {
    /// Reads the stats.
    ///
    /// # Errors
    ///
    /// If they are not a gateway's stats.
    pub fn read(stats: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(stats)
    }

    pub(super) fn uptime(&self) -> Duration {
        Duration::try_from_secs_f64(self.uptime).unwrap_or_default()
    }

    /// How long it is until a time that the gateway names, by the gateway's own clock.
    pub(super) fn until(&self, time: &str) -> Option<Duration> {
        let started: SystemTime = humantime::parse_rfc3339(&self.start_time).ok()?;
        let now = started.checked_add(self.uptime())?;
        Some(humantime::parse_rfc3339(time).ok()?.duration_since(now).unwrap_or_default())
    }
}

/// How much is going on, from two views of a gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// How many requests ended per second.
    pub requests_per_second: f64,
}

impl Pace {
    /// The pace between two views; `None` if the gateway has been restarted in between.
    pub fn between(earlier: &View, later: &View) -> Option<Self> {
        let seconds = later.uptime - earlier.uptime;
        let requests = later.total_requests.checked_sub(earlier.total_requests)?;
        let requests = u32::try_from(requests).ok()?;
        (seconds > 0.0).then(|| Self { requests_per_second: f64::from(requests) / seconds })
    }
}

//! Translates the settings into the actors' policies.

use crate::actors::Policies;
use crate::domain::breaker::BreakerPolicy;
use crate::domain::budget::BudgetPolicy;
use crate::domain::cooling::CoolingPolicy;
use crate::domain::registry::RegistryPolicy;
use crate::domain::schedule::SchedulePolicy;
use crate::domain::sessions::AffinityPolicy;
use crate::settings::Settings;
use crate::upstream::ProbeSettings;

/// The actors' policies by these settings. `journal`: how many leases and moves the registry keeps, for tests.
pub fn policies(settings: &Settings, journal: usize) -> Policies {
    let (breaker, verifier) = (&settings.breaker, &settings.verifier);
    Policies {
        registry: registry_policy(settings, journal),
        breaker: BreakerPolicy {
            failure_threshold: breaker.failure_threshold,
            failure_rate: breaker.failure_rate,
            min_requests: breaker.min_requests,
            window: breaker.window,
        },
        schedule: SchedulePolicy {
            initial_delay: verifier.initial_delay,
            multiplier: verifier.multiplier,
            interval: verifier.interval,
            interval_account: verifier.interval_account,
            jitter: verifier.jitter,
            concurrency: verifier.concurrency,
        },
        probe: probe_settings(settings),
        events: settings.stats.events,
    }
}

fn registry_policy(settings: &Settings, journal: usize) -> RegistryPolicy {
    let Settings { verifier, rate_limit, overload, affinity, retry, .. } = settings;
    RegistryPolicy {
        slow_start: verifier.slow_start,
        initial_delay: verifier.initial_delay,
        cooling: CoolingPolicy {
            default_cooldown: rate_limit.default_cooldown,
            exhausted_after: rate_limit.exhausted_after,
            overload_cooldown: overload.cooldown,
            overload_max: overload.cooldown_max,
            isolate_after: overload.isolate_after,
        },
        affinity: AffinityPolicy {
            enabled: affinity.enabled,
            ttl: affinity.ttl,
            secondary_ttl: affinity.secondary_ttl,
            patience: affinity.patience,
            max_sessions: affinity.max_sessions,
        },
        budget: BudgetPolicy { ratio: retry.budget_ratio, min_per_second: retry.budget_min },
        park_max: retry.park_max,
        journal,
    }
}

/// How conversations are held by these settings.
pub fn probe_settings(settings: &Settings) -> ProbeSettings {
    let verifier = &settings.verifier;
    ProbeSettings {
        timeout: verifier.timeout,
        connect_timeout: settings.timeouts.connect,
        model: verifier.model.clone(),
        anthropic_model: verifier.anthropic_model.clone(),
        openai_model: verifier.openai_model.clone(),
        max_tokens: verifier.max_tokens,
        words: settings.log.words(),
        rules: settings.rules.clone(),
    }
}

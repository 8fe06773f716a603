//! The built-in text and the settings that it gives.

use std::time::Duration;

use super::super::layers::BUILT_IN;
use super::super::{LogFormat, OnBreak};
use super::{ENDPOINT, sound};
use crate::authorities::Authorities;
use crate::domain::endpoint::{Auth, AuthStyle, Home, Protocol};
use crate::domain::ids::ProfileId;
use crate::domain::rules::Rules;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_built_in_text_amounts_to_the_documented_defaults() {
    let loaded = sound(ENDPOINT, &[]);
    let settings = &loaded.settings;

    let server = &settings.server;
    assert_eq!((server.host.as_str(), server.port, server.workers), ("127.0.0.1", 7860, 0));
    assert_eq!((server.max_body, server.max_buffered, server.max_connections), (32 << 20, 1 << 30, 25_000));
    assert_eq!((server.header_timeout, server.body_timeout), (seconds(10), seconds(60)));
    assert_eq!((server.shutdown_delay, server.shutdown_grace), (Duration::ZERO, seconds(30)));
    assert_eq!(server.other_paths.globs(), ["/v1/models", "/v1/models/*"]);
    assert_eq!((server.help.as_str(), &server.clients_file), ("", &None));
    assert!(server.trail_headers && !server.allow_anonymous);

    assert_eq!((settings.log.level.as_str(), settings.log.format), ("info", LogFormat::Text));
    assert!(!settings.log.upstream_errors);

    let timeouts = &settings.timeouts;
    assert_eq!((timeouts.connect, timeouts.first_event), (seconds(5), seconds(60)));
    assert_eq!((timeouts.first_content, timeouts.response), (seconds(10), seconds(600)));
    assert_eq!((timeouts.stream_idle, timeouts.suspect), (seconds(240), seconds(20)));
    assert_eq!(settings.stream.on_break, OnBreak::Auto);

    let retry = &settings.retry;
    assert_eq!((retry.max_attempts, retry.max_per_endpoint, retry.deadline), (8, 2, seconds(120)));
    assert_eq!((retry.backoff, retry.backoff_max), (Duration::from_millis(100), seconds(2)));
    assert_eq!((retry.budget_ratio, retry.budget_min), (0.2, 10));
    assert_eq!((retry.park, retry.park_max), (seconds(10), 256));

    let breaker = &settings.breaker;
    assert_eq!((breaker.failure_threshold, breaker.failure_rate), (3, 0.5));
    assert_eq!((breaker.min_requests, breaker.window), (10, seconds(60)));
    assert_eq!(settings.rate_limit.default_cooldown, seconds(5));
    assert_eq!(settings.rate_limit.exhausted_after, seconds(300));
    assert_eq!((settings.overload.cooldown, settings.overload.cooldown_max), (seconds(2), seconds(30)));
    assert_eq!(settings.overload.isolate_after, seconds(120));

    let verifier = &settings.verifier;
    assert_eq!((verifier.initial_delay, verifier.multiplier, verifier.jitter), (seconds(5), 2.0, 0.1));
    assert_eq!((verifier.interval, verifier.interval_account), (seconds(60), seconds(900)));
    assert_eq!((verifier.timeout, verifier.concurrency, verifier.max_tokens), (seconds(30), 4, 64));
    assert_eq!((verifier.model.as_deref(), verifier.slow_start), (None, seconds(30)));
    assert_eq!(verifier.anthropic_model, "claude-haiku-4-5");
    assert_eq!(verifier.openai_model, "gpt-4o-mini");

    let affinity = &settings.affinity;
    assert_eq!((affinity.ttl, affinity.secondary_ttl, affinity.patience), (seconds(3600), seconds(600), seconds(5)));
    assert!(affinity.enabled && affinity.max_sessions.get() == 100_000);

    assert_eq!(settings.stats.events, 1000);
    assert_eq!((&settings.state.file, settings.reload.watch), (&None, None));
    let admin = &settings.admin;
    assert_eq!((admin.token, admin.read_token, admin.public_stats, admin.listen), (None, None, false, None));
    assert_eq!(settings.upstream.authorities, Authorities::default());
    assert_eq!((&settings.webhook.receiver, &settings.webhook.secret), (&None, &None));
    assert_eq!(settings.webhook.hook(), None);
    let mut told: Vec<&str> = settings.webhook.events.iter().map(|kind| kind.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["isolated", "nothing_usable", "recovered", "reload_failed"]);
    assert_eq!((&settings.otel.endpoint, settings.otel.service_name.as_str()), (&None, "qcc-gateway"));
    assert!(settings.prices.is_empty() && settings.rules == Rules::none());
    assert!(loaded.clients.is_empty());
    assert_eq!(loaded.notes, []);
    assert_eq!(loaded.variables_taken, Vec::<String>::new());
}

#[test]
fn an_endpoint_needs_a_url_and_a_key_and_the_rest_has_defaults() {
    let loaded = sound(ENDPOINT, &[]);
    let endpoint = loaded.topology.iter().next().unwrap();
    assert_eq!((endpoint.home, endpoint.priority, endpoint.weight), (Home::Primary, 0, 100));
    assert_eq!((endpoint.protocol, endpoint.enabled, endpoint.max_in_flight), (Protocol::Anthropic, true, None));
    assert_eq!(endpoint.profiles.iter().map(ProfileId::as_str).collect::<Vec<_>>(), ["default"]);
    assert!(matches!(&endpoint.auth, Auth::Own { style: AuthStyle::XApiKey, key } if key.expose() == "k"));
    assert!(endpoint.models.patterns().is_empty() && endpoint.model_map.is_empty() && endpoint.headers.is_empty());
}

/// The built-in text with its examples in force.
fn with_examples() -> String {
    let mut text = String::new();
    let mut is_example = false;
    for line in BUILT_IN.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        is_example = line.starts_with("# ") && (bare.starts_with('[') || (is_example && bare.contains(" = ")));
        text.push_str(if is_example { bare } else { line });
        text.push('\n');
    }
    text
}

#[test]
fn the_commented_examples_are_sound_and_show_the_defaults() {
    let variables = [("ALICE_KEY", "a"), ("ANTHROPIC_API_KEY", "b")];
    let loaded = sound(&with_examples(), &variables);
    assert_eq!(loaded.variables_taken, ["ALICE_KEY", "ANTHROPIC_API_KEY"]);
    assert_eq!((loaded.settings.prices.len(), loaded.settings.rules.iter().len(), loaded.clients.len()), (1, 1, 1));
    assert_eq!(loaded.clients[0].team, None);

    let bare = "[endpoints.main]\nbase_url = \"https://api.anthropic.com\"\napi_key_env = \"ANTHROPIC_API_KEY\"";
    assert_eq!(sound(bare, &variables).topology, loaded.topology);
    assert_eq!(loaded.notes, []);
}

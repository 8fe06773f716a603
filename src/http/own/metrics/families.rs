//! The metric families: the contract's names and labels, in seconds, bytes and dollars.
//!
//! Labels are bounded: ids come from the settings, words from tables, and a model is a label only if an endpoint lists
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::Snapshot;
use super::sheet::{Labels, Sheet};
use crate::clock::Clock;
use crate::domain::health::Status;
use crate::domain::ids::{ClientId, EndpointId, ProfileId};
use crate::domain::outcome::Reason;
use crate::domain::prices::add_cost;
use crate::domain::queues::Standing;
use crate::domain::quota_windows::remaining;
use crate::domain::stats::{EndpointStats, Latencies, Losses, StateFileHealth};
use crate::domain::time::Moment;

/// The label value for nobody, as in the log.
const NOBODY: &str = "-";

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.traffic(&mut sheet)?;
        self.tokens(&mut sheet)?;
        self.endpoints(&mut sheet)?;
        self.moves(&mut sheet)?;
        self.gateway(&mut sheet)?;
        self.process(&mut sheet)
    }
}

fn client_label(client: Option<&ClientId>) -> &str {
    client.map_or(NOBODY, ClientId::as_str)
}

impl Snapshot {
    /// The endpoints with counters: they begin at zero for present endpoints, and stay for former ones.
    fn counted(&self) -> impl Iterator<Item = (&str, Option<&EndpointStats>)> {
        let present = self.registry.endpoints.iter().map(|view| &view.endpoint.id);
        let ids: BTreeSet<&EndpointId> = present.chain(self.stats.endpoints().map(|(id, _)| id)).collect();
        ids.into_iter().map(|id| (id.as_str(), self.stats.endpoint(id)))
    }

    fn seconds(&self, moment: Moment) -> f64 {
        let since_1970 = self.clock.time_of_day(moment).duration_since(UNIX_EPOCH);
        since_1970.unwrap_or(Duration::ZERO).as_secs_f64()
    }

    fn traffic(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let requests = self.stats.by_caller().flat_map(|(profile, client, ends)| {
            let profile = profile.map_or(NOBODY, ProfileId::as_str);
            ends.words().map(|(outcome, count)| {
                (vec![("profile", profile), ("client", client_label(client)), ("outcome", outcome)], count)
            })
        });
        sheet.counters(("qcc_requests", "Requests of clients that are over, by how they ended."), requests)?;
        let attempts: Vec<(&str, &str, String, u64)> = self
            .stats
            .endpoints()
            .flat_map(|(id, stats)| {
                let code = |status: Option<u16>| status.map_or_else(|| "none".to_owned(), |status| status.to_string());
                stats.attempts().map(move |(word, status, count)| (id.as_str(), word, code(status), count))
            })
            .collect();
        let attempts = attempts.iter().map(|(id, word, code, count)| {
            (vec![("endpoint", *id), ("outcome", *word), ("code", code.as_str())], *count)
        });
        sheet.counters(
            ("qcc_attempts", "Requests to endpoints that are over, by what came back, and by its status."),
            attempts,
        )?;
        sheet.counter(("qcc_retries", "Attempts beyond the first of a request."), self.stats.retries)?;
        sheet.histograms(
            ("qcc_request_duration_seconds", "From sending a request to an endpoint to the end of its whole answer."),
            self.times(|stats| &stats.durations),
        )?;
        sheet.histograms(
            (
                "qcc_time_to_first_token_seconds",
                "From sending a request to an endpoint to the first content of its stream.",
            ),
            self.times(|stats| &stats.first_contents),
        )
    }

    fn times<'a>(
        &'a self,
        of: impl Fn(&'a EndpointStats) -> &'a Latencies,
    ) -> impl Iterator<Item = (Labels<'a>, &'a Latencies)> {
        self.stats.endpoints().map(move |(id, stats)| (vec![("endpoint", id.as_str())], of(stats)))
    }

    fn tokens(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let tokens = self.stats.ledger.labelled().flat_map(|row| {
            row.used.usage.kinds().map(|(kind, tokens)| {
                let (endpoint, client) = (row.endpoint.as_str(), client_label(row.client));
                let model = row.model.unwrap_or(NOBODY);
                (vec![("endpoint", endpoint), ("client", client), ("model", model), ("kind", kind)], tokens)
            })
        });
        sheet.counters(
            (
                "qcc_tokens",
                "Tokens of answers, by kind; a model that no endpoint lists, or that has no label left, is `other`.",
            ),
            tokens,
        )?;
        let mut costs: BTreeMap<(&str, &str), Option<f64>> = BTreeMap::new();
        for row in self.stats.ledger.labelled() {
            let sum = costs.entry((row.endpoint.as_str(), client_label(row.client))).or_default();
            add_cost(sum, row.used.cost);
        }
        let costs = costs
            .into_iter()
            .filter_map(|((endpoint, client), cost)| Some((vec![("endpoint", endpoint), ("client", client)], cost?)));
        sheet.counters(("qcc_cost_dollars", "What answers have cost, by the prices of the settings."), costs)
    }

    fn endpoints(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let views = || self.registry.endpoints.iter();
        let in_flight = views().map(|view| (vec![("endpoint", view.endpoint.id.as_str())], view.in_flight));
        sheet.gauges(("qcc_in_flight", "Requests under way at an endpoint."), in_flight)?;
        let usable = self.registry.supplies();
        let usable = usable.iter().flat_map(|(profile, supplies)| {
            let of_each = supplies.missable();
            of_each.map(move |(protocol, supply)| {
                (vec![("profile", profile.as_str()), ("protocol", protocol.as_str())], supply.usable)
            })
        });
        sheet.gauges(
            ("qcc_usable_endpoints", "Endpoints in their home queues, by the profile and protocol that they serve."),
            usable,
        )?;
        let standings = [Standing::Primary, Standing::Secondary, Standing::Failure, Standing::Disabled];
        let standing = views().flat_map(|view| {
            standings.into_iter().map(|standing| {
                let labels = vec![("endpoint", view.endpoint.id.as_str()), ("standing", standing.as_str())];
                (labels, i64::from(view.standing == standing))
            })
        });
        sheet.gauges(
            ("qcc_endpoint_standing", "1 for the standing that an endpoint has, 0 for the others."),
            standing,
        )?;
        let isolated = views().filter(|view| view.standing == Standing::Failure).filter_map(|view| {
            let reason = view.isolation.as_ref()?.reason;
            Some((vec![("endpoint", view.endpoint.id.as_str()), ("reason", reason.as_str())], 1_i64))
        });
        sheet.gauges(("qcc_endpoint_isolated", "1 while an endpoint is isolated, by the reason."), isolated)?;
        let cooldowns = views().map(|view| (vec![("endpoint", view.endpoint.id.as_str())], view.cooldowns.len()));
        sheet.gauges(("qcc_endpoint_cooldown", "For how many models an endpoint rests."), cooldowns)?;
        // As in its `status`, which names another trouble for an endpoint that is out of its home queue.
        let exhausted = views().map(|view| {
            let status = Status::of(view.standing, 0, view.ease());
            (vec![("endpoint", view.endpoint.id.as_str())], i64::from(status == Status::Exhausted))
        });
        sheet.gauges(
            (
                "qcc_endpoint_exhausted",
                "1 while a used-up window keeps an endpoint in its home queue from serving some model, else 0.",
            ),
            exhausted,
        )?;
        let info = views().map(|view| {
            let endpoint = &view.endpoint;
            let labels = vec![
                ("endpoint", endpoint.id.as_str()),
                ("protocol", endpoint.protocol.as_str()),
                ("home", Standing::from(endpoint.home).as_str()),
                ("host", endpoint.base_url.origin().host.as_str()),
            ];
            (labels, 1_i64)
        });
        sheet.gauges(("qcc_endpoint_info", "1, with what an endpoint is."), info)?;
        let remaining: Vec<(&str, BTreeMap<String, f64>)> = views()
            .filter_map(|view| {
                let seen = self.stats.endpoint(&view.endpoint.id)?.impression(&view.endpoint)?;
                Some((view.endpoint.id.as_str(), remaining(&seen.rate_limits, self.now)))
            })
            .collect();
        let remaining = remaining.iter().flat_map(|(id, kinds)| {
            kinds.iter().map(move |(kind, left)| (vec![("endpoint", *id), ("kind", kind.as_str())], *left))
        });
        sheet.gauges(
            (
                "qcc_ratelimit_remaining",
                "What an endpoint's latest headers name as remaining; of unified windows the share of 1.",
            ),
            remaining,
        )
    }

    fn moves(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.gauge(
            ("qcc_failure_queue_size", "Isolated endpoints."),
            self.registry.endpoints.iter().filter(|view| view.standing == Standing::Failure).count(),
        )?;
        let isolations = self.counted().flat_map(|(id, stats)| {
            Reason::ALL.into_iter().map(move |reason| {
                let count = stats.and_then(|stats| stats.isolations.get(&reason)).copied().unwrap_or_default();
                (vec![("endpoint", id), ("reason", reason.as_str())], count)
            })
        });
        sheet.counters(("qcc_isolations", "How often an endpoint was isolated, by the reason."), isolations)?;
        let recoveries = self
            .counted()
            .map(|(id, stats)| (vec![("endpoint", id)], stats.map(|stats| stats.recoveries).unwrap_or_default()));
        sheet.counters(("qcc_recoveries", "How often an endpoint has come back."), recoveries)?;
        let verifications = self.counted().flat_map(|(id, stats)| {
            let counts = stats.map(|stats| &stats.verifications);
            let results =
                [("passed", counts.map(|counts| counts.passed)), ("failed", counts.map(|counts| counts.failed))];
            results.map(|(result, count)| (vec![("endpoint", id), ("result", result)], count.unwrap_or_default()))
        });
        sheet.counters(
            ("qcc_verifications", "Conversations of the verifier with an endpoint, by their result."),
            verifications,
        )?;
        let tokens = self.counted().map(|(id, stats)| {
            let usage = stats.map(|stats| stats.verifications.usage).unwrap_or_default();
            (vec![("endpoint", id)], usage.read().saturating_add(usage.output))
        });
        sheet.counters(
            ("qcc_verification_tokens", "Tokens that the verifier's conversations with an endpoint have cost."),
            tokens,
        )?;
        // For an endpoint that is gone or redefined, it would only grow older.
        let last = self.registry.endpoints.iter().filter_map(|view| {
            let id = &view.endpoint.id;
            let last = self.verifier.last.get(id)?.about(&view.endpoint)?;
            Some((vec![("endpoint", id.as_str())], self.seconds(last.at)))
        });
        sheet.gauges(
            (
                "qcc_endpoint_last_verification_timestamp_seconds",
                "When the verifier's latest conversation with an endpoint ended, as the time since 1970.",
            ),
            last,
        )
    }

    fn gateway(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.gauge(("qcc_parked", "Requests that wait for an endpoint."), self.registry.parked)?;
        sheet.gauge(("qcc_sessions", "Sessions that are bound to an endpoint."), self.registry.sessions)?;
        sheet.gauge(
            ("qcc_buffered_bytes", "What is held of requests' bodies, and of answers that are not judged yet."),
            self.buffered,
        )?;
        let reloads = self.stats.reloads;
        sheet.gauge(
            ("qcc_config_last_reload_successful", "Whether the latest reading of the settings was sound."),
            i64::from(reloads.ok),
        )?;
        sheet.gauge(
            (
                "qcc_config_last_reload_success_timestamp_seconds",
                "When the settings in force were read, as the time since 1970.",
            ),
            self.seconds(reloads.last_success),
        )?;
        let is_writable = self.stats.state_file.map(|health| i64::from(health == StateFileHealth::Writable));
        sheet.gauges(
            ("qcc_state_file_writable", "0 while the state file can't be written, else 1; only where one is set."),
            is_writable.map(|is_writable| (Labels::new(), is_writable)),
        )?;
        let Losses { notices, spans } = self.stats.losses;
        sheet.counter(("qcc_notices_lost", "Notices that the webhook's receiver did not get."), notices)?;
        sheet.counter(
            ("qcc_log_lines_lost", "Lines of the log that standard error did not take, or not fast enough."),
            self.log_lines_lost,
        )?;
        sheet.counter(("qcc_spans_lost", "Spans that the collector of traces did not get."), spans)?;
        sheet.counter(
            ("qcc_leaks", "Requests that were sent to an isolated endpoint; a promise is broken where it is not 0."),
            self.registry.leaks,
        )?;
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        sheet.gauges(("qcc_build_info", "1, with the version that runs."), [(version, 1_i64)])
    }

    /// The process's metrics, by the names that Prometheus' own clients use.
    fn process(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.gauge(
            ("process_start_time_seconds", "When the gateway began, as the time since 1970."),
            self.seconds(Clock::BEGAN),
        )?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "The memory that the process holds.", self.process.resident_memory),
            ("process_open_fds", "Open files, each connection among them.", self.process.open_files),
            ("process_max_fds", "How many files may be open.", self.process.most_open_files),
        ] {
            sheet.gauges((name, help), value.map(|value| (Labels::new(), value)))?;
        }
        Ok(())
    }
}

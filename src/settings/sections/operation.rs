//! `[log]`, `[stats]`, `[state]`, `[reload]`, `[admin]`, `[upstream]`, `[webhook]`, `[otel]`: what operators look after.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authorities::Authorities;
use crate::domain::classify::Words;
use crate::domain::client::KeyDigest;
use crate::domain::notice::NoticeKind;
use crate::domain::secret::Secret;
use crate::domain::tracing::Collector;
use crate::domain::webhook::{self, Receiver};
use crate::settings::credential::{ADMIN_TOKEN, Kind, READ_TOKEN, Unset, WEBHOOK_SECRET, WEBHOOK_URL};
use crate::settings::fault::quoted;
use crate::settings::reading::{Shown, Table};

/// The beginning of the target of everything that the gateway itself logs.
const GATEWAY: &str = env!("CARGO_CRATE_NAME");

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter as `env_logger` reads it.
    pub level: String,
    /// How a line is written.
    pub format: LogFormat,
    /// Whether the words of upstreams' errors are kept.
    pub upstream_errors: bool,
}

impl Log {
    /// Whether the words of upstreams' errors are kept, in the form that the classification takes.
    pub fn words(&self) -> Words {
        if self.upstream_errors { Words::Kept } else { Words::Left }
    }

    /// A description of a filter, for faults.
    pub const FILTER: &str =
        "off, error, warn, info, debug or trace, or with targets such as \"info,qcc_gateway=debug\"";

    /// The part of a text, quoted, because of which it is no filter of levels and `target=level` pairs; `None` if it is
    /// one.
    ///
    /// `env_logger` takes any other word for a target that may log everything, so that a misspelt level would open the
    /// flood; such a word is refused here.
    #[must_use]
    pub fn fault_of_filter(text: &str) -> Option<String> {
        let mut parts = text.split('/');
        let directives = parts.next().unwrap_or_default();
        if parts.count() > 1 {
            // With a second `/`, `env_logger` would ignore all of it.
            return Some(quoted(text));
        }
        let is_directive = |directive: &&str| match directive.split_once('=') {
            Some((target, level)) => !target.trim().is_empty() && is_level(level),
            None => is_level(directive),
        };
        directives.split(',').find(|directive| !is_directive(directive)).map(quoted)
    }

    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let log = Self {
            level: table
                .read("level", Shown::Always, Self::FILTER, |given| {
                    given.text().filter(|text| Self::fault_of_filter(text).is_none()).map(ToOwned::to_owned)
                })
                .unwrap_or_default(),
            format: table.word("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]).unwrap_or_default(),
            upstream_errors: table.flag("upstream_errors").unwrap_or_default(),
        };
        table.finish();
        log
    }
}

/// What the variable `RUST_LOG` says about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RustLog<'a> {
    /// Nothing: it is unset or empty.
    Unset,
    /// This filter, which wins over `log.level`.
    Filter(&'a str),
    /// Nothing readable, so that `log.level` counts.
    Faulty {
        /// The part that can't be read, quoted.
        found: String,
    },
}

impl<'a> RustLog<'a> {
    /// The variable's name.
    pub const NAME: &'static str = "RUST_LOG";

    /// Reads the variable's text.
    #[must_use]
    pub fn read(text: Option<&'a str>) -> Self {
        match text.filter(|text| !text.is_empty()) {
            None => Self::Unset,
            Some(text) => Self::fault(text).map_or(Self::Filter(text), |found| Self::Faulty { found }),
        }
    }

    /// The filter that wins over `log.level`, if there is one.
    #[must_use]
    pub fn filter(&self) -> Option<&'a str> {
        match self {
            Self::Filter(filter) => Some(filter),
            Self::Unset | Self::Faulty { .. } => None,
        }
    }

    /// What to know about a faulty variable, in a sentence that follows its name.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        match self {
            Self::Faulty { found } => {
                Some(format!("is not taken, log.level is: found {found}; wanted: {}", Log::FILTER))
            }
            Self::Unset | Self::Filter(_) => None,
        }
    }

    /// The fault of the variable's text, as in [`Log::fault_of_filter`], but allowing what other programs have made a
    /// habit of: a target without a level, which logs everything. On its own it is more likely a misspelt level, by which
    /// the gateway would log nothing.
    fn fault(text: &str) -> Option<String> {
        let mut parts = text.split('/');
        let directives: Vec<&str> = parts.next().unwrap_or_default().split(',').map(str::trim).collect();
        let directives: Vec<&str> = directives.into_iter().filter(|directive| !directive.is_empty()).collect();
        if parts.count() > 1 || directives.is_empty() {
            return Some(quoted(text));
        }
        let is_heard = directives.iter().any(|directive| {
            let target = directive.split_once('=').map_or(*directive, |(target, _)| target);
            let is_own = |rest: &str| rest.is_empty() || rest.starts_with("::");
            is_level(directive) || target.strip_prefix(GATEWAY).is_some_and(is_own)
        });
        let is_sound = |directive: &&str| match directive.split_once('=') {
            Some((target, "")) => !target.is_empty() && is_heard,
            None => is_heard || is_level(directive),
            Some(_) => Log::fault_of_filter(directive).is_none(),
        };
        directives.into_iter().find(|directive| !is_sound(directive)).map(quoted)
    }
}

fn is_level(text: &str) -> bool {
    text.trim().parse::<log::LevelFilter>().is_ok()
}

/// `[stats]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// How many queue moves and verifications are kept.
    pub events: usize,
}

impl Stats {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let stats = Self { events: table.integer("events", 0..=10_000_000).unwrap_or_default() };
        table.finish();
        stats
    }
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The file in which standing outlives a restart.
    pub file: Option<PathBuf>,
}

impl State {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let state = Self { file: table.optional_path("file") };
        table.finish();
        state
    }
}

/// `[reload]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// How often to look for changed files; `None` for never.
    pub watch: Option<Duration>,
}

impl Reload {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let reload = Self { watch: table.duration("watch").filter(|period| !period.is_zero()) };
        table.finish();
        reload
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The token that may read and change.
    pub token: Option<KeyDigest>,
    /// The token that may read only.
    pub read_token: Option<KeyDigest>,
    /// Whether stats, metrics and events are open to everybody.
    pub public_stats: bool,
    /// A separate address for the gateway's own routes.
    pub listen: Option<SocketAddr>,
}

impl Admin {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let admin = Self {
            token: table.credential(&ADMIN_TOKEN, Unset::None).one_digest(),
            read_token: table.credential(&READ_TOKEN, Unset::None).one_digest(),
            public_stats: table.flag("public_stats").unwrap_or_default(),
            listen: Self::read_listen(&mut table),
        };
        table.finish();
        admin
    }

    pub(in crate::settings) fn read_listen(table: &mut Table<'_, '_>) -> Option<SocketAddr> {
        let wanted = "an address and port such as \"127.0.0.1:7861\", or \"\" for none";
        let listen = table.read("listen", Shown::Always, wanted, |given| match given.text()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        });
        listen.flatten()
    }

    /// The text of a token for reading the state: of the read token, else of the admin token. `None` if there is none, if
    /// only its digest is known, or if it can't be read here.
    pub(in crate::settings) fn read_shown_token(table: &mut Table<'_, '_>) -> Option<Secret> {
        let reader = table.credential(&READ_TOKEN, Unset::Ignored).secret();
        let admin = table.credential(&ADMIN_TOKEN, Unset::Ignored).secret();
        reader.or(admin)
    }
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The certificate authorities of `ca_file`, trusted in addition to the system's.
    pub authorities: Authorities,
}

impl Upstream {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let path = table.optional_path("ca_file");
        let authorities = path.and_then(|path| Self::read_authorities(&mut table, &path));
        table.finish();
        Self { authorities: authorities.unwrap_or_default() }
    }

    fn read_authorities(table: &mut Table<'_, '_>, path: &Path) -> Option<Authorities> {
        let (fault, wanted) = match table.reading.seen.read(path) {
            Ok(pem) => match Authorities::read(&pem) {
                Ok(authorities) => return Some(authorities),
                Err(error) => (error.to_string(), "a file of certificates of authorities (PEM)"),
            },
            Err(error) => (error.to_string(), "a readable file of certificates (PEM)"),
        };
        table.fault("ca_file", format!("{}: {fault}", path.display()), wanted);
        None
    }
}

/// The kind of secret that names the receiver of notices.
const URL: Kind = Kind { name: "URL", wanted: "an http or https URL", fits: |text| Receiver::parse(text).is_ok() };

/// `[webhook]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where notices are posted; `None` if nowhere.
    pub receiver: Option<Receiver>,
    /// The secret that signs what is posted.
    pub secret: Option<Secret>,
    /// The kinds of notices that are posted.
    pub events: BTreeSet<NoticeKind>,
}

impl Webhook {
    /// The receiver and what it is told; `None` if there is no receiver.
    #[must_use]
    pub fn hook(&self) -> Option<webhook::Webhook> {
        let receiver = self.receiver.clone()?;
        Some(webhook::Webhook { receiver, secret: self.secret.clone(), events: self.events.clone() })
    }

    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let url = table.credential_of_kind(&WEBHOOK_URL, Unset::None, &URL);
        let receiver = url.secret().and_then(|url| Receiver::parse(url.expose()).ok());
        let secret = table.credential(&WEBHOOK_SECRET, Unset::None).secret();
        let words: Vec<&str> = NoticeKind::all().map(NoticeKind::as_str).collect();
        let events =
            table.texts("events", &format!("some of {}", words.join(", ")), |word| NoticeKind::named(word).is_some());
        let events = events.unwrap_or_default().iter().filter_map(|word| NoticeKind::named(word)).collect();
        let webhook = Self { receiver, secret, events };
        table.finish();
        webhook
    }
}

/// `[otel]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otel {
    /// Where traces go, by OTLP over HTTP; `None` if nowhere.
    pub endpoint: Option<Collector>,
    /// The service name that traces carry.
    pub service_name: String,
}

impl Otel {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let endpoint =
            table.read("endpoint", Shown::Never, "an http or https URL without a query, or \"\" for off", |given| {
                match given.text()? {
                    "" => Some(None),
                    text => Collector::parse(text).ok().map(Some),
                }
            });
        let endpoint = endpoint.flatten();
        if endpoint.is_some() {
            table.record("endpoint", "set");
        }
        let otel = Self { endpoint, service_name: table.text("service_name").unwrap_or_default() };
        table.finish();
        otel
    }
}

#[cfg(test)]
mod tests {
    use super::{Log, RustLog};

    #[test]
    fn a_misspelt_level_is_no_target() {
        for good in ["info", "OFF", "info,qcc_gateway=debug", "warn, actix=off", "debug/words", "a::b=trace"] {
            assert_eq!(Log::fault_of_filter(good), None, "{good}");
        }
        for bad in
            ["", "loud", "info,", "info,qcc_gateway", "qcc_gateway=loud", "=info", "a=b=info", "info//", "debug/a/b"]
        {
            assert!(Log::fault_of_filter(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_variable_may_name_targets_without_a_level_but_no_misspelt_one() {
        for good in [
            "info",
            "warn,h2",
            "info,",
            "qcc_gateway",
            "qcc_gateway::actors=",
            "h2,qcc_gateway=info",
            "hyper=debug",
            "debug/words",
            "off",
        ] {
            assert_eq!(RustLog::read(Some(good)), RustLog::Filter(good));
        }
        for (bad, part) in [
            ("qcc_gateway=inof", "qcc_gateway=inof"),
            ("warn,qcc_gateway=inof", "qcc_gateway=inof"),
            ("in=fo=x", "in=fo=x"),
            ("info/a/b", "info/a/b"),
            ("inof", "inof"),
            ("info;debug", "info;debug"),
            ("qcc_gateway:debug", "qcc_gateway:debug"),
            ("qcc-gateway=info,h2", "h2"),
            ("h2=", "h2="),
            ("=info", "=info"),
            (" ", " "),
            ("/words", "/words"),
        ] {
            assert_eq!(RustLog::read(Some(bad)), RustLog::Faulty { found: format!("{part:?}") });
        }
        assert_eq!((RustLog::read(None), RustLog::read(Some(""))), (RustLog::Unset, RustLog::Unset));
    }
}

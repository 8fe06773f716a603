//! Which records are wanted, by a filter in the syntax of `RUST_LOG`.

use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log as _, Metadata, Record};

/// The library that reads clients' requests. It logs an unreadable head, or an answer that breaks off, as an error:
/// anybody can cause that as often as they like, and operators can do nothing about it.
const HTTP: &str = "actix_http";
/// The level that its records are logged at.
const LEVEL_OF_HTTP: Level = Level::Debug;

/// A filter of records.
#[derive(Debug)]
pub(super) struct Filter {
    logger: Logger,
    /// The parts of [`HTTP`] that the filter itself names. Their records keep their level.
    named: Vec<String>,
}

impl Filter {
    /// Reads a filter.
    pub(super) fn read(text: &str) -> Self {
        let directives = text.split_once('/').map_or(text, |(directives, _)| directives);
        let targets = directives.split(',').filter_map(|directive| directive.trim().split('=').next());
        let named = targets.filter(|target| is_http(target)).map(str::to_owned).collect();
        let logger = Builder::new().parse_filters(text).build();
        Self { logger, named }
    }

    /// The most verbose level that is wanted of anything.
    pub(super) fn most(&self) -> LevelFilter {
        self.logger.filter()
    }

    /// Whether such a record may be wanted.
    pub(super) fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = self.level_of(metadata);
        self.logger.enabled(&Metadata::builder().level(level).target(metadata.target()).build())
    }

    /// The record as it is to be logged, if it is wanted.
    pub(super) fn wanted<'a>(&self, record: &'a Record<'a>) -> Option<Record<'a>> {
        let record = record.to_builder().level(self.level_of(record.metadata())).build();
        self.logger.matches(&record).then_some(record)
    }

    fn level_of(&self, metadata: &Metadata<'_>) -> Level {
        let (level, target) = (metadata.level(), metadata.target());
        let is_named = || self.named.iter().any(|named| target.starts_with(named));
        if is_http(target) && !is_named() { level.max(LEVEL_OF_HTTP) } else { level }
    }
}

fn is_http(target: &str) -> bool {
    target.strip_prefix(HTTP).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISPATCHER: &str = "actix_http::h1::dispatcher";

    /// The level at which an error of this target is logged.
    fn error_of(target: &str, filter: &str) -> Option<Level> {
        let read = Filter::read(filter);
        let metadata = Metadata::builder().level(Level::Error).target(target).build();
        let record = Record::builder().metadata(metadata.clone()).args(format_args!("stream error: a header")).build();
        let wanted = read.wanted(&record).map(|record| record.level());
        if !filter.contains('/') {
            assert_eq!(read.enabled(&metadata), wanted.is_some(), "{target} {filter}");
        }
        wanted
    }

    #[test]
    fn what_a_client_sends_is_no_error_unless_the_operator_names_who_says_so() {
        for (filter, level) in [
            ("off", None),
            ("error", None),
            ("info", None),
            ("info,qcc_gateway=debug", None),
            ("info,actix_https=error,my_actix_http=error", None),
            ("debug", Some(Level::Debug)),
            ("trace", Some(Level::Debug)),
            ("debug/stream", Some(Level::Debug)),
            ("debug/nothing like it", None),
            ("info,actix_http=error", Some(Level::Error)),
            ("off, actix_http= warn ", Some(Level::Error)),
            ("info,actix_http::h1=error", Some(Level::Error)),
            ("actix_http", Some(Level::Error)),
            ("actix_http=off,debug", None),
        ] {
            assert_eq!(error_of(DISPATCHER, filter), level, "{filter}");
            assert_eq!(error_of("actix_http", filter), if filter.contains("::h1") { None } else { level }, "{filter}");
        }
    }

    #[test]
    fn all_else_is_logged_as_it_was_said() {
        for target in ["qcc_gateway::http", "actix_https", "rustls"] {
            assert_eq!(error_of(target, "error"), Some(Level::Error), "{target}");
            assert_eq!(error_of(target, "off"), None, "{target}");
        }
    }
}

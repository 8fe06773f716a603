//! The log: level, format, and where it goes: to standard error, and the latest lines to a keeper. What must not be shown is
//! kept out by the types, not here.

mod fields;
mod keeper;
mod ring;

use std::io::Write;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use env_logger::{Builder, Logger, WriteStyle};
use log::{Level, LevelFilter, Log as _, Metadata, Record};

pub use ring::{Line, MOST_LINES, Query};

use crate::settings::{Log, LogFormat};
use fields::Fields;
use keeper::Keeper;

/// The process's log, whose filter can be replaced while it runs.
struct Running {
    format: LogFormat,
    logger: ArcSwap<Logger>,
    keeper: Keeper,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

impl log::Log for Running {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.load().log(record);
    }

    fn flush(&self) {
        self.logger.load().flush();
    }
}

/// The process logs by other means than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process's log is not the gateway's own")]
pub struct NotRunning;

/// Why the level stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// The text is no filter.
    #[error("{found} can't be read; wanted: {}", Log::FILTER)]
    NoFilter {
        /// The part that can't be read, quoted.
        found: String,
    },
    /// The process logs by other means.
    #[error("{0}, so that its level can't be set here")]
    NotRunning(#[from] NotRunning),
}

/// Starts the log on standard error. `rust_log` is the variable `RUST_LOG`, which wins over the settings where it is set.
///
/// A log that runs already, as in tests, is left as it is.
pub fn start(settings: &Log, rust_log: Option<&str>) {
    let filters = rust_log.filter(|filters| !filters.is_empty()).unwrap_or(&settings.level);
    let running = RUNNING.get_or_init(|| {
        let keeper = Keeper::start();
        let logger = ArcSwap::from_pointee(logger(settings.format, filters, keeper.clone()));
        Running { format: settings.format, logger, keeper }
    });
    match log::set_logger(running) {
        Ok(()) => log::set_max_level(running.logger.load().filter()),
        Err(_) => log::debug!("the log was running already"),
    }
}

/// Replaces the filter of the running log, in the syntax of `RUST_LOG`, and says in the log who wanted it.
///
/// # Errors
///
/// [`LevelError`]; then the log goes on as it was.
pub fn set_level(filters: &str, by: &str) -> Result<(), LevelError> {
    if let Some(found) = Log::fault_of_filter(filters) {
        return Err(LevelError::NoFilter { found });
    }
    let running = RUNNING.get().ok_or(NotRunning)?;
    let logger = logger(running.format, filters, running.keeper.clone());
    let most = logger.filter();
    let own_warning = Metadata::builder().level(Level::Warn).target(module_path!()).build();
    let is_heard = logger.enabled(&own_warning);
    let replace = move || {
        running.logger.store(Arc::new(logger));
        log::set_max_level(most);
    };
    let tell = || log::warn!("log level set to {filters:?} by {by}");
    // A log that falls silent says why before it does.
    if is_heard {
        replace();
        tell();
    } else {
        tell();
        replace();
    }
    Ok(())
}

/// The latest lines that fit, newest last, behind all that was logged before.
///
/// # Errors
///
/// [`NotRunning`] where there is no such log.
pub async fn latest(query: Query) -> Result<Vec<Line>, NotRunning> {
    let running = RUNNING.get().ok_or(NotRunning)?;
    running.keeper.find(query).await.ok_or(NotRunning)
}

fn logger(format: LogFormat, filters: &str, keeper: Keeper) -> Logger {
    let mut builder = Builder::new();
    // The server's own chatter of workers and threads is for those who ask for it.
    builder.filter_module("actix_server", LevelFilter::Warn);
    builder.parse_filters(filters);
    builder.write_style(WriteStyle::Never);
    builder.format(move |buffer, record| {
        let line = Entry::of(record, buffer.timestamp_millis().to_string());
        // Kept first: standard error may be a pipe that nobody reads.
        let written = line.written(format, record);
        keeper.leave(line.line);
        writeln!(buffer, "{written}")
    });
    builder.build()
}

/// A record as it is kept, and its fields.
struct Entry {
    line: Line,
    fields: Fields,
}

impl Entry {
    fn of(record: &Record<'_>, at: String) -> Self {
        let fields = Fields::of(record);
        let message = fields.behind(record.args());
        let line = Line { at, level: record.level(), target: record.target().to_owned(), message };
        Self { line, fields }
    }

    /// The line as it is written: for people, or as an object of its own in which each field is one.
    fn written(&self, format: LogFormat, record: &Record<'_>) -> String {
        let Line { at, level, target, message } = &self.line;
        match format {
            LogFormat::Text => format!("{at} {level:<5} {message}"),
            LogFormat::Json => {
                let mut object = self.fields.clone().into_object();
                let message = record.args().to_string();
                // Last, so that no field can take their place.
                for (name, value) in
                    [("at", at.as_str()), ("level", level.as_str()), ("target", target), ("message", &message)]
                {
                    object.insert(name.to_owned(), value.into());
                }
                serde_json::Value::Object(object).to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, fields: &[(&str, &str)]) -> String {
        let record = Record::builder()
            .level(Level::Info)
            .target("qcc_gateway::http")
            .args(format_args!("request"))
            .key_values(&fields)
            .build();
        Entry::of(&record, "2026-01-01T00:00:00.000Z".to_owned()).written(format, &record)
    }

    #[test]
    fn for_people_the_fields_stand_behind_the_message() {
        let line = written(LogFormat::Text, &[("id", "r1"), ("client", "alice")]);
        assert_eq!(line, "2026-01-01T00:00:00.000Z INFO  request id=r1 client=alice");
    }

    #[test]
    fn in_json_each_field_is_one_and_takes_no_others_place() {
        let line = written(LogFormat::Json, &[("id", "r1"), ("level", "ERROR")]);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "at": "2026-01-01T00:00:00.000Z", "level": "INFO", "target": "qcc_gateway::http", "message": "request", "id": "r1",
        });
        assert_eq!(object, expected);
    }
}

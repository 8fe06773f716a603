//! The log: its level and format, and where it goes: to standard error and, for the latest lines, to a ring. Secrets are
//! kept out by the types, not here.

mod fields;
mod filter;
mod ring;
mod scribe;
mod writing;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use log::{Level, Metadata, Record};

pub use ring::{Line, MAX_LINES, Query};

use crate::settings::{Log, LogFormat, RustLog};
use filter::Filter;
use scribe::Scribe;
use writing::Entry;

/// The process's log, whose filter can be replaced while it runs.
struct Running {
    format: LogFormat,
    /// Says which records are wanted; the scribe writes them.
    filter: ArcSwap<Filter>,
    scribe: Scribe,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

impl log::Log for Running {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(record) = self.filter.load().wanted(record) {
            self.scribe.leave(entry(self.format, &record));
        }
    }

    fn flush(&self) {
        self.scribe.flush();
    }
}

#[expect(clippy::disallowed_methods, reason = "a log line tells the time of day, and no decision depends on it")]
fn entry(format: LogFormat, record: &Record<'_>) -> Entry {
    Entry {
        at: SystemTime::now(),
        level: record.level(),
        target: match record.module_path_static() {
            // The usual case, when no other target was given.
            Some(module) if module == record.target() => Cow::Borrowed(module),
            Some(_) | None => Cow::Owned(record.target().to_owned()),
        },
        message: fields::message(record),
        object: match format {
            LogFormat::Text => None,
            LogFormat::Json => Some(fields::object(record)),
        },
    }
}

/// The process logs by other means than this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process's log is not the gateway's own")]
pub struct NotRunning;

/// Why there are no lines to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLines {
    /// The process logs by other means.
    #[error("{0}, so that no lines of it are kept here")]
    NotRunning(#[from] NotRunning),
    /// Writing the log hangs.
    #[error("the log can't be written: nobody reads this process's standard error, and it is full")]
    Stuck,
}

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

/// Starts the log on standard error. `rust_log` wins over the settings if it is a filter.
///
/// A log that runs already, as in tests, is left as it is.
pub fn start(settings: &Log, rust_log: &RustLog<'_>) {
    let filters = rust_log.filter().unwrap_or(&settings.level);
    let running = RUNNING.get_or_init(|| {
        let filter = ArcSwap::from_pointee(Filter::read(filters));
        Running { format: settings.format, filter, scribe: Scribe::start() }
    });
    match log::set_logger(running) {
        Ok(()) => log::set_max_level(running.filter.load().most()),
        Err(_) => log::debug!("the log was running already"),
    }
}

/// Replaces the filter of the running log, in the syntax of `RUST_LOG`, and says in the log who wanted it.
///
/// # Errors
///
/// [`LevelError`]; then the log goes on as it was.
pub fn set_level(filters: &str, by: &str) -> Result<(), LevelError> {
    let filters = match RustLog::read(Some(filters)) {
        RustLog::Filter(filters) => filters,
        RustLog::Faulty { found } => return Err(LevelError::NoFilter { found }),
        // The variable may be empty, but an order to set a level must name one.
        RustLog::Unset => return Err(LevelError::NoFilter { found: format!("{filters:?}") }),
    };
    let running = RUNNING.get().ok_or(NotRunning)?;
    let filter = Filter::read(filters);
    let most = filter.most();
    let own_warning = Metadata::builder().level(Level::Warn).target(module_path!()).build();
    let is_heard = filter.enabled(&own_warning);
    let replace = move || {
        running.filter.store(Arc::new(filter));
        log::set_max_level(most);
    };
    let tell = || log::warn!("log level set to {filters:?} by {by}");
    // A log that is about to fall silent says why first.
    if is_heard {
        replace();
        tell();
    } else {
        tell();
        replace();
    }
    Ok(())
}

/// The latest lines that fit, newest last, after everything that was logged before has been taken in.
///
/// # Errors
///
/// [`NoLines`].
pub async fn latest(query: Query) -> Result<Vec<Line>, NoLines> {
    let running = RUNNING.get().ok_or(NotRunning)?;
    running.scribe.find(query).await
}

/// How many lines of the log were not written since the start; 0 if the process logs by other means.
pub fn lines_lost() -> u64 {
    RUNNING.get().map_or(0, |running| running.scribe.lost_in_all())
}

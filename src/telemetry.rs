//! The log: level, format, and where it goes. What must not be shown is kept out by the types, not here.

use std::io::Write;
use std::sync::{OnceLock, PoisonError};

use env_logger::{Builder, Logger, WriteStyle};
use log::{Level, LevelFilter, Log as _, Metadata, Record};

use crate::settings::{Log, LogFormat};

#[expect(clippy::disallowed_types, reason = "every thread writes to the log, so that no actor can own it")]
type Lock<T> = std::sync::RwLock<T>;

/// The process's log, whose filter can be replaced while it runs.
struct Running {
    format: LogFormat,
    logger: Lock<Logger>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

impl log::Log for Running {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).log(record);
    }

    fn flush(&self) {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).flush();
    }
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
    #[error("this process's log is not the gateway's own, so that its level can't be set here")]
    NotRunning,
}

/// Starts the log on standard error. `rust_log` is the variable `RUST_LOG`, which wins over the settings where it is set.
///
/// A log that runs already, as in tests, is left as it is.
pub fn start(settings: &Log, rust_log: Option<&str>) {
    let filters = rust_log.filter(|filters| !filters.is_empty()).unwrap_or(&settings.level);
    let logger = logger(settings.format, filters);
    let most = logger.filter();
    let running = RUNNING.get_or_init(|| Running { format: settings.format, logger: Lock::new(logger) });
    match log::set_logger(running) {
        Ok(()) => log::set_max_level(most),
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
    let running = RUNNING.get().ok_or(LevelError::NotRunning)?;
    let logger = logger(running.format, filters);
    let most = logger.filter();
    let own_warning = Metadata::builder().level(Level::Warn).target(module_path!()).build();
    let is_heard = logger.enabled(&own_warning);
    let replace = move || {
        *running.logger.write().unwrap_or_else(PoisonError::into_inner) = logger;
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

fn logger(format: LogFormat, filters: &str) -> Logger {
    let mut builder = Builder::new();
    // The server's own chatter of workers and threads is for those who ask for it.
    builder.filter_module("actix_server", LevelFilter::Warn);
    builder.parse_filters(filters);
    builder.write_style(WriteStyle::Never);
    match format {
        LogFormat::Text => builder.format(|buffer, record| {
            let at = buffer.timestamp_millis();
            writeln!(buffer, "{at} {:<5} {}", record.level(), record.args())
        }),
        LogFormat::Json => builder.format(|buffer, record| {
            let line = serde_json::json!({
                "at": buffer.timestamp_millis().to_string(),
                "level": record.level().as_str(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(buffer, "{line}")
        }),
    };
    builder.build()
}

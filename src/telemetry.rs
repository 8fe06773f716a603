//! The log: level, format, and where it goes. What must not be shown is kept out by the types, not here.

use std::io::Write;

use env_logger::{Builder, WriteStyle};
use log::LevelFilter;

use crate::settings::{Log, LogFormat};

/// Starts the log on standard error. `rust_log` is the variable `RUST_LOG`, which wins over the settings where it is set.
///
/// A log that runs already, as in tests, is left as it is.
pub fn start(settings: &Log, rust_log: Option<&str>) {
    let mut builder = Builder::new();
    // The server's own chatter of workers and threads is for those who ask for it.
    builder.filter_module("actix_server", LevelFilter::Warn);
    builder.parse_filters(rust_log.filter(|filters| !filters.is_empty()).unwrap_or(&settings.level));
    builder.write_style(WriteStyle::Never);
    match settings.format {
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
    if builder.try_init().is_err() {
        log::debug!("the log was running already");
    }
}

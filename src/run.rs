//! The commands, each from the settings to its exit status. Only here is anything written to standard output and error.

mod watching;

pub use watching::{status, top};

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix_rt::System;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::actors::lifeline::end_the_process;
use crate::app::{App, Reloads};
use crate::cli::{self, BAD_SETTINGS};
use crate::clock::Clock;
use crate::demo::{self, Ending};
use crate::domain::ids::ClientId;
use crate::domain::secret::Secret;
use crate::entropy::fresh_credential;
use crate::live;
use crate::settings::{self, Loaded, Log, Note, Reach, RustLog, Source};
use crate::state_file;
use crate::telemetry;

/// How long `health` waits for an answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Prints the text and returns this status, or a failure if it can't be printed. A reader that closed the pipe has seen
/// enough.
fn printed(text: &str, status: ExitCode) -> ExitCode {
    match write(&[text.as_bytes()]) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            tell(format_args!("can't write: {error}"));
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => status,
    }
}

fn write(parts: &[&[u8]]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    parts.iter().try_for_each(|part| output.write_all(part))?;
    output.flush()
}

/// Writes a line to standard error.
fn tell(text: impl Display) {
    // If nobody reads it, there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Serves until SIGTERM or SIGINT.
pub fn serve(source: &Source) -> ExitCode {
    let loaded = match settings::load(source) {
        Ok(loaded) => loaded,
        Err(faults) => {
            tell(faults);
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    let rust_log = source.rust_log();
    telemetry::start(&loaded.settings.log, &rust_log);
    log_panics();
    log::info!("{}", what_starts(&loaded));
    doubt_the_filter(&rust_log);
    for note in loaded.notes_at(Clock::start().since_1970()) {
        log::warn!("{} {}", note.key, note.text);
    }
    if loaded.settings.state.file.is_none() {
        log::info!(
            "state.file is empty: isolations and switches end with this process; name a file there to keep them"
        );
    }
    raise_open_files(loaded.settings.server.max_connections);
    System::new().block_on(async {
        // Before anything listens, so that no signal is missed.
        let listened = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (Ok(mut terminate), Ok(mut interrupt), Ok(hangup)) = listened else {
            return failed("signals can't be listened for");
        };
        // A process that listens for SIGXFSZ is not ended by it: a file that may grow no further is then an error like a
        // full disk.
        let _too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        let mut app = match App::start(loaded, Arc::new(end_the_process)).await {
            Ok(app) => app,
            Err(error) => return failed(&error.to_string()),
        };
        if let Some(link) = app.dashboard_link() {
            show(&link);
        }
        // Even while it stops: until it no longer listens, everything goes on.
        actix_rt::spawn(reload_at_each(hangup, app.reloads()));
        until_stopped(&mut app, &mut terminate, &mut interrupt).await;
        log::info!("stopping; a second signal ends it at once");
        tokio::select! {
            () = app.stop() => ExitCode::SUCCESS,
            () = either(&mut terminate, &mut interrupt) => {
                log::warn!("a second signal: ending at once");
                at_once()
            }
        }
    })
}

/// The version, and where the settings come from, for readers who see only the log.
fn what_starts(Loaded { sources, variables_taken, .. }: &Loaded) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let (version, sources, variables) = (env!("CARGO_PKG_VERSION"), list(sources), list(variables_taken));
    format!("qcc-gateway {version}; settings, later ones win: {sources}; variables taken: {variables}")
}

/// Makes panics be logged. By default they are written to standard error, where the panicking thread would wait for its
/// reader.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A formatted message may quote what a client or an upstream has said.
        let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("its words are not shown");
        let told = format!("a panic at {place}: {words}; please report it");
        log::error!("{told}");
        if !log::log_enabled!(log::Level::Error) {
            aside(move || tell(told));
        }
    }));
}

/// Does what may wait for the reader of standard error on a thread of its own, so that nothing else waits. If there is no
/// thread for it, nothing is shown.
fn aside(show: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("showing".to_owned()).spawn(show).ok();
}

/// Raises the limit on open files as far as the system allows: each connection is one, a client's and an upstream's.
fn raise_open_files(connections: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the system refuses this, the present limit is reported.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed > u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2) {
        log::debug!(
            "open files: {allowed}, enough for server.max_connections={connections} with an upstream connection each"
        );
    } else {
        log::info!(
            "open files: {allowed}, fewer than server.max_connections={connections} with an upstream connection each may \
             need; raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) or lower server.max_connections"
        );
    }
}

/// Ends without waiting for threads that may still be at work.
#[expect(clippy::disallowed_methods, reason = "the operator asked twice; open requests are not waited for")]
fn at_once() -> ExitCode {
    log::logger().flush();
    std::process::exit(1)
}

/// Shows a made admin token, which appears here and nowhere else.
fn show(link: &Secret) {
    tell("no admin token is set, so one was made for this run; it is shown here alone, in the dashboard's link:");
    tell(format_args!("  {}", link.expose()));
}

/// Reloads at each SIGHUP. A file that can't be read to its end holds up no further signal.
async fn reload_at_each(mut hangup: Signal, reloads: Reloads) {
    while hangup.recv().await.is_some() {
        actix_rt::spawn(reloads.reload());
    }
}

async fn until_stopped(app: &mut App, terminate: &mut Signal, interrupt: &mut Signal) {
    loop {
        tokio::select! {
            () = either(terminate, interrupt) => return,
            link = app.next_dashboard_link() => aside(move || show(&link)),
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn failed(error: &str) -> ExitCode {
    log::error!("{error}");
    // Even if the log does not show errors, the reason why there is no gateway must be told.
    if !log::log_enabled!(log::Level::Error) {
        tell(error);
    }
    ExitCode::FAILURE
}

/// Warns of a `RUST_LOG` by which nothing of the gateway is logged, if that was hardly meant: even a valid one may name
/// none of its parts. A faulty one is reported by the log, if that is visible.
fn doubt_the_filter(rust_log: &RustLog<'_>) {
    let is_meant = |filter: &str| filter.contains("off");
    if let Some(filter) = rust_log.filter().filter(|filter| !is_meant(filter) && !log::log_enabled!(log::Level::Error))
    {
        tell(format_args!("RUST_LOG={filter:?}: with this the gateway logs nothing; wanted: {}", Log::FILTER));
    }
    if let Some(doubt) = rust_log.doubt().filter(|_| !log::log_enabled!(log::Level::Warn)) {
        tell(format_args!("variable {} {doubt}", RustLog::NAME));
    }
}

/// Prints what would run and, if wanted, what each endpoint says to a verification.
pub fn check(source: &Source, options: &cli::Check) -> ExitCode {
    let mut loaded = settings::load(source);
    if let Ok(loaded) = &mut loaded {
        loaded.notes = loaded.notes_at(Clock::start().since_1970());
        loaded.notes.extend(note_of_state_file(loaded));
    }
    let checked = cli::check(&loaded);
    if !checked.errors.is_empty() {
        tell(checked.errors.trim_end());
    }
    let ending = printed(&checked.output, ExitCode::from(checked.status));
    match loaded {
        Ok(loaded) if options.live && ending == ExitCode::SUCCESS => check_live(&loaded),
        Ok(_) | Err(_) => ending,
    }
}

/// What would keep the gateway from starting with its state file. Nothing is written or locked for this: a gateway may be
/// running with it.
fn note_of_state_file(loaded: &Loaded) -> Option<Note> {
    let obstacle = state_file::obstacle(loaded.settings.state.file.as_deref()?)?;
    let text = format!("can't be written by this user, without which the gateway does not start: {obstacle}");
    Some(Note { key: "state.file".to_owned(), text })
}

fn check_live(loaded: &Loaded) -> ExitCode {
    match System::new().block_on(live::verify_all(loaded)) {
        Ok(verdicts) => {
            let status = if verdicts.all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            printed(&format!("\n{}", verdicts.text), status)
        }
        Err(error) => {
            tell(error);
            ExitCode::FAILURE
        }
    }
}

/// Prints a fresh client key, and the settings lines by which it is known.
pub fn new_key(name: &ClientId) -> ExitCode {
    match fresh_credential(cli::CLIENT_KEY_PREFIX) {
        Ok(key) => printed(&cli::key_lines(name, &key), ExitCode::SUCCESS),
        Err(error) => {
            tell(error);
            ExitCode::FAILURE
        }
    }
}

/// Asks the running gateway whether it is ready.
pub fn health(source: &Source) -> ExitCode {
    let Reach { authority, doubts } = match settings::reach(source) {
        Ok(reach) => reach,
        Err(faults) => {
            tell(faults);
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    let url = format!("http://{authority}/__qcc__/health/ready");
    System::new().block_on(async {
        // Plain HTTP to the gateway itself, so no TLS provider has to be set up.
        let client = awc::Client::builder().connector(awc::Connector::new()).timeout(HEALTH_TIMEOUT).finish();
        match client.get(&url).send().await {
            Ok(mut answer) => {
                let body = answer.body().await.unwrap_or_default();
                let status = if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                printed(&format!("{}\n", String::from_utf8_lossy(&body)), status)
            }
            Err(error) => {
                tell(format_args!("no answer from {url}: {error}; does the gateway run, with the same settings?"));
                let Some(faults) = doubts else { return ExitCode::FAILURE };
                tell(faults);
                ExitCode::from(BAD_SETTINGS)
            }
        }
    })
}

/// Shows isolation, verification and recovery with upstreams of its own.
pub fn demo(options: &cli::Demo) -> ExitCode {
    let variable = std::env::var(RustLog::NAME).ok();
    let rust_log = RustLog::read(variable.as_deref());
    if let Some(doubt) = rust_log.doubt() {
        tell(format_args!("variable {} {doubt}", RustLog::NAME));
    }
    let ending = System::new().block_on(async {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return Err(format!("signals can't be listened for: {error}")),
        };
        let stop = either(&mut terminate, &mut interrupt);
        Box::pin(demo::run(options, &rust_log, stop)).await.map_err(|error| error.to_string())
    });
    match ending {
        Ok(Ending::Kept) => ExitCode::SUCCESS,
        Ok(Ending::Broken(promises)) => {
            tell(format_args!("these promises did not hold, see the table above: {}", promises.join("; ")));
            ExitCode::FAILURE
        }
        Ok(Ending::Interrupted) => {
            tell("stopped before the cycle was over, so nothing was shown");
            ExitCode::FAILURE
        }
        Err(error) => {
            tell(format_args!("the demonstration can't go on: {error}"));
            ExitCode::FAILURE
        }
    }
}

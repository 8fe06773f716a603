//! The demonstration: three small upstreams, the real gateway in front of them, and a client that asks it all the time,
//! in one process. One upstream is broken and mended again, and what happens is narrated.
//!
//! Nothing here reaches into the gateway: it is started from settings like any other and watched through its own routes.

mod answer;
mod client;
mod narrator;
mod observer;
mod story;
mod upstream;
mod verdict;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;

use crate::actors::lifeline::end_the_process;
use crate::app::{App, StartError};
use crate::cli::Demo;
use crate::clock::Clock;
use crate::domain::endpoint::Home;
use crate::settings::{self, Faults, Loaded, RustLog, Source};
use crate::telemetry;

use client::plain_client;
use observer::{Observer, Unobservable};
use story::Stage;
use upstream::{ROLES, Upstream};

/// The factor by which the gateway's delays are shortened, so that a cycle fits into half a minute.
const HASTE: u32 = 10;
/// The verifier's delay until the first verification, its longest delay, its slow start, and the breaker's window: the
/// defaults divided by [`HASTE`].
const INITIAL_DELAY: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_secs(6);
const SLOW_START: Duration = Duration::from_secs(3);
const BREAKER_WINDOW: Duration = Duration::from_secs(6);
/// How long the old kind of breaker, which stays open for 30 s by default, would hold traffic back: also divided by
/// [`HASTE`].
const OLD_BREAKER: Duration = Duration::from_secs(3);
/// The pause between two cycles, with no traffic but the reader's own.
const PAUSE: Duration = Duration::from_secs(30);

/// How the demonstration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every promise held in every cycle that was completed.
    Kept,
    /// These promises did not hold.
    Broken(Vec<String>),
    /// It was stopped before a cycle was over.
    Interrupted,
}

/// Why the demonstration can't go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// An upstream can't be started.
    #[error("no upstream can be started on loopback: {0}")]
    Upstream(#[source] io::Error),
    /// The gateway refuses the generated settings.
    #[error("the demonstration's settings are refused: {0}")]
    Settings(Faults),
    /// The gateway can't be started.
    #[error("{0} (here by --host and --port)")]
    Start(#[from] StartError),
    /// The gateway's own routes can't be read.
    #[error(transparent)]
    Unobservable(#[from] Unobservable),
}

/// Runs the demonstration until it is over or `stop` comes. Everything that it has started has ended when it returns.
///
/// # Errors
///
/// [`DemoError`] if something can't be started, or the gateway can't be watched.
pub async fn run(options: &Demo, rust_log: &RustLog<'_>, stop: impl Future<Output = ()>) -> Result<Ending, DemoError> {
    let clock = Clock::start();
    let (tell, reports) = unbounded_channel();
    let mut upstreams = Vec::new();
    for role in ROLES {
        upstreams.push(Upstream::start(role, clock, tell.clone()).map_err(DemoError::Upstream)?);
    }
    let ending = if options.upstreams_only {
        narrator::addresses(&upstreams);
        stop.await;
        Ok(Ending::Kept)
    } else {
        let source = source(options, &upstreams);
        match settings::load(&source) {
            Ok(loaded) => {
                telemetry::start(&loaded.settings.log, rust_log);
                play(options, loaded, &upstreams, |observer| Stage::new(observer, reports, clock), stop).await
            }
            Err(faults) => Err(DemoError::Settings(faults)),
        }
    };
    for upstream in upstreams {
        upstream.stop().await;
    }
    ending
}

/// Starts the gateway, goes through the cycles, and stops it.
async fn play(
    options: &Demo,
    loaded: Loaded,
    upstreams: &[Upstream],
    stage: impl FnOnce(Observer) -> Stage,
    stop: impl Future<Output = ()>,
) -> Result<Ending, DemoError> {
    let app = App::start(loaded, Arc::new(end_the_process)).await?;
    let mut broken = Vec::new();
    let mut cycles: u32 = 0;
    let ending = {
        let base = format!("http://{}", reachable(app.address()));
        let client = plain_client();
        let mut stage = stage(Observer::new(client.clone(), base.clone()));
        let cycles = async {
            narrator::opening(upstreams, app.address(), &base);
            let primaries: Vec<&Upstream> = upstreams.iter().filter(|one| one.role.home == Home::Primary).collect();
            // The last primary is the first to break, so that the first request of all is served at once.
            for victim in primaries.iter().rev().cycle() {
                let promises = stage.cycle(upstreams, victim, &client, &base).await?;
                cycles += 1;
                broken.extend(promises.iter().filter(|promise| !promise.held).map(|promise| promise.words.to_owned()));
                if options.exit {
                    break;
                }
                narrator::invitation(&base, PAUSE);
                tokio::time::sleep(PAUSE).await;
            }
            Ok::<_, DemoError>(())
        };
        // Whatever is under way, connections included, is dropped here, before the gateway is asked to stop.
        tokio::select! {
            ending = cycles => ending,
            () = stop => Ok(()),
        }
    };
    app.stop().await;
    ending?;
    Ok(match (cycles, broken.is_empty()) {
        (_, false) => Ending::Broken(broken),
        (0, true) if options.exit => Ending::Interrupted,
        (_, true) => Ending::Kept,
    })
}

/// The address at which this machine reaches a gateway that listens here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The settings: variables over the defaults, with neither the files nor the variables of the person who runs the
/// demonstration.
fn source(options: &Demo, upstreams: &[Upstream]) -> Source {
    let duration = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut variables: BTreeMap<String, String> = [
        ("SERVER__HOST", options.host.to_string()),
        ("SERVER__PORT", options.port.to_string()),
        ("SERVER__WORKERS", "2".to_owned()),
        ("SERVER__SHUTDOWN_GRACE", "2s".to_owned()),
        ("LOG__LEVEL", "warn".to_owned()),
        ("BREAKER__WINDOW", duration(BREAKER_WINDOW)),
        ("VERIFIER__INITIAL_DELAY", duration(INITIAL_DELAY)),
        ("VERIFIER__INTERVAL", duration(INTERVAL)),
        ("VERIFIER__SLOW_START", duration(SLOW_START)),
        ("CLIENTS__DEMO__KEY", client::KEY.to_owned()),
        // Otherwise nobody could read the stats on addresses other than loopback; there is nothing in them to protect.
        ("ADMIN__PUBLIC_STATS", (!options.host.is_loopback()).to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("QCC__{key}"), value))
    .collect();
    for upstream in upstreams {
        let prefix = format!("QCC__ENDPOINTS__{}", upstream.role.name.to_uppercase());
        variables.insert(format!("{prefix}__BASE_URL"), upstream.url());
        variables.insert(format!("{prefix}__API_KEY"), upstream.role.key.to_owned());
        variables.insert(format!("{prefix}__QUEUE"), upstream.queue().to_owned());
    }
    // An empty file, which takes the place of all others.
    Source { place: Some(PathBuf::from("/dev/null")), environment: None, variables }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(host: &str) -> Demo {
        Demo { host: host.parse().unwrap(), port: 0, exit: true, upstreams_only: false }
    }

    fn upstreams() -> Vec<Upstream> {
        let (tell, _) = unbounded_channel();
        ROLES.iter().map(|role| Upstream::start(*role, Clock::start(), tell.clone()).unwrap()).collect()
    }

    #[actix_web::test]
    async fn the_settings_are_sound_on_every_address_and_hasten_the_defaults_alike() {
        let upstreams = upstreams();
        for (host, public) in [("127.0.0.1", false), ("0.0.0.0", true), ("::1", false), ("::", true)] {
            let source = source(&demo(host), &upstreams);
            let hasty = settings::load(&source).unwrap();
            assert_eq!((hasty.topology.iter().len(), hasty.clients.len()), (3, 1));
            assert_eq!(hasty.settings.admin.public_stats, public, "{host}");
            assert_eq!(hasty.notes, []);
            let is_delay = |name: &String| name.contains("__VERIFIER__") || name.contains("__BREAKER__");
            let unhurried = Source {
                variables: source.variables.into_iter().filter(|(name, _)| !is_delay(name)).collect(),
                ..source
            };
            let (hasty, default) = (hasty.settings, settings::load(&unhurried).unwrap().settings);
            assert_eq!(hasty.verifier.initial_delay * HASTE, default.verifier.initial_delay);
            assert_eq!(hasty.verifier.interval * HASTE, default.verifier.interval);
            assert_eq!(hasty.verifier.slow_start * HASTE, default.verifier.slow_start);
            assert_eq!(hasty.breaker.window * HASTE, default.breaker.window);
        }
        for upstream in upstreams {
            upstream.stop().await;
        }
    }

    #[test]
    fn a_gateway_on_every_address_is_reached_on_loopback() {
        for (listening, reached) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), reached);
        }
    }
}

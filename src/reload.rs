//! Reads the settings anew while the gateway runs, and takes them over whole or not at all.
//!
//! Requests under way keep the settings that they came with; endpoints keep their standing; policies reach the actors
//! after everything they were sent before. What can't change without a restart stays as it is, and is named.

mod reading;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Message, ResponseActFuture, SpawnHandle,
    WrapFuture,
};
use reading::{Readings, Unread};
use rustls::ClientConfig;
use tokio::sync::mpsc::UnboundedSender;

use crate::actors::Core;
use crate::actors::messages::{Apply, KeepEvents, Note, Notify, SetCatalog, SetWebhook};
use crate::clock::Clock;
use crate::domain::client::KeyDigest;
use crate::domain::events::{Event, EventKind};
use crate::domain::ids::{ClientId, EndpointId};
use crate::domain::notice::Notice;
use crate::domain::secret::Secret;
use crate::domain::stats::ReloadRecord;
use crate::http::{Config, ConfigCell, Reload, Reloaded};
use crate::policies::policies;
use crate::settings::{self, Fault, Faults, FilesSeen, Loaded, Look, Reread, Settings};
use crate::telemetry;
use crate::token;
use crate::upstream::tls::{self, TlsConfigError, Trust};

/// How long changed files must stay as they are before they are taken over: an editor may still be writing.
const SETTLED_AFTER: Duration = Duration::from_millis(250);

/// How long one reading of the settings may take.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What a reload changes.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The actors.
    pub core: Core,
    /// What new requests are served by.
    pub config: ConfigCell,
    /// What the clients trust.
    pub trust: Trust,
    /// The clock.
    pub clock: Clock,
    /// The port that the gateway listens on.
    pub port: u16,
    /// How many leases and moves the registry keeps, for tests.
    pub journal: usize,
}

/// Takes over new settings, one reading after the other.
#[derive(Debug)]
pub struct Reloader {
    parts: Parts,
    /// What the gateway runs with.
    running: Loaded,
    /// The admin token that was made because none is set.
    made_token: Option<KeyDigest>,
    /// Where tokens that a reload has to make are sent.
    made: UnboundedSender<Secret>,
    /// What the latest reading looked at, sound or not.
    seen: FilesSeen,
    /// The changed files that the watch has seen once, and waits to see again.
    unsettled: Option<FilesSeen>,
    /// Whether a reading was given up and reported as a fault: the next one that ends has to report that it is over.
    was_given_up: bool,
    alarm: Option<SpawnHandle>,
    readings: Readings,
}

/// The watch's own message: time to look for changed files.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Watch;

/// New settings that are sound, also together with what can't change.
struct Sound {
    reread: Reread,
    made: Option<Secret>,
}

/// Why new settings were not taken over.
enum NotTaken {
    /// They are at fault.
    Faults(Faults),
    /// What they need could not be read; they may be taken over next time.
    Unread(Unread),
}

impl From<Faults> for NotTaken {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<Unread> for NotTaken {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl Reloader {
    /// The reloader of a gateway that runs with `running`.
    pub fn new(parts: Parts, running: Loaded, made_token: Option<KeyDigest>, made: UnboundedSender<Secret>) -> Self {
        let seen = running.files.clone();
        Self {
            parts,
            running,
            made_token,
            made,
            seen,
            unsettled: None,
            was_given_up: false,
            alarm: None,
            readings: Readings::default(),
        }
    }

    /// Checks that the new settings are sound.
    fn examine(&self, found: Result<Loaded, Faults>) -> Result<Sound, Faults> {
        let reread = Reread::against(&self.running, found?, self.parts.port)?;
        let made = match self.made_token {
            Some(_) => None,
            None => token::made_if_needed(&reread.loaded.settings)
                .map_err(|error| fault("admin.token", error.to_string(), "an admin token in the settings"))?,
        };
        Ok(Sound { reread, made })
    }

    fn look(&mut self) -> impl Future<Output = Result<Look, Unread>> + use<> {
        let source = self.running.source.clone();
        self.readings.begin(move || settings::look(&source), READ_WITHIN)
    }

    /// Reads what to trust by these settings. The system's own authorities are in files as well.
    fn trusted_by(&mut self, settings: &Settings) -> impl Future<Output = Result<Arc<ClientConfig>, NotTaken>> + use<> {
        let authorities = settings.upstream.authorities.clone();
        let read = self.readings.begin(move || tls::client_config(&authorities), READ_WITHIN);
        let unusable = |error: TlsConfigError| {
            fault("upstream.ca_file", error.to_string(), "certificates of authorities that can be used")
        };
        async move { Ok(read.await?.map_err(unusable)?) }
    }

    /// Takes over what was read, in this order: what to trust, as new endpoints may be asked at once; endpoints and
    /// policies; then what new requests are served by.
    fn reload(&mut self, look: Look, by: Option<IpAddr>) -> ResponseActFuture<Self, Result<Reloaded, Faults>> {
        self.seen = look.files;
        self.unsettled = None;
        let was_given_up = std::mem::take(&mut self.was_given_up);
        let Parts { core, trust, journal, .. } = &self.parts;
        let (registry, trust, journal) = (core.registry.clone(), trust.clone(), *journal);
        let examined = self.examine(look.found).map(|sound| (self.trusted_by(&sound.reread.loaded.settings), sound));
        let applied = async move {
            let (trusted, sound) = examined?;
            trust.replace(trusted.await?);
            let Loaded { settings, topology, clients, .. } = &sound.reread.loaded;
            let apply = Apply {
                topology: Arc::new(topology.clone()),
                profiles: clients.iter().map(|client| (client.id.clone(), client.profile.clone())).collect(),
                policies: policies(settings, journal),
            };
            match registry.send(apply).await {
                Ok(endpoints) => Ok((sound, endpoints)),
                Err(_) => Err(fault("", "a gateway that is stopping".to_owned(), "one that runs").into()),
            }
        };
        Box::pin(applied.into_actor(self).map(move |applied, reloader, ctx| {
            let result = match applied {
                Ok((sound, endpoints)) => {
                    let Reread { clients, settings, needs_restart, .. } = &sound.reread;
                    let (clients, settings, needs_restart) = (clients.clone(), settings.clone(), needs_restart.clone());
                    reloader.take_over(sound);
                    Ok(Reloaded::new(endpoints, clients, settings, needs_restart))
                }
                Err(NotTaken::Faults(faults)) => Err(faults),
                Err(NotTaken::Unread(unread)) => {
                    reloader.was_given_up = true;
                    Err(unread.into())
                }
            };
            // Reported only once, until it can be read.
            if !(was_given_up && reloader.was_given_up && by.is_none()) {
                reloader.tell(&result, by);
            }
            reloader.set_alarm(ctx);
            result
        }))
    }

    fn give_up(&mut self, unread: Unread, by: Option<IpAddr>) -> Result<Reloaded, Faults> {
        self.was_given_up = true;
        let result = Err(unread.into());
        self.tell(&result, by);
        result
    }

    fn take_over(&mut self, sound: Sound) {
        let Sound { reread: Reread { loaded, .. }, made } = sound;
        if let Some(token) = made {
            self.made_token = Some(KeyDigest::of(token.expose()));
            // The receiver, which shows it, is gone only when the process ends.
            let _ = self.made.send(token);
        }
        let settings = token::with_made(loaded.settings.clone(), self.made_token);
        let earlier = self.parts.config.get();
        self.parts.config.set(Config::after(&earlier, settings, loaded.clients.clone()));
        self.parts.core.notifier.do_send(SetWebhook(loaded.settings.webhook.hook()));
        self.parts.core.stats.do_send(KeepEvents(loaded.settings.stats.events));
        let prices = loaded.settings.prices.clone();
        self.parts.core.stats.do_send(SetCatalog::new(prices, &loaded.topology, &loaded.clients));
        let level = &loaded.settings.log.level;
        let is_for_the_settings = loaded.source.rust_log().filter().is_none();
        if is_for_the_settings && *level != self.running.settings.log.level {
            // A log that is not the gateway's own, as in tests, keeps its level.
            if let Err(error) = telemetry::set_level(level, "a reload") {
                log::warn!("{error}");
            }
        }
        if loaded.clients.is_empty() && !self.running.clients.is_empty() {
            log::warn!("no client has a key any more: whoever reaches the gateway is served without one");
        }
        for note in loaded.notes_at(self.parts.clock.since_1970()) {
            log::warn!("{} {}", note.key, note.text);
        }
        self.running = loaded;
    }

    fn tell(&self, result: &Result<Reloaded, Faults>, by: Option<IpAddr>) {
        let who = by.map_or_else(|| "signal or watch".to_owned(), |address| format!("admin {address}"));
        let at = self.parts.clock.now();
        self.parts.core.stats.do_send(Note::Reload(ReloadRecord { ok: result.is_ok(), at }));
        let mut event = Event::of_gateway(EventKind::Reload, at);
        event.by = by;
        event.detail = Some(match result {
            Ok(reloaded) => {
                let summary = summary(reloaded);
                log::info!("settings reloaded by {who}: {summary}");
                if reloaded.needs_restart.iter().any(|key| ADDRESSES.contains(&key.as_str())) {
                    log::warn!("until it is restarted, `health` and `status` look for the gateway where it is not yet");
                }
                summary
            }
            Err(faults) => {
                log::error!("reload by {who} failed, nothing was changed: {} in the settings", faults.count());
                for fault in faults.iter() {
                    log::error!("{fault}");
                }
                let notice = Notice::reload_failed(event.at, &faults.to_string());
                self.parts.core.notifier.do_send(Notify(notice));
                format!("failed: {} in the settings", faults.count())
            }
        });
        self.parts.core.notifier.do_send(Notify(Notice::Event(event.clone())));
        self.parts.core.stats.do_send(Note::Event(event));
    }

    /// Sets the alarm for the next look at the files, if they are watched.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        let period = self.running.settings.reload.watch;
        let wait = if self.unsettled.is_some() { period.map(|period| period.min(SETTLED_AFTER)) } else { period };
        self.alarm = wait.map(|wait| ctx.notify_later(Watch, wait));
    }
}

fn fault(key: &str, found: String, wanted: &str) -> Faults {
    Faults::one(Fault { key: key.to_owned(), source: String::new(), found, wanted: wanted.to_owned() })
}

impl From<Unread> for Faults {
    fn from(unread: Unread) -> Self {
        let (found, wanted) = match unread {
            Unread::NoThread => ("no thread to read the settings on".to_owned(), "a process with room for one more"),
            Unread::Panicked => ("a reading that has broken off".to_owned(), "a report of this, with the log"),
            Unread::TooSlow => (format!("no end of reading within {} s", READ_WITHIN.as_secs()), READABLE),
            Unread::Hangs => ("an earlier reading that has not ended".to_owned(), RESTARTED),
        };
        fault("", found, wanted)
    }
}

/// The keys by which the commands that ask a running gateway find it: they use what the settings say now.
const ADDRESSES: [&str; 3] = ["server.host", "server.port", "admin.listen"];
const RESTARTED: &str = "settings files that can be read; where they are by now, the gateway restarted: it still waits for what it read before";
const READABLE: &str = "settings files and certificate authorities of the system that can be read: no pipe that nobody writes to, no disk that hangs";

/// A summary such as `endpoints added: backup; settings: breaker.window; needs a restart: server.port`.
fn summary(reloaded: &Reloaded) -> String {
    let Reloaded { added, changed, removed, clients, settings, needs_restart } = reloaded;
    let mut text = String::new();
    let mut list = |what: &str, names: Vec<&str>| {
        if !names.is_empty() {
            let semicolon = if text.is_empty() { "" } else { "; " };
            // Writing to a String can't fail.
            let _ = write!(text, "{semicolon}{what}: {}", names.join(" "));
        }
    };
    list("endpoints added", added.iter().map(EndpointId::as_str).collect());
    list("endpoints changed", changed.iter().map(EndpointId::as_str).collect());
    list("endpoints removed", removed.iter().map(EndpointId::as_str).collect());
    list("clients added", clients.added.iter().map(ClientId::as_str).collect());
    list("clients changed", clients.changed.iter().map(ClientId::as_str).collect());
    list("clients removed", clients.removed.iter().map(ClientId::as_str).collect());
    list("settings", settings.iter().map(String::as_str).collect());
    list("needs a restart", needs_restart.iter().map(String::as_str).collect());
    if text.is_empty() { "nothing has changed".to_owned() } else { text }
}

impl Actor for Reloader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.set_alarm(ctx);
    }
}

impl Handler<Reload> for Reloader {
    type Result = AtomicResponse<Self, Result<Reloaded, Faults>>;

    fn handle(&mut self, Reload { by }: Reload, _: &mut Self::Context) -> Self::Result {
        let look = self.look().into_actor(self);
        AtomicResponse::new(Box::pin(look.then(move |look, reloader, _| -> ResponseActFuture<Self, _> {
            match look {
                Ok(look) => reloader.reload(look, by),
                Err(unread) => Box::pin(actix::fut::ready(reloader.give_up(unread, by))),
            }
        })))
    }
}

impl Handler<Watch> for Reloader {
    type Result = ();

    fn handle(&mut self, _: Watch, ctx: &mut Self::Context) -> Self::Result {
        let look = self.look().into_actor(self);
        ctx.wait(look.then(|look, reloader, ctx| -> ResponseActFuture<Self, ()> {
            // Reported only once, until a reading ends.
            if let (Err(unread), false) = (&look, reloader.was_given_up) {
                // It has been reported, and nobody else has asked.
                let _ = reloader.give_up(*unread, None);
            }
            let has_changed = |look: &Look| look.files != reloader.seen || reloader.was_given_up;
            match look.ok().filter(has_changed) {
                Some(look) if reloader.unsettled.as_ref() == Some(&look.files) => {
                    return Box::pin(reloader.reload(look, None).map(|_, _, _| ()));
                }
                unsettled => reloader.unsettled = unsettled.map(|look| look.files),
            }
            reloader.set_alarm(ctx);
            Box::pin(actix::fut::ready(()))
        }));
    }
}

//! `status` and `top`: the state of a running gateway on a terminal, once or again and again.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use actix_rt::System;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{either, write};
use crate::cli::{self, BAD_SETTINGS};
use crate::domain::base_url::BaseUrl;
use crate::domain::secret::Secret;
use crate::settings::{Faults, Source, contact};
use crate::status::{Colour, Gateway, Look, NoStats, Pace, View, draw, draw_error, fit};
use crate::upstream::tls::{Authorities, TlsConfigError, client_config};

/// How often `top` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The variables in which a token is looked for if nothing else is named; the one with fewer rights first.
const TOKEN_VARIABLES: [&str; 2] = ["QCC_READ_TOKEN", "QCC_ADMIN_TOKEN"];

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Settings(#[from] Faults),
    #[error("the variable {name} is unset or empty; it should hold the read or admin token")]
    NoToken { name: String },
    #[error("the settings leave the port to the system; name the gateway with --url")]
    NoPort,
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    NoStats(#[from] NoStats),
    #[error("signals can't be listened for: {0}")]
    Signals(io::Error),
    #[error("can't write: {0}")]
    Output(io::Error),
}

impl Trouble {
    fn status(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::NoToken { .. } | Self::NoPort => ExitCode::from(BAD_SETTINGS),
            // The reader has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Tls(_) | Self::NoStats(_) | Self::Signals(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// Shows the state of the running gateway once.
pub fn status(source: &Source, options: &cli::Look) -> ExitCode {
    ended(System::new().block_on(async {
        let gateway = gateway(source, options)?;
        let (stats, view) = gateway.stats().await?;
        let mut output = Output::new(source, options);
        output.show(&stats, &view, None).map_err(Trouble::Output)
    }))
}

/// Shows the state of the running gateway again and again, until SIGTERM or SIGINT.
pub fn top(source: &Source, options: &cli::Look) -> ExitCode {
    ended(System::new().block_on(async {
        let gateway = gateway(source, options)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Trouble::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::Signals)?;
        tokio::select! {
            watched = watch(&gateway, source, options) => watched,
            () = either(&mut terminate, &mut interrupt) => Ok(()),
        }
    }))
}

fn ended(end: Result<(), Trouble>) -> ExitCode {
    let Err(trouble) = end else { return ExitCode::SUCCESS };
    let status = trouble.status();
    if status != ExitCode::SUCCESS {
        super::tell(trouble);
    }
    status
}

/// The first look must succeed; after that, a gateway that does not answer is waited for.
async fn watch(gateway: &Gateway, source: &Source, options: &cli::Look) -> Result<(), Trouble> {
    let (stats, mut view) = gateway.stats().await?;
    let mut output = Output::new(source, options);
    output.take_the_screen().map_err(Trouble::Output)?;
    output.show(&stats, &view, None).map_err(Trouble::Output)?;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match gateway.stats().await {
            Ok((stats, later)) => {
                let pace = Pace::between(&view, &later);
                view = later;
                output.show(&stats, &view, pace).map_err(Trouble::Output)?;
            }
            Err(error) => output.tell(&error.to_string()).map_err(Trouble::Output)?,
        }
    }
}

/// The gateway that is meant. With a URL the settings are not consulted: they may be another gateway's, and so may their
/// token.
fn gateway(source: &Source, options: &cli::Look) -> Result<Gateway, Trouble> {
    let variable =
        |name: &str| source.variables.get(name).filter(|text| !text.is_empty()).map(|text| Secret::new(text));
    let named = match &options.token_env {
        None => None,
        Some(name) => Some(variable(name).ok_or_else(|| Trouble::NoToken { name: name.clone() })?),
    };
    let usual = || TOKEN_VARIABLES.iter().find_map(|name| variable(name));
    let tls = client_config(&Authorities::default())?;
    if let Some(url) = &options.url {
        return Ok(Gateway::new(url.clone(), named.or_else(usual), tls));
    }
    let contact = contact(source)?;
    let url = contact.authority.map(|authority| BaseUrl::parse(&format!("http://{authority}")));
    let Some(Ok(url)) = url else { return Err(Trouble::NoPort) };
    Ok(Gateway::new(url, named.or(contact.token).or_else(usual), tls))
}

/// The output that the pictures are written to.
struct Output {
    json: bool,
    colour: Colour,
    /// Whether it is a terminal that knows escape codes.
    is_terminal: bool,
    screen: Option<Screen>,
    /// What was shown last.
    latest: Option<String>,
}

impl Output {
    fn new(source: &Source, options: &cli::Look) -> Self {
        let colour = match anstream::AutoStream::choice(&io::stdout()) {
            anstream::ColorChoice::Never => Colour::Plain,
            anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
                Colour::Ansi
            }
        };
        let is_dumb = source.variables.get("TERM").is_none_or(|name| name == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        Self { json: options.json, colour, is_terminal, screen: None, latest: None }
    }

    fn take_the_screen(&mut self) -> io::Result<()> {
        if self.is_terminal && !self.json {
            self.screen = Some(Screen::take()?);
        }
        Ok(())
    }

    fn show(&mut self, stats: &[u8], view: &View, pace: Option<Pace>) -> io::Result<()> {
        if self.json {
            return write(&[stats.trim_ascii_end(), b"\n"]);
        }
        let picture = draw(view, pace, self.look());
        match (&self.screen, &self.latest) {
            (Some(screen), _) => screen.fill(&picture, "", self.look())?,
            // Later pictures are set apart.
            (None, Some(_)) => write(&[b"\n", picture.as_bytes()])?,
            (None, None) => write(&[picture.as_bytes()])?,
        }
        self.latest = Some(picture);
        Ok(())
    }

    /// Tells why there is nothing new to show; what was shown stays.
    fn tell(&self, error: &str) -> io::Result<()> {
        let Some(screen) = &self.screen else {
            super::tell(error);
            return Ok(());
        };
        let latest = self.latest.as_deref().unwrap_or_default();
        let look = self.look();
        screen.fill(latest, &draw_error(error, look), look)
    }

    fn look(&self) -> Look {
        let size = terminal_size::terminal_size_of(io::stdout());
        Look { colour: self.colour, width: size.map(|(width, _)| usize::from(width.0)) }
    }
}

/// The terminal's alternate screen, without a cursor. When dropped, it restores the terminal.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        let screen = Self;
        write(&[b"\x1b[?1049h\x1b[?25l"])?;
        Ok(screen)
    }

    /// Fills the screen with as many lines as it has, over what was there, so that nothing flickers.
    #[expect(clippy::unused_self, reason = "only who has the screen may fill it")]
    fn fill(&self, picture: &str, note: &str, look: Look) -> io::Result<()> {
        let height = terminal_size::terminal_size_of(io::stdout()).map(|(_, height)| usize::from(height.0));
        write(&[b"\x1b[H", fit(picture, note, height, look).join("\x1b[K\n").as_bytes(), b"\x1b[K\x1b[J"])
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the reader is gone, nothing needs restoring.
        let _ = write(&[b"\x1b[?25h\x1b[?1049l"]);
    }
}

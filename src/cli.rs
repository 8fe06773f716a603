//! The command line: its options, and the command that prints what would run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::domain::base_url::BaseUrl;
use crate::domain::calendar::to_the_second;
use crate::domain::client::{Client, KeyDigest};
use crate::domain::endpoint::{Auth, AuthStyle, Endpoint, Home};
use crate::domain::ids::{ClientId, ProfileId};
use crate::domain::notice::NoticeKind;
use crate::domain::rules::Rule;
use crate::domain::secret::Secret;
use crate::domain::webhook::Webhook;
use crate::settings::{Faults, Loaded, Otel, Source};

/// The exit status of bad settings or options; clap's own is the same.
pub const BAD_SETTINGS: u8 = 2;

/// The place in a command's help of the options that all commands have: behind its own, among which clap would put them.
const BEHIND_OWN: usize = 100;

/// An LLM gateway that never sends a request to an endpoint which has failed until it has passed a test conversation.
#[derive(Clone, Debug, Parser)]
#[command(name = "qcc-gateway", version)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A directory of settings files, or a single one [default: settings]
    // As bare text, because an empty variable is to mean the default, and clap takes an empty path for a missing one.
    #[arg(long, global = true, value_name = "PATH", env = "QCC_SETTINGS_DIR", display_order = BEHIND_OWN)]
    pub settings: Option<OsString>,
    /// The environment: NAME.toml in the settings directory [default: development]
    #[arg(long = "env", global = true, value_name = "NAME", env = "QCC_ENV", display_order = BEHIND_OWN + 1)]
    pub environment: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    #[default]
    Serve,
    /// Read the settings, print what would run, and name every fault
    Check(Check),
    /// Ask the running gateway whether it is ready
    Health,
    /// Show the queues and endpoints of the running gateway
    Status(Look),
    /// Show them again every second
    Top(Look),
    /// Make a client key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show isolation, verification and recovery with small upstreams of its own
    Demo(Demo),
}

/// Options of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Check {
    /// Also hold the verification with each endpoint, and print its verdict
    #[arg(long)]
    pub live: bool,
}

/// Options of the commands that look at a running gateway. None of them takes a token: command lines can be seen by others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Look {
    /// Where its own routes are, such as `http://127.0.0.1:7860` [default: as the settings say]
    #[arg(long, value_name = "URL", value_parser = gateway_url)]
    pub url: Option<BaseUrl>,
    /// The variable that holds the read or admin token [default: as the settings say, else `QCC_READ_TOKEN`, `QCC_ADMIN_TOKEN`]
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
    /// Print the stats as JSON, as the gateway gives them
    #[arg(long)]
    pub json: bool,
}

/// The URL of a gateway, or of its dashboard.
fn gateway_url(text: &str) -> Result<BaseUrl, String> {
    let text = text.trim_end_matches('/').trim_end_matches("/__qcc__");
    let url = BaseUrl::parse(text).map_err(|error| error.to_string())?;
    match url.userinfo() {
        None => Ok(url),
        Some(_) => Err("a credential has no place on a command line; name a variable by --token-env".to_owned()),
    }
}

/// What to do about client keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Print a fresh key, once, and the settings lines for it, which hold its SHA-256 only
    New(NewKey),
}

/// Options of a fresh key.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct NewKey {
    /// The client's name: its id in [clients.NAME]
    #[arg(value_parser = ClientId::new)]
    pub name: ClientId,
}

/// By which a client key is recognised where it turns up.
pub const CLIENT_KEY_PREFIX: &str = "qcc_";

/// A fresh key, and the settings lines by which its client is known. These do not hold the key.
#[must_use]
pub fn key_lines(name: &ClientId, key: &Secret) -> String {
    let digest = KeyDigest::of(key.expose()).to_hex();
    format!(
        "the key, for {name} alone; it is shown once and kept nowhere:\n\n{}\n\nthe settings; while a key is replaced, the \
         list holds the old one's too:\n\n[clients.{name}]\nkeys_sha256 = [\"{digest}\"]\n",
        key.expose()
    )
}

/// Options of the demonstration.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Demo {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1", env = "QCC_DEMO_HOST")]
    pub host: IpAddr,
    /// The port to listen on; 0: a free one
    #[arg(long, default_value_t = 0, env = "QCC_DEMO_PORT")]
    pub port: u16,
    /// End after one full cycle, with status 0 only if the promises held
    #[arg(long)]
    pub exit: bool,
    /// Only start the upstreams, print their addresses and wait
    #[arg(long, conflicts_with = "exit")]
    pub upstreams_only: bool,
}

impl Arguments {
    /// The command, which is `serve` where none is named.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}

impl Options {
    /// Where the settings come from, with the process's variables.
    ///
    /// What is not UTF-8 in a variable becomes a replacement character, which no key accepts but one of free text.
    #[must_use]
    pub fn source(&self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Source {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        Source { place: self.settings.clone().map(PathBuf::from), environment: self.environment.clone(), variables }
    }
}

/// Reads the process's command line. Bad options end the process with status 2 and a message.
#[must_use]
pub fn parse() -> Arguments {
    Arguments::parse()
}

/// What `check` found, for the caller to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The exit status: 0, or 2 for bad settings.
    pub status: u8,
    /// For standard output.
    pub output: String,
    /// For standard error: every fault.
    pub errors: String,
}

/// Describes what would run with these settings, without a secret, or every fault that they have.
#[must_use]
pub fn check(loaded: &Result<Loaded, Faults>) -> Checked {
    match loaded {
        Ok(loaded) => Checked { status: 0, output: describe(loaded), errors: String::new() },
        Err(faults) => Checked { status: BAD_SETTINGS, output: String::new(), errors: format!("{faults}\n") },
    }
}

fn describe(loaded: &Loaded) -> String {
    let server = &loaded.settings.server;
    let mut text = String::new();
    paragraph(&mut text, "settings, later ones win", loaded.sources.iter().cloned());
    paragraph(&mut text, "variables taken", loaded.variables_taken.iter().cloned());
    paragraph(&mut text, "listening on", [format!("http://{}", server.host.with_port(server.port))]);
    let header = ["id", "queue", "priority", "weight", "protocol", "auth", "base URL", "profiles", "models"];
    let endpoints: Vec<Vec<String>> = loaded.topology.iter().map(|endpoint| endpoint_row(endpoint)).collect();
    paragraph(&mut text, "endpoints", table(&header, &endpoints));
    let client_row = |client: &Client| {
        let state = if client.enabled { "yes" } else { "no" };
        let expires = client.expires.map(|expires| to_the_second(expires).to_string());
        vec![
            client.id.to_string(),
            client.profile.to_string(),
            client.keys.len().to_string(),
            state.to_owned(),
            expires.unwrap_or_else(|| "never".to_owned()),
            client.max_in_flight.map(NonZeroU32::get).map_or_else(|| "any".to_owned(), |limit| limit.to_string()),
        ]
    };
    let clients: Vec<Vec<String>> = loaded.clients.iter().map(client_row).collect();
    if clients.is_empty() {
        paragraph(&mut text, "clients", ["none: everybody who can reach the gateway is served".to_owned()]);
    } else {
        paragraph(&mut text, "clients", table(&["id", "profile", "keys", "enabled", "expires", "in flight"], &clients));
    }
    let rules: Vec<Vec<String>> = loaded.settings.rules.iter().map(rule_row).collect();
    if !rules.is_empty() {
        paragraph(
            &mut text,
            "rules, the first that fits wins",
            table(&["as", "status", "type", "code", "contains"], &rules),
        );
    }
    if let Some(Webhook { receiver, secret, events }) = loaded.settings.webhook.hook() {
        let signed = if secret.is_some() { "signed" } else { "not signed" };
        let wanted = NoticeKind::all().filter(|kind| events.contains(kind));
        let events: Vec<&str> = wanted.map(NoticeKind::as_str).collect();
        paragraph(&mut text, "notices are posted to", [format!("{receiver}, {signed}: {}", events.join(", "))]);
    }
    let Otel { endpoint: collector, service_name } = &loaded.settings.otel;
    paragraph(&mut text, "traces are sent to", collector.iter().map(|to| format!("{to} as {service_name}")));
    paragraph(&mut text, "warnings", loaded.notes.iter().map(|note| format!("{} {}", note.key, note.text)));
    text
}

fn paragraph(text: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a String can't fail.
    let _ = writeln!(text, "{title}:");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn endpoint_row(endpoint: &Endpoint) -> Vec<String> {
    let queue = match (endpoint.enabled, endpoint.home) {
        (false, _) => "disabled",
        (true, Home::Primary) => "primary",
        (true, Home::Secondary) => "secondary",
    };
    let auth = match &endpoint.auth {
        Auth::Own { style: AuthStyle::XApiKey, .. } => "x-api-key",
        Auth::Own { style: AuthStyle::Bearer, .. } => "bearer",
        Auth::Own { style: AuthStyle::Both, .. } => "both",
        Auth::Passthrough => "passthrough",
        Auth::Missing => "missing",
    };
    let profiles: Vec<&str> = endpoint.profiles.iter().map(ProfileId::as_str).collect();
    let models = match endpoint.models.patterns() {
        [] => "every".to_owned(),
        patterns => patterns.join(","),
    };
    vec![
        endpoint.id.to_string(),
        queue.to_owned(),
        endpoint.priority.to_string(),
        endpoint.weight.to_string(),
        endpoint.protocol.as_str().to_owned(),
        auth.to_owned(),
        endpoint.base_url.to_string(),
        profiles.join(","),
        models,
    ]
}

fn rule_row(rule: &Rule) -> Vec<String> {
    let text = |text: &Option<String>| text.as_ref().map_or_else(|| "any".to_owned(), |text| format!("{text:?}"));
    let status = rule.status.map_or_else(|| "any".to_owned(), |status| status.to_string());
    vec![rule.meaning.as_str().to_owned(), status, text(&rule.kind), text(&rule.code), text(&rule.contains)]
}

/// The rows below their header, in columns.
fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let header: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let write = |line: &&Vec<String>| {
        // By hand: a format's width has 16 bits.
        let room = |cell: &String, width: usize| " ".repeat(width.saturating_sub(cell.chars().count()));
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", room(cell, *width)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_commands_own_options_come_first_in_its_help() {
        for command in ["check", "status", "top", "demo"] {
            let help = Arguments::try_parse_from(["qcc-gateway", command, "--help"]).unwrap_err().to_string();
            let options = help.lines().filter_map(|line| line.trim_start().split(' ').next()?.strip_prefix("--"));
            let options: Vec<&str> = options.collect();
            assert!(options.len() > 2 && options.ends_with(&["settings", "env"]), "{command}: {options:?}");
        }
    }

    #[test]
    fn serve_is_the_command_where_none_is_named() {
        for (line, command) in [
            ("qcc-gateway", Command::Serve),
            ("qcc-gateway serve", Command::Serve),
            ("qcc-gateway check", Command::Check(Check { live: false })),
            ("qcc-gateway check --live", Command::Check(Check { live: true })),
            ("qcc-gateway health", Command::Health),
            ("qcc-gateway status", Command::Status(Look::default())),
            ("qcc-gateway top --json", Command::Top(Look { json: true, ..Look::default() })),
            (
                "qcc-gateway key new alice",
                Command::Key(KeyCommand::New(NewKey { name: ClientId::new("alice").unwrap() })),
            ),
        ] {
            assert_eq!(parsed(line).unwrap().command(), command, "{line}");
        }
    }

    #[test]
    fn a_gateway_is_named_by_its_address_or_by_its_dashboards() {
        for url in ["http://127.0.0.1:7860", "http://127.0.0.1:7860/", "http://127.0.0.1:7860/__qcc__/"] {
            let look = match parsed(&format!("qcc-gateway status --url {url} --token-env T")).unwrap().command() {
                Command::Status(look) => look,
                other => panic!("{other:?}"),
            };
            assert_eq!(look.url.unwrap().target("/__qcc__/stats"), "/__qcc__/stats", "{url}");
            assert_eq!(look.token_env.as_deref(), Some("T"));
        }
    }

    #[test]
    fn a_keys_settings_lines_hold_its_digest_only() {
        let lines = key_lines(&ClientId::new("alice").unwrap(), &Secret::new("qcc_abc"));
        let (key, settings) = lines.split_once("[clients.alice]").unwrap();
        assert!(key.contains("\n\nqcc_abc\n\n"), "{key}");
        assert_eq!(settings, format!("\nkeys_sha256 = [\"{}\"]\n", KeyDigest::of("qcc_abc").to_hex()));
    }

    #[test]
    fn the_demonstration_is_on_loopback_and_a_free_port() {
        let demo = |line: &str| match parsed(line).unwrap().command() {
            Command::Demo(demo) => demo,
            other => panic!("{other:?}"),
        };
        let host = |text: &str| text.parse::<IpAddr>().unwrap();
        let default = Demo { host: host("127.0.0.1"), port: 0, exit: false, upstreams_only: false };
        assert_eq!(demo("qcc-gateway demo"), default);
        let open = Demo { host: host("0.0.0.0"), port: 7860, exit: true, upstreams_only: false };
        assert_eq!(demo("qcc-gateway demo --host 0.0.0.0 --port 7860 --exit"), open);
        assert_eq!(demo("qcc-gateway demo --upstreams-only"), Demo { upstreams_only: true, ..default });
    }

    #[test]
    fn the_options_of_all_commands_stand_before_or_after_the_command() {
        for line in ["qcc-gateway --settings /a --env b check", "qcc-gateway check --settings /a --env b"] {
            let variables = [(OsString::from("A"), OsString::from("1"))];
            let source = parsed(line).unwrap().options.source(variables);
            assert_eq!(source.place, Some(PathBuf::from("/a")), "{line}");
            assert_eq!(source.environment.as_deref(), Some("b"), "{line}");
            assert_eq!(source.variables.get("A").map(String::as_str), Some("1"), "{line}");
        }
    }

    #[test]
    fn bad_options_are_exit_status_2() {
        for line in [
            "qcc-gateway fly",
            "qcc-gateway --fast",
            "qcc-gateway key",
            "qcc-gateway key new",
            "qcc-gateway key new Alice",
            "qcc-gateway demo --port 70000",
            "qcc-gateway status --url 127.0.0.1:7860",
            "qcc-gateway status --url http://user:password@127.0.0.1:7860",
            "qcc-gateway status --token secret",
            "qcc-gateway top --url http://127.0.0.1:7860/__qcc__/#token=secret",
            "qcc-gateway demo --exit --upstreams-only",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), i32::from(BAD_SETTINGS), "{line}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["long name".to_owned(), "1".to_owned()], vec!["é".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows), ["id         n", "long name  1", "é          22"]);
        let wide = "x".repeat(70_000);
        let rows = vec![vec![wide.clone(), "1".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows)[1], format!("{wide}  1"));
    }
}

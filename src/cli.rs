//! The command line: its options, and what its commands print.

mod describing;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use describing::{Checked, check};

use crate::domain::base_url::BaseUrl;
use crate::domain::client::KeyDigest;
use crate::domain::ids::ClientId;
use crate::domain::secret::Secret;
use crate::settings::Source;

/// The exit status of bad settings or options; clap's own is the same.
pub const BAD_SETTINGS: u8 = 2;

/// The place of the common options in a command's help: after its own, among which clap would put them.
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

/// The prefix by which a client key is recognised wherever it turns up.
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
    /// The command, which is `serve` if none is named.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}

impl Options {
    /// Where the settings come from, with the process's variables.
    ///
    /// Invalid UTF-8 in a variable becomes a replacement character, which no key accepts except one of free text.
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
}

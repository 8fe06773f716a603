//! How the running gateway is reached. Nothing else of the settings is read, so that a command that only looks at the
//! gateway needs none of its keys.

use std::net::SocketAddr;

use super::environment;
use super::fault::{Fault, Faults};
use super::layers::{self, Layers};
use super::reading::Reading;
use super::{Admin, Host, Server, Source};
use crate::domain::secret::Secret;

/// Where the gateway's own routes are, and what opens them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Host and port as in a URL; `None` if the system chooses the port.
    pub authority: Option<String>,
    /// A token for reading the state, if the settings give its text.
    pub token: Option<Secret>,
}

/// Reads where the gateway listens, and a token.
///
/// # Errors
///
/// The faults in these.
pub fn contact(source: &Source) -> Result<Contact, Faults> {
    let mut faults = Vec::new();
    let layers = all_layers(source, &mut faults);
    let mut tree = layers.merged();
    let mut reading = Reading::new(&layers, &source.variables);
    let (host, port) = Server::read_address(&mut reading.section(&mut tree, "server"));
    let mut admin = reading.section(&mut tree, "admin");
    let own = Admin::read_listen(&mut admin).map(|own: SocketAddr| (Host::from(own.ip()), own.port()));
    let token = Admin::read_shown_token(&mut admin);
    faults.append(&mut reading.faults);
    Faults::none_or(faults)?;
    let (host, port) = own.unwrap_or((host, port));
    Ok(Contact { authority: (port != 0).then(|| host.from_here().with_port(port)), token })
}

/// Where the running gateway tells whether it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Host and port as in a URL.
    pub authority: String,
    /// Why the address may be wrong: files that can't be read at all.
    pub doubts: Option<Faults>,
}

/// Reads where the gateway listens, as far as that can be read. A faulty file does not affect the running gateway, so a
/// health check must not fail because of it either.
///
/// # Errors
///
/// The faults in the address itself.
pub fn reach(source: &Source) -> Result<Reach, Faults> {
    let mut faults = Vec::new();
    let layers = all_layers(source, &mut faults);
    let mut reading = Reading::new(&layers, &source.variables);
    let (host, port) = Server::read_address(&mut reading.section(&mut layers.merged(), "server"));
    let doubts = Faults::none_or(faults).err();
    Faults::none_or(reading.faults)?;
    Ok(Reach { authority: host.from_here().with_port(port), doubts })
}

/// Files and variables. Faults in variables are ignored, unless the variable is read here.
fn all_layers(source: &Source, faults: &mut Vec<Fault>) -> Layers {
    let mut layers = layers::read_files(source, faults);
    let variables = environment::read(&source.variables, &layers.merged());
    layers.add_variables(variables.table);
    layers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<Contact, Faults> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        contact(&Source { place: Some(file.path().to_owned()), environment: None, variables })
    }

    #[test]
    fn the_gateway_is_reached_where_its_own_routes_are() {
        for (text, authority) in [
            ("", Some("127.0.0.1:7860")),
            ("[server]\nhost = \"0.0.0.0\"\nport = 1", Some("127.0.0.1:1")),
            ("[server]\nhost = \"::\"", Some("[::1]:7860")),
            ("[server]\nport = 0", None),
            ("[admin]\nlisten = \"10.0.0.1:7861\"", Some("10.0.0.1:7861")),
            ("[admin]\nlisten = \"0.0.0.0:7861\"", Some("127.0.0.1:7861")),
            ("[admin]\nlisten = \"127.0.0.1:0\"", None),
            ("[endpoints.main]\nbase_url = \"no URL\"\napi_key_env = \"UNSET\"", Some("127.0.0.1:7860")),
        ] {
            assert_eq!(of(text, &[]).unwrap().authority.as_deref(), authority, "{text}");
        }
        let by_variable = of("", &[("QCC__SERVER__PORT", "8080")]).unwrap();
        assert_eq!(by_variable.authority.as_deref(), Some("127.0.0.1:8080"));
    }

    #[test]
    fn the_token_is_the_one_that_may_do_least() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let token_file = format!("[admin]\ntoken_file = \"{}\"", file.path().display());
        let both = [("QCC_ADMIN_TOKEN", "admin"), ("QCC_READ_TOKEN", "reader")];
        for (text, variables, token) in [
            ("", &[][..], None),
            ("", &both[..1], Some("admin")),
            ("", &both, Some("reader")),
            ("[admin]\ntoken = \"plain\"", &[], Some("plain")),
            (token_file.as_str(), &[], Some("from-file")),
            ("[admin]\ntoken_file = \"/nowhere\"", &[], None),
            (&format!("[admin]\ntoken_sha256 = \"{}\"", "0".repeat(64)), &[], None),
        ] {
            let found = of(text, variables).unwrap().token;
            assert_eq!(found.as_ref().map(Secret::expose), token, "{text} {variables:?}");
        }
    }

    #[test]
    fn a_fault_elsewhere_leaves_the_gateway_within_reach() {
        let reach_of = |text: &str, variables: &[(&str, &str)]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            reach(&Source { place: Some(file.path().to_owned()), environment: None, variables: variables.collect() })
        };
        let port = [("QCC__SERVER__PORT", "8080")];
        for (text, variables, authority, has_doubts) in [
            ("[server]\nhost = \"0.0.0.0\"\nport = 1\nprot = 2", &[][..], "127.0.0.1:1", false),
            ("[admin]\nlisten = \"here\"\n[endpoints.a]\napi_key_env = \"UNSET\"", &port, "127.0.0.1:8080", false),
            ("[admin]\nlisten = \"10.0.0.1:7861\"", &[], "127.0.0.1:7860", false),
            ("[endpoints", &port, "127.0.0.1:8080", true),
        ] {
            let Reach { authority: found, doubts } = reach_of(text, variables).unwrap();
            assert_eq!((found.as_str(), doubts.is_some()), (authority, has_doubts), "{text}");
        }
        let faults = reach_of("[server]\nport = \"x\"", &[]).unwrap_err().to_string();
        assert!(faults.contains("server.port"), "{faults}");
    }

    #[test]
    fn what_it_needs_must_be_sound() {
        let faults = of("[server]\nport = \"x\"\n[admin]\nlisten = \"here\"", &[]).unwrap_err().to_string();
        assert!(faults.contains("server.port") && faults.contains("admin.listen"), "{faults}");
    }
}

//! What `check` prints: what would run with the settings, or their faults.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use super::BAD_SETTINGS;
use crate::domain::calendar::to_the_second;
use crate::domain::client::Client;
use crate::domain::endpoint::{Auth, AuthStyle, Endpoint, Home};
use crate::domain::ids::ProfileId;
use crate::domain::notice::NoticeKind;
use crate::domain::rules::Rule;
use crate::domain::webhook::Webhook;
use crate::settings::{Faults, Loaded, Otel};

/// The warning if nothing would be served. The gateway itself gives it when it knows what admins have switched on.
const ALL_OFF: &str = "endpoints are all switched off (enabled = false): no request is served until one is switched on";

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
    let notes = loaded.notes.iter().map(|note| format!("{} {}", note.key, note.text));
    let is_off = loaded.topology.iter().all(|endpoint| !endpoint.enabled);
    paragraph(&mut text, "warnings", notes.chain(is_off.then(|| ALL_OFF.to_owned())));
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
        // Padded by hand, because a format's width has only 16 bits.
        let room = |cell: &String, width: usize| " ".repeat(width.saturating_sub(cell.chars().count()));
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", room(cell, *width)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["long name".to_owned(), "1".to_owned()], vec!["é".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows), ["id         n", "long name  1", "é          22"]);
        let wide = "x".repeat(70_000);
        let rows = vec![vec![wide.clone(), "1".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows)[1], format!("{wide}  1"));
    }
}

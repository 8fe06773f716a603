//! Rules that span several keys: between endpoints, clients and the address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use config::{Map, Value, ValueKind};

use super::endpoints::Endpoints;
use super::environment::alike;
use super::fault::Fault;
use super::reading::Reading;
use super::sections::{Host, Server, Settings};
use crate::domain::base_url::{Origin, Scheme};
use crate::domain::client::{Client, KeyDigest};
use crate::domain::endpoint::{Auth, Endpoint};
use crate::domain::ids::ProfileId;

/// Finds ids that variables can't tell apart.
pub(super) fn check_ids(reading: &mut Reading<'_>, tree: &Map<String, Value>) {
    for section in ["endpoints", "clients"] {
        let Some(ValueKind::Table(entries)) = tree.get(section).map(|value| &value.kind) else { continue };
        let layers = reading.layers;
        let place = |id: &str| layers.place_of_table(&[section.to_owned(), id.to_owned()]);
        check_alike(reading, section, entries.keys().map(String::as_str), place);
    }
}

/// Finds names that coincide in variables. `place` tells where one is given; all places of those that coincide are named.
fn check_alike<'a>(
    reading: &mut Reading<'_>,
    key: &str,
    ids: impl Iterator<Item = &'a str>,
    place: impl Fn(&str) -> String,
) {
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for id in ids {
        groups.entry(alike(id)).or_default().insert(id);
    }
    for ids in groups.into_values().filter(|ids| ids.len() > 1) {
        let names: Vec<String> = ids.iter().map(|id| super::fault::quoted(id)).collect();
        let mut places: Vec<String> = ids.iter().map(|id| place(id)).filter(|place| !place.is_empty()).collect();
        // One list may hold all of the profiles.
        places.dedup();
        let wanted = "ids that differ in more than '_' and '-', which are the same in a variable";
        let (source, found) = (places.join(" and "), names.join(" and "));
        reading.faults.push(Fault { key: key.to_owned(), source, found, wanted: wanted.to_owned() });
    }
}

/// Checks all other rules between tables.
pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings, endpoints: &Endpoints, clients: &[Client]) {
    check_profiles(reading, &endpoints.profiles, clients);
    let names = endpoints.profiles.keys().map(ProfileId::as_str);
    let place = |name: &str| {
        let listed = endpoints.profiles.iter().find(|(profile, _)| profile.as_str() == name);
        listed.map_or_else(String::new, |(_, place)| place.clone())
    };
    check_alike(reading, "endpoints.*.profiles", names, place);
    check_passthrough(reading, &endpoints.sound, clients);
    check_keys(reading, clients);
    check_exposure(reading, settings, clients);
    check_addresses(reading, settings);
    check_loops(reading, settings, &endpoints.sound);
}

fn check_profiles(reading: &mut Reading<'_>, known: &BTreeMap<ProfileId, String>, clients: &[Client]) {
    let is_list_of_profiles = |key: &str| key.starts_with("endpoints.") && key.ends_with(".profiles");
    // With no endpoint at all, a faulty list of profiles, or a file that can't be read, it is unknown which profiles are
    // meant.
    if known.is_empty()
        || reading.layers.have_gaps
        || reading.faults.iter().any(|fault| is_list_of_profiles(&fault.key))
    {
        return;
    }
    for client in clients.iter().filter(|client| !known.contains_key(&client.profile)) {
        let names: Vec<&str> = known.keys().map(ProfileId::as_str).collect();
        let found = format!("the profile {:?}, which no endpoint lists", client.profile);
        reading.fault(&format!("clients.{}.profile", client.id), found, format!("one of {}", names.join(", ")));
    }
}

fn check_passthrough(reading: &mut Reading<'_>, endpoints: &[Endpoint], clients: &[Client]) {
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.auth == Auth::Passthrough) {
        let Some(client) = clients.iter().find(|client| endpoint.in_profile(&client.profile)) else { continue };
        let found =
            format!("\"passthrough\" in the profile {:?}, whose client {} has a key", client.profile, client.id);
        let wanted =
            "a profile without clients, or a key of the endpoint's own: a client can't show two credentials at once";
        reading.fault(&format!("endpoints.{}.auth", endpoint.id), found, wanted);
    }
}

fn check_keys(reading: &mut Reading<'_>, clients: &[Client]) {
    let mut owners: HashMap<String, &Client> = HashMap::new();
    for client in clients {
        let digits: Vec<String> = client.keys.iter().map(KeyDigest::to_hex).collect();
        if let Some(other) = digits.iter().find_map(|digits| owners.get(digits)) {
            let found = format!("a key that {} has too", other.id);
            reading.fault(&format!("clients.{}", client.id), found, "a key of its own for each client");
        }
        for digits in digits {
            owners.entry(digits).or_insert(client);
        }
    }
}

/// Whether anybody could use the gateway from another machine.
pub(super) fn is_open_to_everybody(server: &Server, clients: &[Client]) -> bool {
    !server.host.is_loopback() && !server.allow_anonymous && clients.iter().all(|client| client.keys.is_empty())
}

fn check_exposure(reading: &mut Reading<'_>, settings: &Settings, clients: &[Client]) {
    let host = &settings.server.host;
    // A faulty host is a fault of its own, and so is a client's faulty key, or an unreadable file that may hold one.
    let is_faulty = |fault: &Fault| fault.key == "server.host" || fault.key.starts_with("clients");
    if !reading.layers.have_gaps
        && !reading.faults.iter().any(is_faulty)
        && is_open_to_everybody(&settings.server, clients)
    {
        let found = format!("{:?}, which others can reach, and no client with a key", host.as_str());
        let wanted = "a loopback address, or tables [clients.NAME] with keys, or server.allow_anonymous = true";
        reading.fault("server.host", found, wanted);
    }
}

/// The same address for the clients and the gateway's own routes would be in use when the second one listens.
fn check_addresses(reading: &mut Reading<'_>, settings: &Settings) {
    let Settings { server, admin, .. } = settings;
    let host: Option<IpAddr> = server.host.as_str().parse().ok();
    let clients = host.map(|host| SocketAddr::new(host, server.port)).filter(|address| address.port() != 0);
    if let Some(listen) = admin.listen.filter(|listen| Some(*listen) == clients) {
        let found = format!("\"{listen}\", where server.host and server.port have clients served");
        reading.fault("admin.listen", found, "another port, or \"\" for the same address");
    }
}

/// An endpoint that is the gateway itself would have each request forwarded again and again until no connection is left.
fn check_loops(reading: &mut Reading<'_>, settings: &Settings, endpoints: &[Endpoint]) {
    let Server { host, port, .. } = &settings.server;
    for endpoint in endpoints.iter().filter(|endpoint| leads_to(endpoint, host, *port)) {
        reading.fault(&format!("endpoints.{}.base_url", endpoint.id), OWN_ADDRESS, AN_UPSTREAM);
    }
}

pub(super) const OWN_ADDRESS: &str = "the gateway's own address (server.host, server.port)";
pub(super) const AN_UPSTREAM: &str = "the URL of an upstream";

/// Whether an endpoint is the gateway itself, which listens on this host and port.
pub(super) fn leads_to(endpoint: &Endpoint, own: &Host, own_port: u16) -> bool {
    let own = own.from_here();
    let is_name = |host: &Host| host.as_str().parse::<IpAddr>().is_err();
    // `localhost` may be any loopback address, but two different loopback addresses are not the same.
    let is_own =
        |host: Host| host == own || (host.is_loopback() && own.is_loopback() && (is_name(&host) || is_name(&own)));
    let Origin { scheme, host, port } = endpoint.base_url.origin();
    (*scheme, *port) == (Scheme::Http, own_port) && Host::parse(host).is_some_and(is_own)
}

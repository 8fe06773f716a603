//! `[clients.…]`: who may use the gateway.

use std::num::NonZeroU32;
use std::time::{Duration, UNIX_EPOCH};

use config::{Map, Value};

use super::credential::{CLIENT_KEY, Credential, Unset};
use super::reading::{Reading, Shown};
use crate::domain::client::Client;
use crate::domain::ids::{ClientId, InvalidId, ProfileId};

/// Reads all clients. One with a faulty id is left out.
pub(super) fn read(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Vec<Client> {
    let entries = reading.entries(tree, "clients");
    entries.into_iter().filter_map(|(id, value)| read_one(reading, &id, value)).collect()
}

fn read_one(reading: &mut Reading<'_>, id: &str, value: Value) -> Option<Client> {
    let mut table = reading.entry(&["clients", id], value);
    let path = table.path().to_owned();
    let id = ClientId::new(id);
    if let Err(InvalidId) = id {
        table.reading.fault(&path, "a name that is no id", InvalidId.to_string());
    }
    let enabled = table.flag("enabled").unwrap_or(true);
    let credential = table.credential(&CLIENT_KEY, Unset::Fault);
    if let Credential::Absent = credential {
        table.fault_of_absence(
            "key_env",
            "no key",
            format!("one of {}: a client is known by its key", CLIENT_KEY.names()),
        );
    }
    let mut keys = Vec::new();
    for digest in credential.digests() {
        if !keys.contains(&digest) {
            keys.push(digest);
        }
    }
    let wanted = format!("the name of a profile; {InvalidId}");
    let profile =
        table.read("profile", Shown::Always, &wanted, |given| ProfileId::new(given.text()?).ok()).unwrap_or_default();
    let team = table.optional_text("team");
    let wanted = "a time as of RFC 3339 such as \"2030-01-01T00:00:00Z\", or \"\" for none";
    let expires = table.read("expires", Shown::Always, wanted, |given| match given.text()? {
        "" => Some(None),
        text => since_1970(text).map(Some),
    });
    let expires = table.or("expires", expires, None);
    let max_in_flight = table.integer::<u32>("max_in_flight", 0..=1_000_000);
    let max_in_flight = NonZeroU32::new(table.or("max_in_flight", max_in_flight, 0));
    table.finish();
    Some(Client { id: id.ok()?, profile, team, keys, enabled, expires, max_in_flight })
}

/// A time as of RFC 3339, as the time since 1970. Earlier ones are none that anybody means.
fn since_1970(text: &str) -> Option<Duration> {
    let utc = |text: &str| {
        let time = humantime::parse_rfc3339(text).ok()?;
        time.duration_since(UNIX_EPOCH).ok()
    };
    if text.ends_with('Z') {
        return utc(text);
    }
    // The library reads UTC alone; RFC 3339 has offsets such as `+02:00` too.
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, below: u64| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_plain && *number < below)
    };
    let offset_length = Duration::from_secs(3600 * number(hours, 24)? + 60 * number(minutes, 60)?);
    let local = utc(&format!("{local}Z"))?;
    match offset.get(..1)? {
        "+" => Some(local.saturating_sub(offset_length)),
        "-" => local.checked_add(offset_length),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_offset() {
        for (text, seconds) in [
            ("1970-01-02T00:00:00Z", Some(86_400)),
            ("1970-01-02T02:00:00+02:00", Some(86_400)),
            ("1970-01-01T22:30:00-01:30", Some(86_400)),
            ("1969-01-01T00:00:00Z", None),
            ("1970-01-02", None),
            ("1970-01-02T00:00:00", None),
            ("1970-01-02T00:00:00+2:00", None),
            ("1970-01-02T00:00:00*02:00", None),
            ("1970-01-02T00:00:00+99:00", None),
            ("+02:00", None),
            ("ééé", None),
            ("x", None),
        ] {
            assert_eq!(since_1970(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}

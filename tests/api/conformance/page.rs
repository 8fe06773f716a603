//! `docs/http.md`: the tables of the conformance run, as a page.

use std::fmt::Write;
use std::path::Path;

use super::answers::{Asked, Counts, Gets, Then, Upstreams};
use super::requests::After;
use super::{answers, answers_data, requests, requests_data};

/// With this variable set the page is written anew instead of compared.
const REWRITE: &str = "QCC_REWRITE_DOCS";

/// So much of an exchange is shown, in characters.
const SHOWN: usize = 160;

const OPENING: &str = "\
# HTTP on both sides

What the gateway does with HTTP/1.1 (RFC 9110, RFC 9112) as it comes from clients and from upstreams, good or bad. Each row
is an exchange that `cargo test --test api conformance` holds on raw sockets; this page is written from the same data
(`QCC_REWRITE_DOCS=1 cargo test --test api conformance` writes it anew). After each exchange a marked request shows that
neither side is out of step.

Not in the tables, because they are about time:

- The first head on a connection has `server.header_timeout`, then 408; a later one too, but there the connection is closed.
  Behind an answer a connection stays open for 75 s. Half a head in the very packet that ends another request has
  its time from the next byte on, or those 75 s.
- A body has `server.body_timeout` between two pieces, then 408.
- Where a request is answered before all of it has come, what still comes is read and thrown away until the client closes: for 5 s,
  up to 64 MiB, and no longer than 1 s in which nothing comes. Clients that send all of a request before they read get their
  answer so.
- Answers that break off: HTTP/1.1 shows it by a missing last chunk or length, and the connection is closed in order; to
  HTTP/1.0 it is reset once what was passed on before has left.
- 400 and 431 for heads that can't be read have no body. All other refusals have the protocol's error body.
";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Bytes as one code span.
fn code(bytes: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() || c == '\u{fffd}' => {
                let _ = write!(text, "\\x{:02x}", u32::from(c) & 0xff);
            }
            c => text.push(c),
        }
    }
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN / 2).collect::<String>() + " …";
    }
    // The first blank behind the fence is not shown.
    if text.is_empty() { String::new() } else { format!("`` {} ``", cell(&text)) }
}

fn noted(what: &str, note: &str) -> String {
    cell(&if note.is_empty() { what.to_owned() } else { format!("{what} ({note})") })
}

fn requests_table(page: &mut String, title: &str, rows: &[requests::Row]) {
    let _ = write!(
        page,
        "\n### {title}\n\n| exchange | RFC | sent | the client gets | the upstream sees | connection |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let gets: Vec<String> = row.gets.iter().map(u16::to_string).collect();
        let sees: Vec<String> = row
            .sees
            .iter()
            .map(|seen| match (seen.strip_prefix('!'), seen.strip_prefix('=')) {
                (Some(name), _) => format!("no {}", code(name.as_bytes())),
                (None, Some("")) => "no body".to_owned(),
                (None, Some(body)) => format!("body {}", code(body.as_bytes())),
                (None, None) => code(seen.as_bytes()),
            })
            .collect();
        let sees = if sees.is_empty() { "nothing".to_owned() } else { sees.join(", ") };
        let after = match row.after {
            After::Kept => "kept",
            After::Closed => "closed",
        };
        let (what, sent) = (noted(row.what, row.note), code(&row.sent));
        let _ = writeln!(page, "| {what} | {} | {sent} | {} | {sees} | {after} |", row.rfc, gets.join(", "));
    }
}

fn answers_table(page: &mut String, rows: &[answers::Row]) {
    page.push_str(
        "| exchange | RFC | asked | the upstream says | and | the client gets | counts as | upstream's connection |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let asked = match row.asked {
            Asked::Get => "`GET /a`",
            Asked::Head => "`HEAD /a`",
            Asked::Message => "a message",
        };
        let then = match row.then {
            Then::Keeps => "waits",
            Then::Closes => "closes",
            Then::Resets => "resets",
        };
        let gets = match row.gets {
            Gets::Answer(status, "") => status.to_string(),
            Gets::Answer(status, body) => format!("{status} {}", code(body.as_bytes())),
            Gets::Own(status) => format!("the gateway's own {status}"),
            Gets::Honest => "200: the second try's answer".to_owned(),
            Gets::Broken(status, body) => format!("{status} {}, and the connection breaks", code(body.as_bytes())),
        };
        let counts = match row.counts {
            Counts::Success => "success",
            Counts::Failure => "failure",
            Counts::Nothing => "nothing",
        };
        let connection = match row.connection {
            Upstreams::Reused => "used again",
            Upstreams::LetGo => "let go",
        };
        let (what, says) = (noted(row.what, row.note), code(&row.says));
        let _ =
            writeln!(page, "| {what} | {} | {asked} | {says} | {then} | {gets} | {counts} | {connection} |", row.rfc);
    }
}

fn page() -> String {
    let mut page = OPENING.to_owned();
    page.push_str("\n## What clients send\n");
    for (title, rows) in requests_data::groups() {
        requests_table(&mut page, title, &rows);
    }
    page.push_str("\n## What upstreams answer\n\n`GET /a` is one of `server.other_paths`, passed on as it comes; a message is held whole and judged. One attempt each.\n\n");
    answers_table(&mut page, &answers_data::rows());
    page
}

#[test]
fn the_page_says_what_the_run_checks() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let page = page();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/http.md is not what the data say; write it anew with {REWRITE}=1");
}

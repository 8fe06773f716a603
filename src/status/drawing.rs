//! The picture: what the whole gateway does, and a row for each endpoint, queue by queue.

use std::borrow::Cow;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::paint::{Look, Piece, write_line};
use super::view::{Cooldown, Pace, Row, Spread, Verification, View};

const PLAIN: Style = Style::new();
const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const UNEASY: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const ALARM: Style = AnsiColor::Red.on_default().bold();

/// The queues, in the order in which they are shown.
const QUEUES: [&str; 4] = ["primary", "secondary", "failure", "disabled"];

/// The warning if the running settings are no longer those on the disk.
const FAULTY_SETTINGS: &str =
    "settings FAULTY: the latest reload was refused and those before are in force; a restart would fail, see `check`";

/// The columns, and whether they hold numbers.
const COLUMNS: [(&str, bool); 11] = [
    ("id", false),
    ("queue", false),
    ("status", false),
    ("breaker", false),
    ("in flight", true),
    ("success", true),
    ("p50", true),
    ("p95", true),
    ("ttft", true),
    ("next", true),
    ("why", false),
];

/// Draws the state of a gateway.
#[must_use]
pub fn draw(view: &View, pace: Option<Pace>, look: Look) -> String {
    let mut picture = String::new();
    let title = [
        Piece::new("qcc-gateway ", STRONG),
        Piece::new(&view.version, STRONG),
        Piece::new(&format!("  up {}", rough(view.uptime())), FAINT),
    ];
    write_line(&mut picture, &title, look);
    write_line(&mut picture, &totals(view, pace), look);
    if view.config_last_reload_successful == Some(false) {
        write_line(&mut picture, &[Piece::new(FAULTY_SETTINGS, BAD)], look);
    }
    picture.push('\n');
    let header: Vec<Piece> = COLUMNS.iter().map(|(title, _)| Piece::new(title, FAINT)).collect();
    let queues = QUEUES.iter().map(|queue| view.endpoints.iter().filter(move |row| row.standing == *queue));
    let rows = std::iter::once(header).chain(queues.flatten().map(|row| cells(row, view)));
    let rows: Vec<Vec<Piece>> = rows.collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Piece::width).max();
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| width(column).unwrap_or_default()).collect();
    for row in &rows {
        let mut pieces = Vec::new();
        for ((cell, width), (title, is_number)) in row.iter().zip(&widths).zip(COLUMNS) {
            // Nothing follows the last column, so its cells are not padded.
            let width = match title {
                "why" if cell.width() == 0 => continue,
                "why" => 0,
                _ => *width,
            };
            let gap = if pieces.is_empty() { "" } else { "  " };
            pieces.push(Piece::new(gap, PLAIN));
            pieces.push(cell.padded(width, is_number));
        }
        write_line(&mut picture, &pieces, look);
    }
    picture
}

/// A line that tells why there is nothing new to draw.
#[must_use]
pub fn draw_error(error: &str, look: Look) -> String {
    let mut picture = String::new();
    write_line(&mut picture, &[Piece::new(error, BAD)], look);
    picture
}

/// As many lines of a picture as there is room for, and how many more there are: the failed endpoints are near its end. A
/// note goes below them and is never left out: without it an old picture would pass for a new one.
#[must_use]
pub fn fit<'a>(picture: &'a str, note: &'a str, height: Option<usize>, look: Look) -> Vec<Cow<'a, str>> {
    let height = height.unwrap_or(usize::MAX);
    let note: Vec<&str> = note.lines().take(height).collect();
    let room = height - note.len();
    let mut lines: Vec<Cow<'_, str>> = picture.lines().take(room).map(Cow::from).collect();
    let missing = picture.lines().count() - lines.len();
    if let Some(last) = lines.last_mut().filter(|_| missing > 0) {
        let mut mark = String::new();
        write_line(&mut mark, &[Piece::new(&format!("… {} more", missing + 1), FAINT)], look);
        *last = mark.trim_end().to_owned().into();
    }
    if !note.is_empty() && lines.len() < room {
        lines.push("".into());
    }
    lines.extend(note.into_iter().map(Cow::from));
    lines
}

fn totals(view: &View, pace: Option<Pace>) -> Vec<Piece> {
    let mut pieces = vec![Piece::new(&format!("requests {}", view.total_requests), PLAIN)];
    if let Some(Pace { requests_per_second }) = pace {
        pieces.push(Piece::new(&format!("  {requests_per_second:.1}/s"), PLAIN));
    }
    let success = match view.success_rate {
        rate if rate >= 99.0 => GOOD,
        rate if rate >= 90.0 => UNEASY,
        _ => BAD,
    };
    pieces.push(Piece::new(&format!("  success {}", percent(view.success_rate)), success));
    let failed = if view.failed_requests > 0 { UNEASY } else { PLAIN };
    pieces.push(Piece::new(&format!("  failed {}", view.failed_requests), failed));
    pieces.push(Piece::new(&format!("  retries {}", view.retries), PLAIN));
    let parked = if view.parked > 0 { UNEASY } else { PLAIN };
    pieces.push(Piece::new(&format!("  parked {}", view.parked), parked));
    pieces.push(match view.leaks {
        0 => Piece::new("  leaks 0", GOOD),
        leaks => Piece::new(&format!("  LEAKS {leaks}: a broken promise, please report it"), ALARM),
    });
    pieces
}

fn cells(row: &Row, view: &View) -> Vec<Piece> {
    let mood = match row.status.as_str() {
        "healthy" => GOOD,
        "degraded" | "exhausted" => UNEASY,
        "disabled" => FAINT,
        _ => BAD,
    };
    let breaker = match row.breaker.as_str() {
        "closed" => PLAIN,
        "half_open" => UNEASY,
        _ => BAD,
    };
    // Without an answer nothing was timed, and without a stream no first token.
    let took = |spread: Option<Spread>, of: fn(Spread) -> f64| match spread.filter(|spread| spread.p50 > 0.0) {
        Some(spread) => millis(of(spread)),
        None => "-".to_owned(),
    };
    // Attempts that count as neither, such as one that met a rate limit, give no rate.
    let success = if row.successes + row.failures > 0 { percent(row.success_rate) } else { "-".to_owned() };
    vec![
        Piece::new(&row.id, STRONG),
        Piece::new(&row.standing, mood),
        Piece::new(&row.status, mood),
        Piece::new(&row.breaker, breaker),
        Piece::new(&row.in_flight.to_string(), if row.in_flight > 0 { PLAIN } else { FAINT }),
        Piece::new(&success, PLAIN),
        Piece::new(&took(Some(row.latency_ms), |spread| spread.p50), PLAIN),
        Piece::new(&took(Some(row.latency_ms), |spread| spread.p95), PLAIN),
        Piece::new(&took(row.ttft_ms, |spread| spread.p50), PLAIN),
        Piece::new(&next(row, view), PLAIN),
        Piece::new(&why(row, view), mood),
    ]
}

/// When an isolated endpoint is verified next.
fn next(row: &Row, view: &View) -> String {
    match (row.standing.as_str(), row.breaker.as_str(), &row.next_verification) {
        ("failure", "half_open", _) => "now".to_owned(),
        ("failure", _, Some(time)) => view.until(time).map_or_else(|| "-".to_owned(), rough),
        _ => "-".to_owned(),
    }
}

/// Why an endpoint is not healthy.
fn why(row: &Row, view: &View) -> String {
    let error = row.last_error.as_deref().unwrap_or_default();
    let rests = row.cooldowns.iter().filter_map(|cooldown| Some((view.until(&cooldown.until)?, cooldown)));
    // Another model may rest for a moment while this one's window is used up.
    let rest = rests.min_by_key(|(rest, cooldown)| (!cooldown.exhausted, *rest));
    let of_model = |what: &str, rest: Duration, cooldown: &Cooldown| match &cooldown.model {
        Some(model) => format!("{model} {what} {}", rough(rest)),
        None => format!("{what} {}", rough(rest)),
    };
    match (row.status.as_str(), rest, &row.isolated_reason) {
        ("unhealthy", _, Some(reason)) if error.is_empty() => format!("{reason}{}", why_still(row)),
        ("unhealthy", _, Some(reason)) => format!("{reason}: {error}{}", why_still(row)),
        ("exhausted", Some((rest, cooldown)), _) => of_model("used up for", rest, cooldown),
        ("degraded", Some((rest, cooldown)), _) => of_model("rests for", rest, cooldown),
        ("degraded", None, _) => error.to_owned(),
        ("disabled", _, _) if row.overruled.as_deref() == Some("off") => {
            "by an admin; the settings have it on".to_owned()
        }
        _ => String::new(),
    }
}

/// Why it has not come back: the error of its latest verification, if there was one since it left.
fn why_still(row: &Row) -> String {
    match &row.last_verification {
        Some(Verification { ok: false, error: Some(error) }) if row.verify_count > 0 => {
            format!("; verification {}: {error}", row.verify_count)
        }
        Some(_) | None => String::new(),
    }
}

fn percent(rate: f64) -> String {
    // A failure must not be rounded away.
    let rate = if rate < 100.0 { rate.min(99.9) } else { rate };
    format!("{rate:.1} %")
}

fn millis(millis: f64) -> String {
    if millis < 1000.0 { format!("{millis:.0}ms") } else { format!("{:.1}s", millis / 1000.0) }
}

/// A duration in its two largest units, in whole seconds.
fn rough(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

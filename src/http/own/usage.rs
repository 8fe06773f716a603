//! Who has used how much since the start: tokens, answers and cost, as JSON or CSV.

use std::collections::BTreeMap;

use actix_http::Request;
use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::super::state::Serving;
use super::query_of;
use super::rows::rounded;
use crate::actors::messages::ViewStats;
use crate::domain::ids::ClientId;
use crate::domain::stats::{Row, Stats, Used};

/// A column by which usage can be broken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Client,
    Team,
    Endpoint,
    Model,
}

impl Column {
    const ALL: [Self; 4] = [Self::Client, Self::Team, Self::Endpoint, Self::Model];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Team => "team",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
        }
    }

    fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == word)
    }

    fn of<'a>(self, row: &Row<'a>, stats: &'a Stats) -> Option<&'a str> {
        match self {
            Self::Client => row.client.map(ClientId::as_str),
            Self::Team => row.client.and_then(|client| stats.team_of(client)),
            Self::Endpoint => Some(row.endpoint.as_str()),
            Self::Model => row.model,
        }
    }
}

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    by: Vec<Column>,
    format: Format,
}

impl Asked {
    /// Reads a query. Without `by`, usage is broken down by all columns.
    fn read(query: &str) -> Result<Self, &'static str> {
        let mut asked = Self { by: Column::ALL.to_vec(), format: Format::Json };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("by", words) => {
                    asked.by.clear();
                    for word in words.split(',') {
                        let column =
                            Column::find(word.trim()).ok_or("`by` is a list of client, team, endpoint, model")?;
                        if !asked.by.contains(&column) {
                            asked.by.push(column);
                        }
                    }
                }
                ("format", "json") => asked.format = Format::Json,
                ("format", "csv") => asked.format = Format::Csv,
                ("format", _) => return Err("`format` is json or csv"),
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// Rows broken down by the chosen columns only, in the order of their texts.
type Rows<'a> = BTreeMap<Vec<Option<&'a str>>, Used>;

fn rows<'a>(stats: &'a Stats, by: &[Column]) -> Rows<'a> {
    let mut rows = Rows::new();
    for row in stats.ledger.rows() {
        let key = by.iter().map(|column| column.of(&row, stats)).collect();
        *rows.entry(key).or_default() += row.used;
    }
    rows
}

fn as_json(rows: Rows<'_>, by: &[Column]) -> Value {
    let row = |(key, Used { requests, usage, cost, .. }): (Vec<Option<&str>>, Used)| {
        let mut row: Map<String, Value> =
            by.iter().zip(key).map(|(column, value)| (column.as_str().to_owned(), value.into())).collect();
        row.insert("requests".to_owned(), requests.into());
        row.extend(usage.kinds().map(|(kind, tokens)| (kind.to_owned(), tokens.into())));
        row.insert("cost".to_owned(), cost.map(rounded).into());
        row
    };
    json!({ "rows": rows.into_iter().map(row).collect::<Vec<_>>() })
}

/// Comma-separated values (RFC 4180), with a head.
fn as_csv(rows: Rows<'_>, by: &[Column]) -> String {
    let mut head: Vec<&str> = by.iter().map(|column| column.as_str()).collect();
    head.extend(["requests", "input", "output", "cache_read", "cache_write", "cost"]);
    let mut text = head.join(",");
    for (key, Used { requests, usage, cost, .. }) in rows {
        let mut fields: Vec<String> = key.into_iter().map(|field| csv_field(field.unwrap_or_default())).collect();
        fields.push(requests.to_string());
        fields.extend(usage.kinds().map(|(_, tokens)| tokens.to_string()));
        fields.push(cost.map(|cost| rounded(cost).to_string()).unwrap_or_default());
        text.push_str("\r\n");
        text.push_str(&fields.join(","));
    }
    text.push_str("\r\n");
    text
}

/// A CSV field that a spreadsheet takes for text: model names are the clients' own, and one may look like a formula.
fn csv_field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !is_formula && !text.contains([',', '"', '\r', '\n']) {
        return text.to_owned();
    }
    let apostrophe = if is_formula { "'" } else { "" };
    format!("\"{apostrophe}{}\"", text.replace('"', "\"\""))
}

pub(super) async fn usage(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    let Asked { by, format } = match Asked::read(query_of(request)) {
        Ok(asked) => asked,
        Err(error) => return HttpResponse::BadRequest().json(json!({ "error": error })),
    };
    let Ok(stats) = worker.shared.core.stats.send(ViewStats).await else { return super::stopping() };
    let rows = rows(&stats, &by);
    match format {
        Format::Json => HttpResponse::Ok().json(as_json(rows, &by)),
        Format::Csv => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8"))
            .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"qcc-usage.csv\""))
            .body(as_csv(rows, &by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_columns_and_a_format() {
        use Column::{Client, Endpoint, Model, Team};
        for (query, by, format) in [
            ("", vec![Client, Team, Endpoint, Model], Format::Json),
            ("by=client,model&format=csv", vec![Client, Model], Format::Csv),
            ("by=team%2C%20endpoint,team", vec![Team, Endpoint], Format::Json),
        ] {
            assert_eq!(Asked::read(query), Ok(Asked { by, format }), "{query}");
        }
        for query in ["by=", "by=clients", "format=xml"] {
            assert!(Asked::read(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_field_can_be_no_formula_and_no_two_fields() {
        for (text, field) in [
            ("claude-opus-4-5", "claude-opus-4-5"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2", "\"'-2\""),
        ] {
            assert_eq!(csv_field(text), field);
        }
    }
}

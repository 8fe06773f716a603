//! Spans as a collector takes them: OTLP's trace request in its JSON form.

use std::time::Duration;

use serde::Serialize;

use super::span::{Kind, Span, Value};
use crate::domain::time::Moment;

/// The service that the spans are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [KeyValue<'a>; 2],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanRow<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanRow<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    status: Status<'a>,
}

#[derive(Default, Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

/// A value of an attribute. A number is written as text, since JSON's numbers may not be exact enough for it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    StringValue(&'a str),
    IntValue(String),
}

impl<'a> KeyValue<'a> {
    fn text(key: &'a str, text: &'a str) -> Self {
        Self { key, value: AnyValue::StringValue(text) }
    }
}

/// OTLP's codes for span kinds and for a failed status.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

fn row(span: &Span, clock_began: Duration) -> SpanRow<'_> {
    let nanos = |moment: Moment| (clock_began + moment.since_start()).as_nanos().to_string();
    let attributes = span.attributes.0.iter().map(|(key, value)| match value {
        Value::Text(text) => KeyValue::text(key, text),
        Value::Number(number) => KeyValue { key, value: AnyValue::IntValue(number.to_string()) },
    });
    SpanRow {
        trace_id: span.context.trace().to_string(),
        span_id: span.context.span().to_string(),
        parent_span_id: span.parent.map(|parent| parent.to_string()),
        name: &span.name,
        kind: match span.kind {
            Kind::Server => SERVER,
            Kind::Client => CLIENT,
        },
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes.collect(),
        status: match &span.error {
            Some(error) => Status { code: Some(ERROR), message: Some(error) },
            None => Status::default(),
        },
    }
}

/// The body of a request that delivers these spans to a collector. `clock_began` is when the clock of their moments began,
/// as the time since 1970.
///
/// # Errors
///
/// None in practice: everything in it can be written as JSON.
pub fn export(service: &Service, spans: &[Span], clock_began: Duration) -> Result<Vec<u8>, serde_json::Error> {
    let resource = Resource {
        attributes: [KeyValue::text("service.name", &service.name), KeyValue::text("service.version", service.version)],
    };
    let scope = Scope { name: env!("CARGO_PKG_NAME"), version: service.version };
    let spans = spans.iter().map(|span| row(span, clock_began)).collect();
    let resource_spans = [ResourceSpans { resource, scope_spans: [ScopeSpans { scope, spans }] }];
    serde_json::to_vec(&Export { resource_spans })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Attributes, SpanId, TraceContext, TraceId};
    use super::*;

    #[test]
    fn spans_are_written_as_otlp_wants_them() {
        let root = TraceContext::root(TraceId::from_random(0xab), SpanId::from_random(0xcd));
        let at = |millis| Moment::after_start(Duration::from_millis(millis));
        let request = Span {
            context: root,
            parent: None,
            kind: Kind::Server,
            name: "POST /v1/messages".to_owned(),
            began: at(1),
            ended: at(3),
            attributes: Attributes::default(),
            error: None,
        };
        let attempt = Span {
            context: root.with_span(SpanId::from_random(0xef)),
            parent: Some(root.span()),
            kind: Kind::Client,
            name: "chat".to_owned(),
            began: at(1),
            ended: at(2),
            attributes: Attributes::default()
                .text("server.address", Some("h"))
                .number("server.port", Some(u64::MAX))
                .text("gen_ai.request.model", None)
                .number("http.response.status_code", None),
            error: Some("HTTP 500".to_owned()),
        };
        let service = Service { name: "mine".to_owned(), version: "1.2.3" };
        let body = export(&service, &[request, attempt], Duration::from_secs(1_700_000_000)).unwrap();
        let trace = "000000000000000000000000000000ab";
        let expected = json!({ "resourceSpans": [{
            "resource": { "attributes": [
                { "key": "service.name", "value": { "stringValue": "mine" } },
                { "key": "service.version", "value": { "stringValue": "1.2.3" } },
            ] },
            "scopeSpans": [{
                "scope": { "name": "qcc-gateway", "version": "1.2.3" },
                "spans": [
                    {
                        "traceId": trace, "spanId": "00000000000000cd", "name": "POST /v1/messages", "kind": 2,
                        "startTimeUnixNano": "1700000000001000000", "endTimeUnixNano": "1700000000003000000",
                        "attributes": [], "status": {},
                    },
                    {
                        "traceId": trace, "spanId": "00000000000000ef", "parentSpanId": "00000000000000cd",
                        "name": "chat", "kind": 3,
                        "startTimeUnixNano": "1700000000001000000", "endTimeUnixNano": "1700000000002000000",
                        "attributes": [
                            { "key": "server.address", "value": { "stringValue": "h" } },
                            { "key": "server.port", "value": { "intValue": "18446744073709551615" } },
                        ],
                        "status": { "code": 2, "message": "HTTP 500" },
                    },
                ],
            }],
        }] });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
    }

    #[test]
    fn a_long_text_is_cut() {
        let Attributes(attributes) = Attributes::default().text("m", Some(&"ä".repeat(5000)));
        assert_eq!(attributes, [("m", Value::Text("ä".repeat(200)))]);
    }
}

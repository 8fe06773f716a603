//! Traces: the calls made for one request, in the terms of W3C Trace Context and the format of OpenTelemetry.

mod backlog;
mod collector;
mod context;
mod otlp;
mod span;

pub use backlog::{BATCH, Backlog};
pub use collector::Collector;
pub use context::{SpanId, TraceContext, TraceId};
pub use otlp::{Service, export};
pub use span::{Attributes, Kind, Span};

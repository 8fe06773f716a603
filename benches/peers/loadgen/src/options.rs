//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use dialogue::api::Api;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Closed,
    Open,
    Stream,
    Held,
}

impl Mode {
    pub fn is_streamed(self) -> bool {
        matches!(self, Self::Stream | Self::Held)
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub api: Api,
    pub address: SocketAddr,
    pub pid: Option<u32>,
    pub length: Duration,
    pub warm: Duration,
    pub connections: usize,
    /// The time between two requests of the timetable.
    pub pace: Duration,
    pub events: usize,
    pub delay: Duration,
    pub body: usize,
    pub sessions: usize,
    pub key: String,
    /// Further lines of each request's head.
    pub headers: String,
    pub is_lenient: bool,
}

impl Options {
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mode = match arguments.next().as_deref() {
            Some("closed") => Mode::Closed,
            Some("open") => Mode::Open,
            Some("stream") => Mode::Stream,
            Some("held") => Mode::Held,
            _ => return Err("the mode is one of closed, open, stream, held".into()),
        };
        let mut options = Self {
            mode,
            api: Api::Messages,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            pid: None,
            length: Duration::from_secs(2),
            warm: Duration::from_millis(500),
            connections: 64,
            pace: Duration::from_micros(500),
            events: 50,
            delay: Duration::ZERO,
            body: 0,
            sessions: 512,
            key: String::from("key-of-the-bench"),
            headers: String::new(),
            is_lenient: false,
        };
        while let Some(name) = arguments.next() {
            if name == "--lenient" {
                options.is_lenient = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            options.set(&name, &value).map_err(|why| format!("{name} {value}: {why}"))?;
        }
        if !options.address.ip().is_loopback() || options.address.port() == 0 {
            return Err("--address must be one of the loopback".into());
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--address" => self.address = number(value)?,
            "--api" => {
                self.api = match value {
                    "messages" => Api::Messages,
                    "chat" => Api::Chat,
                    _ => return Err("it is one of messages, chat".into()),
                }
            }
            "--pid" => self.pid = Some(number(value)?),
            "--secs" => self.length = seconds(value)?,
            "--warm" => self.warm = seconds(value)?,
            "--connections" => self.connections = number(value)?,
            "--rate" => self.pace = seconds("1")?.div_f64(number(value)?),
            "--events" => self.events = number(value)?,
            "--delay-us" => self.delay = Duration::from_micros(number(value)?),
            "--body" => self.body = number(value)?,
            "--sessions" => self.sessions = number(value)?,
            "--key" => self.key = value.into(),
            "--headers" => {
                let text = std::fs::read_to_string(value).map_err(|error| error.to_string())?;
                self.headers = text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
            }
            _ => return Err("unknown".into()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "not what is wanted here".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(text)?).map_err(|error| error.to_string())
}

//! The binary itself, in a process of its own.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::eventually::within;
use super::upstream::Upstream;

/// A folder with a settings file of its own.
pub(crate) struct Settings {
    folder: TempDir,
    variables: Vec<(String, String)>,
    open_files: Option<u32>,
}

impl Settings {
    pub(crate) fn new(text: &str) -> Self {
        Self::within(tempfile::tempdir().unwrap(), text)
    }

    /// The same in a folder that may hold something already.
    pub(crate) fn within(folder: TempDir, text: &str) -> Self {
        std::fs::write(folder.path().join("settings.toml"), text).unwrap();
        Self { folder, variables: Vec::new(), open_files: None }
    }

    /// With a variable of the process.
    pub(crate) fn variable(mut self, name: &str, text: &str) -> Self {
        self.variables.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With so many open files at most.
    pub(crate) fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Where the file is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.folder().join("settings.toml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_qcc-gateway");
        let mut command = match self.open_files {
            None => Command::new(binary),
            Some(most) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        command.arg("--settings").arg(self.file()).args(arguments).env_clear().current_dir(self.folder.path());
        command.envs(self.variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = within("the command ends", self.command(arguments).output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

/// A gateway in a process of its own.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
    pub(crate) address: SocketAddr,
    settings: Settings,
}

impl Process {
    pub(crate) async fn start(settings: Settings) -> Self {
        let mut child = settings.command(&[]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let line = within("a line of the log", log.next_line()).await.unwrap().expect("it listens");
            let address =
                line.split("listening on http://").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
            seen.push(line);
            if let Some(address) = address {
                break address.parse().unwrap();
            }
        };
        Self { child, log, seen, address, settings }
    }

    /// Reads the log up to a line with this text, and gives that line.
    pub(crate) async fn logs(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            let line = within(text, self.log.next_line()).await.unwrap().expect(text);
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where it runs.
    pub(crate) fn folder(&self) -> &Path {
        self.settings.folder()
    }

    /// Ends it without a warning, as the kernel does, and gives its folder.
    pub(crate) async fn killed(mut self) -> TempDir {
        self.child.kill().await.unwrap();
        self.settings.folder
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Does some work while the log is read, which else would fill its pipe and hold the gateway up.
    pub(crate) async fn while_read<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                line = self.log.next_line() => self.seen.push(line.unwrap().expect("the gateway goes on")),
            }
        }
    }

    /// Nobody reads its log from now on, and nobody can.
    pub(crate) fn closes_its_log(self) -> Child {
        self.child
    }

    /// How it ended, and all that it had logged.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        while let Some(line) = within("the end of the log", self.log.next_line()).await.unwrap() {
            self.seen.push(line);
        }
        (within("the process ends", self.child.wait()).await.unwrap(), self.seen)
    }
}

pub(crate) fn settings(more: &str, upstreams: &[&Upstream]) -> Settings {
    let mut text = format!("[server]\nport = 0\nworkers = 1\n{more}\n");
    for upstream in upstreams {
        let (name, url) = (upstream.name(), upstream.base_url());
        write!(text, "[endpoints.{name}]\nbase_url = \"{url}\"\napi_key = \"upstream-secret\"\n").unwrap();
    }
    Settings::new(&text)
}

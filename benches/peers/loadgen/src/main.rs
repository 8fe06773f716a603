//! One measurement of one proxy: sends requests, checks every answer, and prints what came of it as one line of JSON.
//!
//! `loadgen MODE --address HOST:PORT [options]`
//!
//! | mode | what |
//! | --- | --- |
//! | `closed` | each connection sends its next request when the last answer is there |
//! | `open` | requests go out on a timetable. Where all connections are busy at the time, latency counts from the timetable, so that a stall is charged to every request that it delays; else from the sending (this process's timer has a grain of a millisecond, which is not the proxy's) |
//! | `stream` | each connection opens one stream after another |
//! | `held` | each connection opens one stream, all are open while it is measured, and all are read to their ends |
//!
//! Options: `--api messages|chat` (Anthropic's or OpenAI's), `--pid N` (of the proxy: the CPU time and memory of it and all that descends from it), `--secs S`, `--warm S`
//! (before that), `--connections N`, `--rate R` (a second), `--events N` and `--delay-us N` (pieces of a stream, and the pause
//! before each), `--body BYTES`, `--sessions N` (0: requests name none), `--key KEY`, `--headers FILE` (further ones, a line
//! each), `--lenient` (the proxy writes answers anew: they must be whole, but need not be the upstream's bytes).

mod answer;
mod connection;
mod load;
mod options;
mod process;
mod request;
mod tally;

use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match options::Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("loadgen: {fault}");
            return ExitCode::from(2);
        }
    };
    match load::run(options) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("loadgen: {fault}");
            ExitCode::FAILURE
        }
    }
}

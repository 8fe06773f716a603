//! The binary: options to settings to app, and nothing else.

use std::process::ExitCode;

use qcc_gateway::cli::{self, Command, KeyCommand};
use qcc_gateway::run;

/// mimalloc, as a request makes a hundred small allocations and frees them on the same thread, which it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::parse();
    let source = arguments.options.source(std::env::vars_os());
    let ending = match arguments.command() {
        Command::Serve => run::serve(&source),
        Command::Check(options) => run::check(&source, &options),
        Command::Health => run::health(&source),
        Command::Status(options) => run::status(&source, &options),
        Command::Top(options) => run::top(&source, &options),
        Command::Key(KeyCommand::New(options)) => run::new_key(&options.name),
        Command::Demo(options) => run::demo(&options),
    };
    log::logger().flush();
    ending
}

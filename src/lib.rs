#![doc = include_str!("ARCHITECTURE.md")]

pub mod domain;

pub mod authorities;
pub mod clock;
pub mod entropy;
pub mod state_file;

pub mod actors;
pub mod upstream;

pub mod http;
pub mod settings;
pub mod status;

pub mod app;
pub mod cli;
pub mod demo;
pub mod live;
pub mod policies;
pub mod reload;
pub mod run;
pub mod telemetry;
pub mod token;

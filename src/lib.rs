#![doc = include_str!("ARCHITECTURE.md")]

pub mod domain;

pub mod clock;

pub mod upstream;

pub mod settings;

pub mod actors;

pub mod http;

//! The client against upstreams that do to the byte what a case says.

use std::pin::pin;
use std::time::Duration;

use actix_web::http::{Method, Version};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::join;
use tokio::sync::oneshot;

use super::testing::*;
use super::*;
use crate::domain::base_url::{Origin, Scheme};

mod answers;
mod bodies;
mod encrypted;
mod pooling;

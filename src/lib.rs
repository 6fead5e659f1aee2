//! pgsluice: a PostgreSQL proxy and pooler with a gate for planned maintenance.
//!
//! The layers, from the ground up; each imports only those below it. `docs/ARCHITECTURE.md` holds the map.
#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used
)]

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod etcd;
pub mod events;
pub mod fleet;
pub mod gate;
pub mod http;
pub mod log;
pub mod metrics;
pub mod moving;
pub mod net;
pub mod protocol;
pub mod proxy;
pub mod routing;
pub mod server;
pub mod shared;
pub mod sql;
pub mod tls;
pub mod topology;
pub mod webhooks;

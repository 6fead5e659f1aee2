//! What is seen from outside: events in the log, on the console and in webhooks; metrics, and the alerts made of them.

mod alerts;
mod command_line;
mod console;
mod http;
mod logs;
mod metrics;
mod receiver;
mod secrets;
mod stand;
mod webhooks;

//! Who gets in, how, and as whom: against real servers, beside their own answers.

mod auth_query;
mod client;
mod cve;
mod first_reading;
mod hba;
#[cfg(any(feature = "ldap", feature = "pam"))]
mod outside;
mod pgbouncer;
mod stand;
mod timing;

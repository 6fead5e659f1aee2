//! A maintenance on real servers: a primary, a replica, and the built binary in front of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod abandoned;
mod banner;
mod beforehand;
mod bound;
mod broken_off;
mod clean;
mod clean_chains;
mod clean_current;
mod closing;
mod commits;
mod commits_killed;
mod counts;
mod cut_off;
mod differential;
mod django;
mod ends_inside;
mod fence;
mod flips;
mod greeting;
mod hidden;
mod hidden_databases;
mod hidden_elsewhere;
mod hidden_families;
mod hidden_forms;
mod hidden_languages;
mod hidden_late;
mod hidden_open;
mod hidden_reach;
mod hidden_resolution;
mod hidden_text;
mod hold;
mod login_triggers;
mod on_18;
mod other_databases;
mod read_write;
mod readable;
mod reading;
mod restarts;
mod rules;
mod seen;
mod shown;
mod snapshot;
mod stand;
mod survives;
mod uncounted;
mod volatile_functions;
mod ways_around;
mod ways_around_exact;
mod ways_around_fallen;
mod ways_around_later;
mod ways_around_matrix;
mod ways_around_schema;
mod wrong_in_itself;

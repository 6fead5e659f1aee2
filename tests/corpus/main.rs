//! Statements by the thousand in maintenance: each through the proxy and, for the truth, directly in READ ONLY.
//!
//! `own.sql` has every kind of statement and runs with all tests. PostgreSQL's own regression suite takes minutes:
//! `make conformance-corpus`.

mod compare;
mod mutations;
mod observed;
mod observer;
mod own;
mod regression;
mod rules;
mod source;
mod split;
mod stand;

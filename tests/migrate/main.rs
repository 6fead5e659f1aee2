//! MIGRATE: a major upgrade under load and the way back, its checks, and where it ends when a step fails. Real servers of versions 15
//! and 18, the built binary in front.

mod checks;
mod failures;
mod load;
mod mirror;
mod stand;
mod surfaces;
mod upgrade;

//! SWITCHOVER: another server of a cluster becomes its primary under clients that write and read, and what becomes of it when
//! something fails at each step. Real servers, with the built binary in front.

mod back_and_forth;
mod checks;
mod conformance;
mod failures;
mod held;
mod left_over;
mod load;
mod programs;
mod stand;
mod surfaces;
mod table;

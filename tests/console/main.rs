//! The admin console of the real program, in front of a real primary and its replica.

mod ckan;
mod control;
mod drivers;
mod exporters;
mod gate;
mod names;
mod operating;
mod protocol;
mod remote;
mod same_server;
mod show;
mod stand;

//! The console.
pub mod console;

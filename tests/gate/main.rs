//! The gate as a whole, upon a world in memory and a clock that the test turns.

mod crashes;
mod flips;
mod times;
mod world;

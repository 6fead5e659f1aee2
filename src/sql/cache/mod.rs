//! Verdicts are kept by statement text ([`verdicts`]), so that a repeated statement costs a hash and a comparison.

pub(in crate::sql) mod normalize;
pub(in crate::sql) mod number_patterns;
pub mod verdicts;

//! What sessions check: the mode, and the register of open write-capable transactions.

pub(in crate::gate) mod lsn;
pub(in crate::gate) mod mode;
pub(in crate::gate) mod register;
pub(in crate::gate) mod sync;

//! Bytes: what travels between a PostgreSQL client and a server.
//!
//! This layer never touches a socket. It finds the bounds of messages ([`frame`]), reads the few whose content
//! matters ([`startup_packet`], [`frontend`]), writes those that pgsluice says itself ([`backend`], [`frontend`], and whole
//! answers of its own with [`answer`]), and takes errors
//! apart ([`error_fields`]). [`octets`] are bytes in a JSON document. [`buffer`] holds bytes that are read once and, as a rule, sent on from where they lie.
//!
//! Everything is strict: a length is checked before memory is taken for it, a string ends with its NUL, and a message
//! that holds more or less than it declares is refused with the texts and SQLSTATEs that PostgreSQL uses
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

pub mod answer;
pub mod backend;
pub mod buffer;
pub mod error_fields;
pub mod frame;
pub mod frontend;
pub mod octets;
mod pgbouncer_words;
pub mod startup_packet;

pub use crate::protocol::buffer::{Buffer, BufferPool};
pub use crate::protocol::error_fields::{ErrorFields, Report, Severity};
pub use crate::protocol::frame::{Header, WireError};
pub use crate::protocol::octets::Octets;

/// Transaction status as ReadyForQuery tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxStatus {
    /// `I`: not in a transaction block.
    #[default]
    Idle,
    /// `T`: in a transaction block.
    Block,
    /// `E`: in a failed transaction block; only its end is accepted.
    Failed,
}

impl TxStatus {
    /// Reads the status byte of a ReadyForQuery body.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Block),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte that stands for it in ReadyForQuery.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Block => b'T',
            Self::Failed => b'E',
        }
    }
}

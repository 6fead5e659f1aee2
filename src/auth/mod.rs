//! Who is there: proving a client's identity to us, and ours to an upstream.
//!
//! Nothing here does I/O, but for reading HBA files. Both halves are state machines over message *bodies* (what follows tag and length); framing,
//! sockets, time-outs and log lines belong to the caller.
//!
//! ```text
//! client ──'p' bodies──▶ server::ClientAuth ──Authenticated.credential──▶ client::ServerLogin ──'p' bodies──▶ upstream
//! ```
//!
//! - [`userlist`]: PgBouncer's `auth_file`, which gives a [`Secret`] per user;
//! - [`server`]: trust, password, md5, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS towards clients;
//! - [`client`]: the same towards upstreams, by password or by the SCRAM keys a client's own log-in has uncovered;
//! - [`hba`]: which method holds for whom, and maps of names;
//! - [`handed`]: a credential on its way to the process that takes over;
//! - [`scram`], [`md5`]: the arithmetic; [`decoy`]: what a user who does not exist looks like.
//!
//! SCRAM is written here once for both sides over the RustCrypto primitives rather than taken from a library. pgwire's
//! is tied to its own connection traits and gives no keys to pass through; postgres-protocol's client cannot log in by
//! keys and accepts any iteration count. Those keys and that bound are what a pooler needs.

pub mod client;
pub mod decoy;
pub mod error;
pub mod handed;
pub mod hba;
pub mod md5;
pub mod scram;
mod scram_client;
mod scram_server;
pub mod secret;
pub mod server;
pub mod userlist;

pub use crate::auth::client::{LoginError, LoginStep, ServerLogin};
pub use crate::auth::decoy::Decoy;
pub use crate::auth::error::AuthError;
pub use crate::auth::scram::ScramVerifier;
pub use crate::auth::secret::{Credential, Password, Secret, SecretKind};
pub(crate) use crate::auth::server::password_of;
pub use crate::auth::server::{Authenticated, ClientAuth, Method, Step};
pub use crate::auth::userlist::{Userlist, UserlistError};

/// Codes that open the body of an `R` message ([PostgreSQL: Message Formats](https://www.postgresql.org/docs/current/protocol-message-formats.html)).
pub mod code {
    /// AuthenticationOk.
    pub const OK: i32 = 0;
    /// AuthenticationCleartextPassword.
    pub const CLEARTEXT: i32 = 3;
    /// AuthenticationMD5Password; four bytes of salt follow.
    pub const MD5: i32 = 5;
    /// AuthenticationSASL; mechanism names follow.
    pub const SASL: i32 = 10;
    /// AuthenticationSASLContinue; the challenge follows.
    pub const SASL_CONTINUE: i32 = 11;
    /// AuthenticationSASLFinal; the server's proof follows.
    pub const SASL_FINAL: i32 = 12;
}

/// The longest body of a password message, in bytes: the longest password of PgBouncer, 65,535 bytes, and its NUL. PostgreSQL takes four
/// bytes less (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const MAX_PASSWORD_BODY: usize = 65_536;

/// The longest body of a SASL message, in bytes, as PostgreSQL has it (`PG_MAX_SASL_MESSAGE_LENGTH`).
pub const MAX_SASL_BODY: usize = 1_024;

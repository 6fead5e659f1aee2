//! A session goes to the process that takes over ([`export`]), or comes from the one before ([`import`]).
//!
//! It goes when it is at rest: nothing is owed to its client, nothing is open on a server, and what the client has sent has not
//! been looked at. That is so between two transactions, and also while a message is held behind the closed gate or waits for a
//! server connection. A session that keeps its server connection goes together with it. What cannot go ends here: TLS, whose
//! keys are in this process, streams of replication, and what could not be prepared anew elsewhere.

mod export;
pub mod import;

//! What goes from a process to the one that takes over from it, as far as sessions and pools have to do with it.
//!
//! A session at rest puts down what it is ([`client`]) and offers it together with its socket ([`offers`]). Until there is an
//! answer it neither reads nor writes: taken, it ends without a word, since its client is served elsewhere; refused, or with
//! nobody left to answer, it goes on as if nothing had been. So a client is on exactly one side, whichever process is killed
//! when. The other way round [`former`] is what a new process knows of the one before it, and [`counted`] what that has counted.

pub mod client;
pub mod counted;
pub mod former;
pub mod offers;

pub use client::HandedClient;
pub use counted::Counted;
pub use former::Former;
pub use offers::{Offer, Offered, Offers};

//! Connections that count within the pool's limits and never lie in it: to try a start-up packet, and for replication.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use super::open::Opening;
use super::queue::Grant;
use super::{AcquireError, LogIns, Permit, Pool};
use crate::server::connection::Server;
use crate::server::guard::{AnyConn, Conn, Guarded, Kind, KindTag};
use crate::server::login::{Fresh, LoginError};

/// The first PostgreSQL that speaks protocol 3.2.
const FIRST_WITH_3_2: u32 = 18;

impl Pool {
    /// Logs in with parameters that a client asks for, guarded, to learn what the server makes of them. The place is kept
    /// for as long as the connection is looked at; it never becomes one of the pool's.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn try_parameters(
        self: &Arc<Self>,
        core: usize,
        deadline: Instant,
        parameters: &[(String, String)],
    ) -> Result<(Fresh, Permit), AcquireError> {
        if self.is_barred() {
            return Err(LoginError::Barred.into());
        }
        let place = self.place(core, deadline).await?;
        let _opening = Opening::of(&self.opening);
        let without = (self.log_ins() == LogIns::WithoutTriggers).then_some(("event_triggers", "off"));
        let more = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // The last of a name counts, and what stands in the packet itself counts for more than `options`.
        let more: Vec<_> = more.chain([("default_transaction_read_only", "on")]).chain(without).collect();
        let began = Instant::now();
        let fresh = self.settings.login.run(&more).await.inspect_err(|error| self.note_refusal(error, false, began))?;
        Ok((fresh, place))
    }

    /// Opens one that is a client's own for all its life and never becomes one of the pool's, with parameters for its
    /// start-up packet; gives what the server reported, too.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn open_apart(
        self: &Arc<Self>,
        core: usize,
        deadline: Instant,
        parameters: &[(String, String)],
    ) -> Result<(Box<Server>, Vec<(String, String)>), AcquireError> {
        let place = self.place(core, deadline).await?;
        let _opening = Opening::of(&self.opening);
        let generation = self.generation.load(SeqCst);
        let more: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let began = Instant::now();
        let fresh = self.settings.login.run(&more).await.inspect_err(|error| self.note_refusal(error, false, began))?;
        let reported = fresh.parameters.clone();
        let id = self.settings.socket_ids.fetch_add(1, SeqCst);
        let server = Server::new(fresh, place, id, core, generation, KindTag::Unguarded, self.seed.clone());
        Ok((server, reported))
    }

    /// Opens one of whose process no client has been told. Where the pool has no place left that is one beyond its limit, which is
    /// closed when it comes back. None: the limits that it shares are full, or it has such a one already.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_unknown<K: Kind>(self: &Arc<Self>, core: usize) -> Result<Option<Conn<K>>, LoginError> {
        if self.is_barred() {
            return Ok(None);
        }
        let within = self.permit_in_turn(0, Instant::now());
        let beyond = within.is_err();
        let Ok(place) = within.or_else(|_| self.permit(1, 0)) else { return Ok(None) };
        let Ok(mut conn) = K::from_any(self.open(place, K::TAG, core).await?) else { return Ok(None) };
        if beyond {
            let server = conn.server();
            server.generation = server.generation.wrapping_sub(1);
            server.facts.keep_from_clients();
        }
        Ok(Some(conn))
    }

    /// Opens another one in the place of a connection, which is closed.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_anew<K: Kind>(self: &Arc<Self>, conn: AnyConn, core: usize) -> Result<Conn<K>, AcquireError> {
        let opened = self.open(conn.into_permit(), K::TAG, core).await?;
        K::from_any(opened).map_err(|other| {
            self.give_back(other);
            AcquireError::Timeout
        })
    }

    /// A place within the limits, waited for if need be; an idle connection is closed for it.
    async fn place(self: &Arc<Self>, core: usize, deadline: Instant) -> Result<Permit, AcquireError> {
        let came = Instant::now();
        match self.permit_in_turn(0, came) {
            Ok(place) => Ok(place),
            Err(_) => match self.take_now::<Guarded>(core) {
                Some(Grant::Conn(conn)) => Ok(conn.because("evicted").into_permit()),
                Some(Grant::Place(place)) => Ok(place),
                None => match self.wait::<Guarded>(core, came, deadline, deadline).await? {
                    Grant::Conn(conn) => Ok(conn.because("evicted").into_permit()),
                    Grant::Place(place) => Ok(place),
                },
            },
        }
    }

    /// The minor version of the protocol that its server is known to speak: from 3.2 on cancel keys are long.
    pub(super) fn minor(&self) -> u32 {
        let welcome = self.welcome();
        let version = welcome.iter().flat_map(|welcome| &welcome.parameters).find(|(name, _)| name == "server_version");
        let major = version.and_then(|(_, version)| version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        if major.is_some_and(|major: u32| major >= FIRST_WITH_3_2) { 2 } else { 0 }
    }
}

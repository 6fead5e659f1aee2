//! Opening connections, within the limits.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Instant, SystemTime};

use tokio::time::timeout;

use super::{AcquireError, LogIns, Permit, Pool};
use crate::server::backend_ledger::{Backend, micros};
use crate::server::connection::Server;
use crate::server::guard::{AnyConn, Conn, Kind, KindTag, Unguarded};
use crate::server::lines;
use crate::server::login::{Fresh, LoginError};
use crate::server::state::advertised_backend::Home;
use crate::sql::own_statements::servers;

/// Counts a log-in for as long as it takes.
pub(super) struct Opening<'a>(&'a AtomicUsize);

impl<'a> Opening<'a> {
    pub(super) fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// One that may write is to lead to the primary: a server that is in recovery was taken for it.
fn fits(fresh: Fresh, tag: KindTag) -> Result<Fresh, LoginError> {
    let standby = |(name, value): &(String, String)| name == "in_hot_standby" && value == "on";
    if tag == KindTag::Unguarded && fresh.parameters.iter().any(standby) {
        return Err(LoginError::InRecovery);
    }
    Ok(fresh)
}

impl Pool {
    /// Opens one for an operator, who may have `reserved` places beyond every limit.
    ///
    /// # Errors
    /// Those are taken too, or it cannot be opened.
    pub async fn open_reserved(
        self: &Arc<Self>,
        core: usize,
        reserved: usize,
        parameters: &[(String, String)],
    ) -> Result<Conn<Unguarded>, AcquireError> {
        let permit = self.permit(reserved, reserved).map_err(|_| AcquireError::NoPlace)?;
        let _opening = Opening::of(&self.opening);
        match Unguarded::from_any(self.log_in(permit, KindTag::Unguarded, core, parameters, &[]).await?) {
            Ok(conn) => Ok(conn),
            Err(_) => Err(AcquireError::Timeout),
        }
    }

    /// Opens an idle connection if there are fewer than `least`: true if one was opened.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn warm(self: &Arc<Self>, least: usize, tag: KindTag, core: usize) -> Result<bool, LoginError> {
        if self.own.used() >= least || self.is_barred() {
            return Ok(false);
        }
        let place = self.permit_in_turn(0, Instant::now()).ok().or_else(|| self.permit_of_others().ok());
        let Some(permit) = place else { return Ok(false) };
        let conn = self.open(permit, tag, core).await?;
        self.give_back(conn);
        Ok(true)
    }

    /// Opens one to be the home of a client that has just logged in, if there is a place for it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_home(self: &Arc<Self>, tag: KindTag, core: usize) -> Result<Option<Home>, LoginError> {
        if self.is_barred() {
            return Ok(None);
        }
        let Ok(permit) = self.permit_in_turn(0, Instant::now()) else { return Ok(None) };
        let conn = self.open(permit, tag, core).await?;
        let home = Home::at(&conn.peek().facts);
        self.give_back(conn);
        Ok(Some(home))
    }

    /// Opens one for anybody.
    pub(super) async fn open(
        self: &Arc<Self>,
        permit: Permit,
        tag: KindTag,
        core: usize,
    ) -> Result<AnyConn, LoginError> {
        // Counted first, then looked at the bar: who raises it waits for the log-ins that are counted.
        let _opening = Opening::of(&self.opening);
        let conn = match self.log_ins() {
            LogIns::Free => self.log_in(permit, tag, core, &[], &[]).await?,
            LogIns::WithoutTriggers => self.log_in(permit, tag, core, &[], &[("event_triggers", "off")]).await?,
            LogIns::Barred => return Err(LoginError::Barred),
        };
        // A process that was stopped meanwhile may be taken to be gone, and what it had open is ended by then: this one is not.
        if tag == KindTag::Unguarded && !self.settings.keeps && !self.settings.ledger.guard().holds() {
            conn.close();
            return Err(LoginError::FleetLost);
        }
        Ok(conn)
    }

    async fn log_in(
        self: &Arc<Self>,
        permit: Permit,
        tag: KindTag,
        core: usize,
        parameters: &[(String, String)],
        more: &[(&str, &str)],
    ) -> Result<AnyConn, LoginError> {
        self.refused_lately()?;
        let moves = self.settings.watch.moves();
        let (generation, turn) = (self.generation.load(SeqCst), self.settings.watch.turns());
        let (began, asked) = (SystemTime::now(), Instant::now());
        let minor = self.minor();
        let guard = (tag == KindTag::Guarded).then_some(("default_transaction_read_only", "on"));
        let wanted = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = wanted.chain(more.iter().copied()).chain(guard).collect();
        let fresh = self.settings.login.run_as(minor, &all).await;
        let fresh = match fresh {
            Ok(fresh) => self.connected(fresh, tag).await,
            Err(error) => Err(error),
        };
        let fresh = fresh
            .and_then(|fresh| fits(fresh, tag))
            .inspect_err(|error| self.note_refusal(error, all.is_empty(), asked))?;
        self.note_let_in();
        let reported = fresh.parameters.iter().find(|(name, _)| name == "default_transaction_read_only");
        let read_only = reported.filter(|_| tag == KindTag::Unguarded).map(|(_, value)| value == "on");
        if parameters.is_empty() && generation == self.generation.load(SeqCst) {
            self.remember_welcome(&fresh, read_only);
        }
        let id = self.settings.socket_ids.fetch_add(1, SeqCst);
        self.opened.fetch_add(1, SeqCst);
        let mut server = Server::new(fresh, permit, id, core, generation, tag, self.seed.clone());
        server.turn = turn;
        server.moves = moves;
        if tag == KindTag::Unguarded {
            self.note(&mut server, began).await;
        }
        if !parameters.is_empty() {
            server.facts.keep_from_clients();
        }
        self.homes().add(&server.facts);
        lines::opened(self, &server, tag, began);
        Ok(AnyConn::opened(server, tag))
    }

    /// Marks one that may write as that of this member of a fleet, and sends connect_query.
    async fn connected(&self, mut fresh: Fresh, tag: KindTag) -> Result<Fresh, LoginError> {
        let query = &self.settings.connect_query;
        let mark = self.settings.ledger.guard().mark().filter(|_| tag == KindTag::Unguarded).map(servers::mark);
        for sql in mark.iter().chain((!query.is_empty()).then_some(query)) {
            let patience = self.settings.login.timeout;
            timeout(patience, fresh.ask(sql, |_| ())).await.map_err(|_| LoginError::Timeout(patience))??;
        }
        Ok(fresh)
    }

    /// Notes one that may write, ahead of its first use, for a later life of this process.
    async fn note(&self, server: &mut Server, began: SystemTime) {
        let login = &self.settings.login;
        let backend = Backend {
            address: login.address.to_string(),
            pid: server.key.0,
            secret: server.key.1.to_vec(),
            user: login.user.to_string(),
            dbname: login.dbname.clone(),
            local: server.facts.local,
            began: (micros(began), micros(SystemTime::now())),
        };
        self.note_backend(server, backend).await;
    }

    /// The same of one that another process has noted.
    pub(in crate::server) async fn note_backend(&self, server: &mut Server, backend: Backend) {
        let (ledger, id) = (self.settings.ledger.clone(), server.id);
        // A server on this machine does not outlive it.
        let ip = |end: Option<std::net::SocketAddr>| end.map(|end| end.ip());
        let elsewhere = ip(server.facts.local) != ip(server.facts.remote);
        server.entry = tokio::task::spawn_blocking(move || ledger.add(id, backend, elsewhere)).await.ok();
    }
}

//! Making a name stand: what has to be sent ahead of a statement that uses it.

use std::collections::HashSet;

use super::{Brought, Use, Way, can_run, runs};
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::prepared::protocol_names::Known;
use crate::client::prepared::result_shape::{has_rows, other_rows};
use crate::protocol::TxStatus;
use crate::server::state::client_names::Stands;
use crate::shared::prepared_statement::server_name;
use crate::sql::SessionEffect;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::{BACK_TO_SAVEPOINT, SAVEPOINT};

impl Session {
    pub(super) fn bring(&mut self, cached: &Cached, way: Way, runs_now: bool) -> Brought {
        let mut seen = HashSet::new();
        let (mut waits, mut shows) = (false, false);
        for (at, one) in cached.analysis.statements.iter().enumerate() {
            for effect in &one.effects {
                let (name, used) = match effect {
                    SessionEffect::Execute(name) => (name, Use::Runs),
                    SessionEffect::Prepare { name, .. } | SessionEffect::Deallocate(Some(name)) if runs_now => {
                        (name, Use::Asks)
                    }
                    SessionEffect::ShowsPrepared => {
                        shows = true;
                        continue;
                    }
                    _ => continue,
                };
                // What comes behind its first use finds what that has made of it.
                if !seen.insert(name) {
                    continue;
                }
                shows |= used == Use::Runs && self.shows_prepared(name);
                match self.bring_name(name, used, way) {
                    Brought::Ready => {}
                    Brought::Waits => waits = true,
                    Brought::Refused(_, report) => return Brought::Refused(at, report),
                }
            }
        }
        let handed_on: Vec<Box<[u8]>> = self.handed_on(cached).map(Box::from).collect();
        for name in handed_on.iter().filter(|name| !seen.contains(name)) {
            // What is wrong with it the function will be told, if it runs it at all.
            waits |= matches!(self.bring_name(name, Use::Runs, way), Brought::Waits);
        }
        if waits {
            return Brought::Waits;
        }
        if shows && runs_now {
            self.bring_all(way);
        }
        let most = (self.account.most_prepared() as usize).max(seen.len());
        while let Some(oldest) = self.lease.server().and_then(|server| server.named.too_many(most)) {
            self.clear_away(&oldest, way);
        }
        Brought::Ready
    }

    pub(super) fn shows_prepared(&self, name: &[u8]) -> bool {
        let known = self.names.known(name);
        let runs = known.as_ref().and_then(runs);
        runs.is_some_and(|(_, one)| one.effects.contains(&SessionEffect::ShowsPrepared))
    }

    /// Makes one name stand for what it is the client's.
    pub(super) fn bring_name(&mut self, name: &[u8], used: Use, way: Way) -> Brought {
        let Some(there) = self.lease.server().map(|server| server.named.get(name)) else { return Brought::Ready };
        let Some(known) = self.names.known(name).filter(|known| used == Use::Asks || can_run(known)) else {
            self.clear_away(name, way);
            return Brought::Ready;
        };
        let failed = self.conversation.names().under_way.as_ref().and_then(|named| named.unstood.as_ref());
        if failed.is_some_and(|(failed, _)| **failed == *name) {
            return Brought::Ready;
        }
        let (wanted, statement) = match &known {
            // It stands where it was made.
            Known::Sql(inner) => match inner.statement() {
                Some(statement) => (Stands::Sql(statement.id), statement.clone()),
                None => return Brought::Ready,
            },
            Known::Protocol(statement) => (Stands::Protocol(statement.id), statement.clone()),
        };
        if used == Use::Asks {
            if there.is_none_or(|there| there == Stands::Unknown) {
                self.clear_away(name, way);
                self.parse_under(name, b"", &[], Stands::Empty, way);
                self.end_own(way);
            }
            return Brought::Ready;
        }
        if there != Some(wanted)
            && let Some(report) = self.cannot_parse_again(name, &statement)
        {
            return Brought::Refused(0, report);
        }
        let asks = runs(&known).is_some_and(|(cached, one)| has_rows(one, &cached.text));
        if there != Some(wanted) {
            self.stand(name, wanted, &statement, way);
            self.ask_shape(name, asks, way);
        }
        if !asks {
            return Brought::Ready;
        }
        let told = self.names.told(name);
        let Some(server) = self.lease.server() else { return Brought::Ready };
        server.named.touch(name);
        match (told, server.named.shape(name)) {
            (None, None) => Brought::Ready,
            (None, Some(now)) => {
                self.names.tell(name, now);
                Brought::Ready
            }
            (Some(told), Some(now)) if told == now => Brought::Ready,
            (Some(_), Some(_)) => {
                if self.under_way_names().renewed.replace(statement.id) == Some(statement.id) {
                    return Brought::Refused(0, other_rows());
                }
                // Which of the two has been overtaken: what the client was told, or what stands on the server?
                self.stand(name, wanted, &statement, way);
                self.ask_shape(name, true, way);
                Brought::Waits
            }
            (Some(_), None) => {
                let asked = |one: &PendingReply| matches!(one.request(), Request::Shape) && one.named() == Some(name);
                if !self.conversation.replies().iter().any(asked) {
                    // Nobody knows since when it stands; asked now, it might fail.
                    self.stand(name, wanted, &statement, way);
                    self.ask_shape(name, true, way);
                }
                Brought::Waits
            }
        }
    }

    /// Makes everything stand that the client has prepared, and nothing else.
    pub(super) fn bring_all(&mut self, way: Way) {
        let Some(server) = self.lease.server() else { return };
        let ids: Vec<u64> = server.prepared.ids().collect();
        let there: Vec<Box<[u8]>> = server.named.names().map(Box::from).collect();
        server.prepared.clear();
        for id in ids {
            self.close_own(server_name(id).as_bytes(), Request::Close(id), None, way);
        }
        for name in there {
            if self.names.known(&name).is_none() {
                self.clear_away(&name, way);
            }
        }
        // In the client's order: `prepare_time` tells of it.
        let mut last = 0;
        for name in self.names.all() {
            let Some(server) = self.lease.server() else { return };
            let there = server.named.get(&name);
            let (wanted, statement) = match self.names.known(&name) {
                Some(Known::Sql(inner)) => match inner.statement() {
                    Some(statement) => (Stands::Sql(statement.id), statement.clone()),
                    None => continue,
                },
                Some(Known::Protocol(statement)) => (Stands::Protocol(statement.id), statement),
                None => continue,
            };
            if there != Some(wanted) || self.nth_on_server(&name) <= last {
                // What cannot be prepared any more must not take the client's block with it. PREPARE is not undone by that.
                let apart = way == Way::Simple && self.conversation.status() == TxStatus::Block;
                if apart {
                    self.send_query(
                        SAVEPOINT.as_bytes(),
                        PendingReply::hidden(Request::Query(None), Visibility::Hidden),
                    );
                }
                self.stand(&name, wanted, &statement, way);
                if apart {
                    self.send_query(
                        BACK_TO_SAVEPOINT.as_bytes(),
                        PendingReply::hidden(Request::Query(None), Visibility::Hidden),
                    );
                }
            }
            last = self.nth_on_server(&name);
        }
        self.end_own(way);
    }

    /// The place of a name in the order in which names were put on the server; 0: it is not there.
    fn nth_on_server(&mut self, name: &[u8]) -> u64 {
        self.lease.server().and_then(|server| server.named.nth(name)).unwrap_or_default()
    }
}

//! Statements under the client's own names: those of SQL's PREPARE, and those of the protocol where SQL asks for them.
//!
//! PREPARE, EXECUTE and DEALLOCATE go to the server as the client wrote them. Ahead of them goes what makes the names that
//! they use stand there for what they are the client's: the PREPARE once more, a Parse, a Close of what is another's. So the
//! server says what it would say to a client that has it for itself, and it is the one that is asked. What stands on a server
//! connection under which name is in [`crate::upstream::named`]; what it is not sure of is closed before it is prepared.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::rc::Rc;

use super::Session;
use super::expect::{Expected, Hide, Proof, What};
use super::input::Handled;
use super::parts::{Part, part_of};
use super::prepared::{Inner, Known};
use super::proof::Doubt;
use super::shape::{OVERTAKEN, has_rows, other_rows};
use crate::hub::Statement as Prepared;
use crate::hub::statement::{NAME_ON_SERVERS, server_name};
use crate::sql::cache::Cached;
use crate::sql::{Kind, Name, SessionEffect, Statement, TransactionVerb};
use crate::upstream::named::Stands;
use crate::wire::frame::Header;
use crate::wire::front::{self, Target};
use crate::wire::{ErrorFields, Report, TxStatus};

const SAVEPOINT: &[u8] = b"SAVEPOINT pgsluice_names";
const BACK_TO_SAVEPOINT: &[u8] = b"ROLLBACK TO SAVEPOINT pgsluice_names; RELEASE SAVEPOINT pgsluice_names";

/// What a client does with names, as far as it concerns the messages under way.
#[derive(Default)]
pub(super) struct UnderWay {
    /// A statement could not be made to stand: its name, and what the server said. That is the answer to whatever asks for it.
    unstood: Option<(Box<[u8]>, Vec<u8>)>,
    /// Names of statements that have just been prepared, and whose rows the server has not been asked for.
    unlearned: Vec<Box<[u8]>>,
    /// The statement that was prepared once more on this server connection, to see what its rows are now.
    pub renewed: Option<u64>,
    /// The block has failed; names are seen to once the message under way has ended it.
    due: bool,
    /// What PREPAREs that are under way make whose EXECUTE is to be refused.
    pub suspected: HashMap<Name, Rc<Inner>>,
}

/// What a statement does with a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It asks whether there is one.
    Asks,
    /// It runs it.
    Runs,
}

/// How it went to make names stand.
enum Brought {
    /// They do, once what was sent is done.
    Ready,
    /// Answers have to come first.
    Waits,
    /// Statement number so much cannot run.
    Refused(usize, Report),
}

/// Whether what is sent goes into the client's batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It does.
    Batch,
    /// Ahead of a simple query, in messages that end by themselves.
    Simple,
    /// Ahead of a simple query that stands in a batch without a Sync: it waits until they have been answered.
    Amid,
}

/// How far the protocol has come with a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Parse, Bind.
    Before,
    Describe,
    Execute,
}

fn uses_names(cached: &Cached) -> bool {
    use SessionEffect as Effect;
    let uses = |effect: &Effect| {
        matches!(
            effect,
            Effect::Prepare { .. } | Effect::Execute(_) | Effect::Deallocate(Some(_)) | Effect::ShowsPrepared
        )
    };
    cached.analysis.statements.iter().any(|one| one.effects.iter().any(uses))
}

/// Whether a text has `EXECUTE name` somewhere, in a constant that is run perhaps.
fn says_execute(text: &[u8], name: &[u8]) -> bool {
    const VERB: &[u8] = b"execute";
    memchr::memchr2_iter(b'x', b'X', text).any(|at| {
        let from = at.saturating_sub(1);
        let rest = text.get(from..).unwrap_or_default();
        let Some((verb, behind)) = rest.split_at_checked(VERB.len()) else { return false };
        let blank = behind.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'"').count();
        let behind = behind.get(blank..).unwrap_or_default();
        verb.eq_ignore_ascii_case(VERB)
            && blank > 0
            && behind.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name))
            && behind.get(name.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
    })
}

/// Whether EXECUTE runs it. PostgreSQL would run any statement that was prepared by protocol; one that is no query would do
/// to the session what only its own text tells.
fn can_run(known: &Known) -> bool {
    match known {
        Known::Sql(_) => true,
        Known::Protocol(statement) => {
            let analysis = &statement.cached.analysis;
            let queries = |one: &Statement| matches!(one.kind, Kind::Read | Kind::Write) && !one.contained;
            !analysis.ambiguous && analysis.single().is_some_and(queries)
        }
    }
}

/// What a name runs, with the text that it stands in.
fn runs(known: &Known) -> Option<(&Cached, &Statement)> {
    match known {
        Known::Sql(inner) => inner.runs().map(|(cached, _, one)| (cached, one)),
        Known::Protocol(statement) => statement.cached.analysis.single().map(|one| (&*statement.cached, one)),
    }
}

impl Session {
    fn under_way_names(&mut self) -> &mut UnderWay {
        self.flow.named.get_or_insert_default()
    }

    /// Makes the names that a simple query uses stand. Some: it has to wait, or has failed.
    pub(super) fn names_for_query(&mut self, header: Header, cached: &Rc<Cached>) -> Option<Handled> {
        let uses = uses_names(cached) || self.hands_on_names(cached);
        if !uses || self.keeps_names() {
            return None;
        }
        // Which names there are is known once everything before has been answered.
        if self.flow.expects.iter().any(|one| one.hide != Hide::All) {
            self.awaits_answers();
            return Some(Handled::Later);
        }
        if self.flow.status == TxStatus::Failed {
            // Nothing can be prepared now; and nothing runs, but behind what ends the block.
            self.under_way_names().due = cached.analysis.statements.len() > 1;
            return None;
        }
        let way = if self.flow.batch { Way::Amid } else { Way::Simple };
        match self.bring(cached, way, true) {
            Brought::Ready if way == Way::Amid && self.awaits_answers() => Some(Handled::Later),
            Brought::Waits if way == Way::Amid => self.awaits_answers().then_some(Handled::Later),
            Brought::Ready => None,
            Brought::Waits => Some(Handled::Later),
            Brought::Refused(at, report) => {
                self.names.forget_unnamed();
                Some(self.poison(header, cached.clone(), at, report))
            }
        }
    }

    /// The parts of a query that first ends a block which has failed: names can be made to stand behind that.
    pub(super) fn parts_around_names(&self, cached: &Cached) -> Option<[Part; 2]> {
        let due = self.flow.named.as_ref().is_some_and(|named| named.due);
        let first = cached.analysis.statements.first().filter(|_| due)?;
        let Kind::Transaction(verb) = &first.kind else { return None };
        if !verb.ends_transaction() && !matches!(verb, TransactionVerb::RollbackTo(_)) {
            return None;
        }
        let (text, cut) = (&cached.text, first.span.end as usize);
        let parts = [part_of(text, 0, cut), part_of(text, cut, text.len())];
        Some(parts.map(|text| Part::Plain(text, Doubt::default())))
    }

    /// A part of a message is about to be sent.
    pub(super) fn names_for_part(&mut self, cached: &Cached) {
        let ended = self.flow.status != TxStatus::Failed;
        if self.flow.named.as_mut().is_some_and(|named| ended && std::mem::take(&mut named.due)) {
            let _ = self.bring(cached, Way::Simple, true);
        }
    }

    /// The same for a message of the extended protocol. Some: it has to wait, or has failed.
    pub(super) fn names_for_batch(&mut self, header: Header, cached: &Cached, stage: Stage) -> Option<Handled> {
        let uses = uses_names(cached) || self.hands_on_names(cached);
        // Of several statements the protocol takes none.
        if !uses || self.keeps_names() || cached.analysis.single().is_none() {
            return None;
        }
        self.flow.batch = true;
        let brought = self.bring(cached, Way::Batch, stage == Stage::Execute);
        // What rows EXECUTE has is asked no sooner.
        if stage == Stage::Before { None } else { self.in_batch(header, brought) }
    }

    /// The same for a Bind or a Describe of a name that was not prepared by protocol.
    pub(super) fn name_for_batch(&mut self, header: Header, name: &[u8]) -> Option<Handled> {
        if self.keeps_names() || name.is_empty() {
            return None;
        }
        self.flow.batch = true;
        match self.bring_name(name, Use::Runs, Way::Batch) {
            Brought::Refused(_, report) => Some(self.fail_with(header, name, report)),
            brought => self.in_batch(header, brought),
        }
    }

    fn in_batch(&mut self, header: Header, brought: Brought) -> Option<Handled> {
        match brought {
            Brought::Ready => None,
            Brought::Waits => self.awaits_answers().then_some(Handled::Later),
            Brought::Refused(_, report) => Some(self.fail_in_place(header, report)),
        }
    }

    /// Names of SQL's PREPARE that a text has an EXECUTE of, for a function that it calls to run.
    fn handed_on<'a>(&'a self, cached: &'a Cached) -> impl Iterator<Item = &'a [u8]> {
        self.names.sql_names().filter(|name| says_execute(&cached.text, name))
    }

    fn hands_on_names(&self, cached: &Cached) -> bool {
        self.handed_on(cached).next().is_some()
    }

    fn bring(&mut self, cached: &Cached, way: Way, runs_now: bool) -> Brought {
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
        let most = self.manner.most_prepared.max(seen.len());
        while let Some(oldest) = self.lease.server().and_then(|server| server.named.too_many(most)) {
            self.clear_away(&oldest, way);
        }
        Brought::Ready
    }

    fn shows_prepared(&self, name: &[u8]) -> bool {
        let known = self.names.known(name);
        let runs = known.as_ref().and_then(runs);
        runs.is_some_and(|(_, one)| one.effects.contains(&SessionEffect::ShowsPrepared))
    }

    /// Makes one name stand for what it is the client's.
    fn bring_name(&mut self, name: &[u8], used: Use, way: Way) -> Brought {
        let Some(there) = self.lease.server().map(|server| server.named.get(name)) else { return Brought::Ready };
        let Some(known) = self.names.known(name).filter(|known| used == Use::Asks || can_run(known)) else {
            self.clear_away(name, way);
            return Brought::Ready;
        };
        let failed = self.flow.named.as_ref().and_then(|named| named.unstood.as_ref());
        if failed.is_some_and(|(failed, _)| **failed == *name) {
            return Brought::Ready;
        }
        let (wanted, statement) = match &known {
            // It stands where it was made.
            Known::Sql(inner) => match &inner.statement {
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
        if let Known::Sql(_) = known
            && there != Some(wanted)
            && let Some(report) = self.reads_otherwise(name, &statement)
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
                let asked = |one: &Expected| matches!(one.what, What::Shape) && one.named.as_deref() == Some(name);
                if !self.flow.expects.iter().any(asked) {
                    self.ask_shape(name, true, way);
                }
                Brought::Waits
            }
        }
    }

    /// The error where a PREPARE would be read otherwise than when the client sent it.
    fn reads_otherwise(&self, name: &[u8], statement: &Prepared) -> Option<Report> {
        let plain = |byte: &u8| byte.is_ascii() && *byte != b'\\';
        if statement.context() == self.lex_context() || statement.cached.text.iter().all(plain) {
            return None;
        }
        let name = String::from_utf8_lossy(name);
        let detail = "It was prepared with another client_encoding or standard_conforming_strings, and its text \
                      would not be read now as it was then.";
        Some(
            Report::error(
                "0A000",
                format!("prepared statement \"{name}\" cannot be moved to another server connection"),
            )
            .with_detail(Some(detail.to_owned())),
        )
    }

    /// Makes everything stand that the client has prepared, and nothing else.
    fn bring_all(&mut self, way: Way) {
        let Some(server) = self.lease.server() else { return };
        let ids: Vec<u64> = server.prepared.ids().collect();
        let there: Vec<Box<[u8]>> = server.named.names().map(Box::from).collect();
        server.prepared.clear();
        for id in ids {
            self.close_own(server_name(id).as_bytes(), What::Close(id), None, way);
        }
        for name in there {
            if self.names.known(&name).is_none() {
                self.clear_away(&name, way);
            }
        }
        let names: Vec<Box<[u8]>> = self.names.all().map(Box::from).collect();
        for name in names {
            let Some(server) = self.lease.server() else { return };
            let there = server.named.get(&name);
            let (wanted, statement) = match self.names.known(&name) {
                Some(Known::Sql(inner)) => match &inner.statement {
                    Some(statement) => (Stands::Sql(statement.id), statement.clone()),
                    None => continue,
                },
                Some(Known::Protocol(statement)) => (Stands::Protocol(statement.id), statement),
                None => continue,
            };
            if there != Some(wanted) {
                // What cannot be prepared any more must not take the client's block with it. PREPARE is not undone by that.
                let apart = way == Way::Simple && self.flow.status == TxStatus::Block;
                if apart {
                    self.send_query(SAVEPOINT, Expected::hidden(What::Query(None), Hide::All));
                }
                self.stand(&name, wanted, &statement, way);
                if apart {
                    self.send_query(BACK_TO_SAVEPOINT, Expected::hidden(What::Query(None), Hide::All));
                }
            }
        }
        self.end_own(way);
    }

    /// Whether what stands under a name that the client does not have is not the client's to close.
    pub(super) fn is_anothers(&mut self, name: &[u8]) -> bool {
        let own = name.starts_with(NAME_ON_SERVERS.as_bytes());
        own || self.lease.server().is_some_and(|server| server.named.get(name).is_some())
    }

    /// Sees to it that nothing stands under a name.
    fn clear_away(&mut self, name: &[u8], way: Way) {
        let Some(server) = self.lease.server() else { return };
        let known = server.named.get(name).is_some();
        server.named.remove(name);
        // A name of pgsluice's own is nobody's.
        let number = name.strip_prefix(NAME_ON_SERVERS.as_bytes()).and_then(|id| str::from_utf8(id).ok());
        let id = number.and_then(|id| u64::from_str_radix(id, 16).ok());
        if let Some(id) = id {
            server.prepared.remove(id);
        }
        if known || id.is_some() {
            self.close_own(name, What::Close(0), Some(name), way);
        }
    }

    fn hide(way: Way) -> Hide {
        match way {
            Way::Batch => Hide::Success,
            Way::Simple | Way::Amid => Hide::All,
        }
    }

    fn expect_named(&mut self, what: What, name: Option<&[u8]>, way: Way) {
        let mut expected = Expected::hidden(what, Self::hide(way));
        expected.named = name.map(Box::from);
        self.expect(expected);
    }

    fn close_own(&mut self, on_server: &[u8], what: What, name: Option<&[u8]>, way: Way) {
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        front::write_target(&mut io.to_server, b'C', Target::Statement(on_server));
        self.expect_named(what, name, way);
    }

    fn parse_under(&mut self, name: &[u8], text: &[u8], oids: &[u8], stands: Stands, way: Way) {
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        front::write_parse(&mut io.to_server, name, text, oids);
        self.expect_named(What::Parse(0), Some(name), way);
        if let Some(server) = self.lease.server() {
            server.named.put(name, stands);
        }
    }

    /// Prepares a statement under a name, in the place of whatever is there.
    fn stand(&mut self, name: &[u8], stands: Stands, statement: &Prepared, way: Way) {
        self.clear_away(name, way);
        let text = &statement.cached.text;
        match (stands, way) {
            (Stands::Sql(_), Way::Simple) => {
                let io = &mut self.io;
                io.from_client.move_ready(&mut io.to_server);
                front::write_query(&mut io.to_server, text);
                self.expect_named(What::Query(None), Some(name), way);
            }
            (Stands::Sql(_), _) => self.run_own_named(text, name, way),
            _ => {
                self.parse_under(name, text, &statement.oids, stands, way);
                // Its error would be the end of what follows, up to a Sync.
                self.end_own(way);
            }
        }
        if let Some(server) = self.lease.server() {
            server.named.put(name, stands);
        }
    }

    /// Runs a PREPARE in the client's batch.
    fn run_own_named(&mut self, text: &[u8], name: &[u8], way: Way) {
        let before = self.flow.expects.len();
        self.run_own(text, Proof::None, None);
        for expected in self.flow.expects.iter_mut().skip(before) {
            expected.hide = Self::hide(way);
            if !matches!(expected.what, What::Bind(_)) {
                expected.named = Some(name.into());
            }
        }
        self.flow.renamed = Some(self.flow.rounds);
    }

    fn ask_shape(&mut self, name: &[u8], asks: bool, way: Way) {
        if !asks {
            return;
        }
        let io = &mut self.io;
        io.from_client.move_ready(&mut io.to_server);
        front::write_target(&mut io.to_server, b'D', Target::Statement(name));
        self.expect_named(What::Shape, Some(name), way);
        self.end_own(way);
    }

    /// Ahead of a simple query, messages of the extended protocol end with a Sync.
    fn end_own(&mut self, way: Way) {
        if way == Way::Simple {
            front::write_sync(&mut self.io.to_server);
            self.expect(Expected::hidden(What::Sync, Hide::All));
        }
    }

    /// What the rows of a statement are that stands under the client's name: the answer has come.
    pub(super) fn note_own_shape(&mut self, shape: NonZeroU64) {
        let Some(Expected { what: What::Shape, named: Some(name), .. }) = self.flow.expects.front() else { return };
        let Some(server) = self.lease.server() else { return };
        let own = match (server.named.get(name), self.names.known(name)) {
            (Some(Stands::Sql(id)), Some(Known::Sql(inner))) => {
                inner.statement.as_ref().is_some_and(|statement| statement.id == id)
            }
            (Some(Stands::Protocol(id)), Some(Known::Protocol(statement))) => statement.id == id,
            _ => false,
        };
        server.named.note_shape(name, shape);
        if own && self.names.told(name).is_none() {
            let name = name.clone();
            self.names.tell(&name, shape);
        }
    }

    /// Asks what the rows are of what has just been prepared, if nothing else is under way.
    pub(super) fn learn_shapes(&mut self) {
        let Some(named) = self.flow.named.as_mut().filter(|named| !named.unlearned.is_empty()) else { return };
        if !self.flow.expects.is_empty() || self.flow.batch || self.flow.status == TxStatus::Failed {
            return;
        }
        let mut asks = false;
        for name in std::mem::take(&mut named.unlearned) {
            let Some(server) = self.lease.server() else { return };
            if server.named.get(&name).is_some() && self.names.told(&name).is_none() {
                let io = &mut self.io;
                io.from_client.move_ready(&mut io.to_server);
                front::write_target(&mut io.to_server, b'D', Target::Statement(&name));
                self.expect_named(What::Shape, Some(&name), Way::Simple);
                asks = true;
            }
        }
        if asks {
            self.end_own(Way::Simple);
        }
    }

    /// A PREPARE has run.
    pub(super) fn note_prepare(&mut self, name: &Name, inner: &Statement, statement: &Statement, text: &[u8]) {
        let context = self.lex_context();
        let mut cached = self.core.verdicts.borrow_mut().get_or_analyze(text, context);
        if cached.analysis.single().is_none() {
            cached = self.core.verdicts.borrow_mut().get_or_analyze(statement.text(text), context);
        }
        let prepared = self.core.statements.get(cached, &[], context, self.path());
        let id = prepared.id;
        let kept = self.names.prepare_sql(name, inner.refusal.clone(), prepared);
        if !kept {
            self.pin(super::pins::Pin::Prepared);
        }
        if let Some(server) = self.lease.server() {
            server.named.put(name, if kept { Stands::Sql(id) } else { Stands::Unknown });
        }
        if kept && has_rows(inner, text) {
            self.under_way_names().unlearned.push(name.clone());
        }
    }

    /// A DEALLOCATE has run.
    pub(super) fn note_deallocate(&mut self, name: &Name) {
        self.names.forget(name);
        if let Some(server) = self.lease.server() {
            server.named.remove(name);
        }
        if self.pins.has(super::pins::Pin::Prepared) && !self.names.lacks_sql() {
            self.pins.remove(super::pins::Pin::Prepared);
        }
    }

    /// An EXECUTE has run: what it ran may have done something to the session.
    pub(super) fn note_executed(&mut self, name: &Name) {
        let Some(known) = self.names.known(name) else { return };
        let Some((cached, one)) = runs(&known) else { return };
        for effect in one.effects.iter().filter(|effect| !matches!(effect, SessionEffect::Execute(_))) {
            self.note_effect(effect, one, &cached.text);
        }
    }

    /// Whether a text runs, by name, what asks for what a sequence last gave.
    pub(super) fn executes_asking(&self, cached: &Cached) -> bool {
        let asks = |effect: &SessionEffect| match effect {
            SessionEffect::Execute(name) => {
                let known = self.names.known(name);
                let runs = known.as_ref().and_then(runs);
                runs.is_some_and(|(_, one)| one.effects.contains(&SessionEffect::AsksSequence))
            }
            _ => false,
        };
        cached.analysis.statements.iter().any(|one| one.effects.iter().any(asks))
    }

    /// What a Bind of a name of SQL's binds: the statement that its PREPARE has in it.
    pub(super) fn prepared_in_sql(&self, name: &[u8]) -> Option<Rc<Prepared>> {
        let (cached, context, inner) = self.names.sql(name)?.runs()?;
        let text = self.core.verdicts.borrow_mut().get_or_analyze(inner.text(&cached.text), context);
        Some(self.core.statements.get(text, &[], context, 0))
    }

    /// Takes in an error of the server's for a message of ours that goes ahead of a simple query. False: it is none.
    pub(super) fn stand_failed(&mut self, body: &[u8]) -> bool {
        let Some(expected) = self.flow.expects.front().filter(|one| one.hide == Hide::All) else { return false };
        let Some(name) = expected.named.clone() else { return false };
        let (asks, simple) = (matches!(expected.what, What::Shape), matches!(expected.what, What::Query(None)));
        if let Some(server) = self.lease.server() {
            server.named.doubt(&name);
        }
        if asks && ErrorFields::new(body).code() == b"0A000" && self.names.told(&name).is_none() {
            // The message that has prepared it has changed the schema too.
            self.names.tell(&name, OVERTAKEN);
        }
        if !asks && !ErrorFields::new(body).is_fatal() {
            self.under_way_names().unstood.get_or_insert((name, body.to_vec()));
        }
        if !simple {
            let skip = self.flow.skip;
            self.skip_to_sync();
            self.flow.skip = skip;
            if self.flow.expects.is_empty() {
                // The batch has failed; what has waited, a simple query, is another transaction's.
                self.flow.batch = false;
                self.end_own(Way::Simple);
            }
        }
        true
    }

    /// What the server said when a statement could not be made to stand, in place of the error that comes of that.
    pub(super) fn unstood(&mut self, code: &[u8]) -> Option<Vec<u8>> {
        let named = self.flow.named.as_mut()?;
        let client = self.flow.expects.front().is_some_and(|one| one.hide != Hide::All);
        if !client || !matches!(code, b"26000" | b"25P02") {
            return None;
        }
        named.unstood.take().map(|(_, body)| body)
    }

    /// The client has its ReadyForQuery.
    pub(super) fn end_names(&mut self) {
        if let Some(named) = &mut self.flow.named {
            (named.unstood, named.renewed, named.due) = (None, None, false);
        }
    }
}

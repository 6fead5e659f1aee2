//! Statements that name what leads to an unseen writer, as far as the catalog tells, are refused in maintenance.
//!
//! Asked again whenever a statement is about to run, apart from its cached verdict: the catalog may have been read, or have
//! changed, since. Where the catalog could not be read, whatever calls what is not PostgreSQL's own is refused.

use super::write_check;
use crate::client::Session;
use crate::client::checkout::lease::Lease;
use crate::protocol::Report;
use crate::routing::{TransactionClass, transaction_class};
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::shared::{Layer, Statement as Prepared};
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::{Found, HiddenWriters, StatementReading};
use crate::sql::write_target::Target;
use crate::sql::{Kind, LexContext, Proven, Reason, Refusal, SessionEffect, Statement, names_in_pieces};

/// The first number that is not PostgreSQL's own.
const FIRST_OF_OTHERS: u32 = 16_384;
impl Session {
    /// The error for a statement that is about to run, if it leads to an unseen writer.
    pub(in crate::client) fn refused_unseen(
        &self,
        cached: &Cached,
        context: LexContext,
        one: &Statement,
    ) -> Option<Report> {
        if let Some(found) = self.spelled_in_pieces(cached, one)
            && !self.is_ours_to_refuse(one)
        {
            return Some(self.refused_by_catalog(found, one.tag));
        }
        if one.tag == "DO" && sets_counting(one.text(&cached.text)) {
            let why = "it sets track_counts, which the check for writes depends on";
            return Some(self.refused_by_catalog(Found::Tainted(None, why.into()), one.tag));
        }
        let known = self.db.catalog.known();
        let unseen = match &**known {
            CatalogState::Known(unseen) if unseen.is_empty_for(self.account.user()) => return None,
            CatalogState::Known(unseen) => unseen,
            CatalogState::Pending => return self.refused_unread(one, "it has not been asked yet"),
            CatalogState::Unknown(why) => return self.refused_unread(one, why),
        };
        if one.refusal == (Refusal::ByPostgres { unless_temporary: false }) {
            return None;
        }
        let under_path = self.under_path(unseen);
        let unseen = under_path.as_ref().unwrap_or(unseen);
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let ambiguous = cached.analysis.ambiguous.then_some(Found::Statement);
        // What was begun over another connection before the flip nobody has read.
        let begun = || {
            self.bindings.pins().is_elsewhere()
                && unseen.goes_on_elsewhere(&StatementReading::new(&analyzer, &cached.text, context, one))
        };
        let found = ambiguous
            .or_else(|| unseen.find(&StatementReading::new(&analyzer, &cached.text, context, one), self.account.user()))
            .or_else(|| begun().then_some(Found::Statement))
            .or_else(|| self.found_in_prepared(unseen, (cached, context, one)))?;
        if self.is_ours_to_refuse(one) && !self.absolves(cached, context, one) {
            // The reader has better words for it.
            return Some(self.refusal(one));
        }
        let plain = one.kind == Kind::Write;
        Some(self.refused_by_catalog(if plain { found.of_statement() } else { found }, one.tag))
    }

    /// The error for a Bind whose values a function is about to run, if they lead to an unseen writer.
    pub(in crate::client) fn refused_unseen_values(&self, prepared: &Prepared, rest: &[u8]) -> Option<Report> {
        let one = prepared.cached.analysis.statements.first()?;
        if !self.lease.in_maintenance() || one.route == Proven::Read {
            return None;
        }
        let setup = self.core.proxy.setup.load();
        let CatalogState::Known(unseen) = &**self.db.catalog.known() else { return None };
        if !unseen.hands_on(&StatementReading::new(&setup.analyzer, &prepared.cached.text, prepared.context(), one)) {
            return None;
        }
        let found = values(rest).find_map(|value| self.found_in_value(unseen, value))?;
        Some(self.refused_by_catalog(found, one.tag))
    }

    /// Whether the values of its Bind may have to be looked at with the gate closed, so that they are needed as a whole.
    pub(in crate::client) fn looks_at_values(&self, prepared: &Prepared) -> bool {
        let Some(one) = prepared.cached.analysis.statements.first().filter(|one| one.route != Proven::Read) else {
            return false;
        };
        match &**self.db.catalog.known() {
            CatalogState::Pending => true,
            CatalogState::Unknown(_) => false,
            CatalogState::Known(unseen) => {
                let setup = self.core.proxy.setup.load();
                unseen.hands_on(&StatementReading::new(&setup.analyzer, &prepared.cached.text, prepared.context(), one))
            }
        }
    }

    /// What a value names that something runs as a text.
    fn found_in_value(&self, unseen: &HiddenWriters, value: &[u8]) -> Option<Found> {
        let setup = self.core.proxy.setup.load();
        let listed = setup.analyzer.list().in_value(value).map(|name| {
            let function = name.bytes().all(|byte| !byte.is_ascii_uppercase());
            if function { Found::Function(name.into()) } else { Found::Statement }
        });
        listed.or_else(|| unseen.find_in_value(&setup.analyzer, value, self.account.user()))
    }

    /// What a statement may put together of its own constants and run.
    fn spelled_in_pieces(&self, cached: &Cached, one: &Statement) -> Option<Found> {
        if matches!(one.kind, Kind::Transaction(_)) || one.route == Proven::Read {
            return None;
        }
        let setup = self.core.proxy.setup.load();
        let (list, text) = (setup.analyzer.list(), one.text(&cached.text));
        let name = if one.tag == "DO" { list.in_pieces(text) } else { None };
        let name = name.or_else(|| list.in_several_constants(text))?;
        let function = name.bytes().all(|byte| !byte.is_ascii_uppercase());
        Some(if function { Found::Function(name.into()) } else { Found::Statement })
    }

    /// The same for a statement of the extended protocol, by what its parameters are too.
    pub(in crate::client) fn refused_unseen_prepared(&self, prepared: &Prepared) -> Option<Report> {
        if !self.lease.in_maintenance() {
            return None;
        }
        let one = prepared.cached.analysis.statements.first()?;
        if let CatalogState::Known(unseen) = &**self.db.catalog.known()
            && unseen.types(&prepared.oids)
        {
            return Some(self.refused_by_catalog(Found::Statement, one.tag));
        }
        self.refused_unseen(&prepared.cached, prepared.context(), one)
    }

    /// The same for a statement that is only read: the server makes values of its constants then, and checks those of domains.
    pub(in crate::client) fn refused_unseen_parse(&self, prepared: &Prepared) -> Option<Report> {
        if !self.lease.in_maintenance() {
            return None;
        }
        let known = self.db.catalog.known();
        let CatalogState::Known(unseen) = &**known else { return None };
        let under_path = self.under_path(unseen);
        let unseen = under_path.as_ref().unwrap_or(unseen);
        let cached = &prepared.cached;
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let find = |one| {
            Some((unseen.find_type(&StatementReading::new(&analyzer, &cached.text, prepared.context(), one))?, one.tag))
        };
        let (found, tag) = cached.analysis.statements.iter().find_map(find)?;
        Some(self.refused_by_catalog(found, tag))
    }

    /// The same for the Bind of a name that only the server, or SQL-level PREPARE, knows.
    pub(in crate::client) fn refused_unseen_bind(&self, name: &[u8]) -> Option<Report> {
        if !self.lease.in_maintenance() {
            return None;
        }
        match &**self.db.catalog.known() {
            CatalogState::Known(unseen) if unseen.is_empty_for(self.account.user()) => None,
            CatalogState::Known(unseen) => {
                self.found_by_name(unseen, name).map(|found| self.refused_by_catalog(found, "EXECUTE"))
            }
            CatalogState::Pending | CatalogState::Unknown(_) => {
                self.names.sql(name).is_some().then(|| self.refused_by_catalog(Found::Statement, "EXECUTE"))
            }
        }
    }

    /// The same for a function-call message of that function, with these arguments behind its number.
    pub(in crate::client) fn refused_unseen_call(&self, oid: u32, arguments: &[u8]) -> Option<Report> {
        let found = match &**self.db.catalog.known() {
            CatalogState::Known(unseen) => {
                let tainted = || Some(Found::Function(unseen.function(oid, self.account.user())?.into()));
                let runs = unseen.is_handed_text(oid);
                let in_values = || values(arguments).find_map(|value| self.found_in_value(unseen, value));
                tainted().or_else(|| in_values().filter(|_| runs))?
            }
            CatalogState::Pending | CatalogState::Unknown(_) if oid >= FIRST_OF_OTHERS => {
                Found::Function("function".into())
            }
            _ => return None,
        };
        Some(self.refused_by_catalog(found, "function call"))
    }

    /// Whether cursors that are open at the flip could run something of the kind when they are fetched from.
    pub(in crate::client) fn distrusts_cursors(&self) -> bool {
        !matches!(&**self.db.catalog.known(), CatalogState::Known(unseen) if !unseen.distrusts_cursors_of(self.account.user()))
    }

    /// What an EXECUTE runs, with what it is given.
    fn found_in_prepared(
        &self,
        unseen: &HiddenWriters,
        (cached, context, one): (&Cached, LexContext, &Statement),
    ) -> Option<Found> {
        let given = |name: &[u8]| {
            let analyzer = self.core.proxy.setup.load().analyzer.clone();
            let hands_on = self.hands_on_what_it_is_given(unseen, name);
            hands_on
                .then(|| {
                    unseen
                        .find_handed(&StatementReading::new(&analyzer, &cached.text, context, one), self.account.user())
                })
                .flatten()
        };
        one.effects.iter().find_map(|effect| match effect {
            SessionEffect::Execute(name) => self.found_by_name(unseen, name).or_else(|| given(name)),
            _ => None,
        })
    }

    /// Whether a prepared statement hands what it is given to something that runs it, as far as that is known.
    fn hands_on_what_it_is_given(&self, unseen: &HiddenWriters, name: &[u8]) -> bool {
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let suspected = self.conversation.names().suspected().and_then(|all| all.get(name));
        if let Some(inner) = suspected.or_else(|| self.names.sql(name)) {
            let runs = inner.runs();
            return runs.is_none_or(|(cached, context, one)| {
                unseen.hands_on(&StatementReading::new(&analyzer, &cached.text, context, one))
            });
        }
        self.names.statement(name).is_none_or(|statement| {
            let cached = &statement.cached;
            let hands_on =
                |one| unseen.hands_on(&StatementReading::new(&analyzer, &cached.text, statement.context(), one));
            cached.analysis.single().is_none_or(hands_on)
        })
    }

    fn found_by_name(&self, unseen: &HiddenWriters, name: &[u8]) -> Option<Found> {
        let suspected = self.conversation.names().suspected().and_then(|all| all.get(name));
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        if let Some(inner) = suspected.or_else(|| self.names.sql(name)) {
            let Some((cached, context, one)) = inner.runs() else { return Some(Found::Statement) };
            return unseen.find(&StatementReading::new(&analyzer, &cached.text, context, one), self.account.user());
        }
        let Some(statement) = self.names.statement(name).filter(|_| !name.is_empty()) else {
            // On a connection that was this session's before the flip a function may have prepared it.
            let may_lead_there = unseen.distrusts_cursors_of(self.account.user());
            return (may_lead_there && matches!(self.lease, Lease::InPlace { .. })).then_some(Found::Statement);
        };
        let cached = &statement.cached;
        let found = || {
            unseen.find(
                &StatementReading::new(&analyzer, &cached.text, statement.context(), cached.analysis.single()?),
                self.account.user(),
            )
        };
        if unseen.types(&statement.oids) { Some(Found::Statement) } else { found() }
    }

    fn refused_by_catalog(&self, found: Found, tag: &str) -> Report {
        let mut report = self.refused(found.message(tag));
        if let Some(why) = found.why() {
            report.detail = Some(with_line(report.detail, &format!("What it names leads to an unseen writer: {why}.")));
        }
        report.counted = true;
        self.count_layer(Layer::Catalog);
        report
    }

    /// Nobody knows what the functions of this database lead to.
    fn refused_unread(&self, one: &Statement, why: &str) -> Option<Report> {
        if !write_check::calls_unknown(one) {
            return None;
        }
        let mut report = self.refused_by_catalog(Found::Statement, one.tag);
        let what = format!("What its functions lead to could not be read from the catalog: {why}.");
        report.detail = Some(with_line(report.detail, &what));
        Some(report)
    }

    /// Whether what the reader refuses in a statement only has the name of an extension's function.
    pub(in crate::client) fn absolves(&self, cached: &Cached, context: LexContext, one: &Statement) -> bool {
        let by_name = matches!(one.refusal, Refusal::ByPgsluice(Reason::Function { .. }));
        let known = self.db.catalog.known();
        let CatalogState::Known(unseen) = &**known else { return false };
        by_name && {
            let analyzer = self.core.proxy.setup.load().analyzer.clone();
            unseen.absolves(&StatementReading::new(&analyzer, &cached.text, context, one))
        }
    }

    /// Whether the catalog could say that a function so named is no extension's.
    pub(in crate::client) fn may_be_namesake(&self, refusal: &Refusal) -> bool {
        let Refusal::ByPgsluice(Reason::Function { name, .. }) = refusal else { return false };
        matches!(&**self.db.catalog.known(), CatalogState::Known(unseen) if unseen.has_namesake(name))
    }

    /// What a text tells about the transaction that it begins, with what the catalog says of what it names.
    #[inline]
    pub(in crate::client) fn class_of(&self, cached: &Cached, context: LexContext) -> TransactionClass {
        match transaction_class(&cached.analysis) {
            TransactionClass::Read if self.db.catalog.routes() && self.needs_primary(cached, context) => {
                TransactionClass::Any
            }
            nature => nature,
        }
    }

    /// Whether it names what must not run on a replica; it is read once for each reading of the catalog.
    pub(in crate::client) fn needs_primary(&self, cached: &Cached, context: LexContext) -> bool {
        let reading = self.db.catalog.reading();
        let (number, known) = cached.known_primary();
        if number == reading.number {
            return known;
        }
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let names = |one| reading.routing.needs_primary(&StatementReading::new(&analyzer, &cached.text, context, one));
        let primary = cached.analysis.statements.iter().any(names);
        cached.note_primary(reading.number, primary);
        primary
    }

    /// Whether a write that a rule allows changes nothing but its own table, as far as the catalog tells.
    pub(in crate::client) fn writes_alone(&self, cached: &Cached, one: &Statement, target: &Target) -> bool {
        let known = self.db.catalog.known();
        let CatalogState::Known(unseen) = &**known else { return false };
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        unseen.writes_alone(&analyzer, &cached.text, one, target)
    }
}

/// Whether a block names the setting that the check for writes depends on, and may do more than read it.
fn sets_counting(text: &[u8]) -> bool {
    let runs = ["set", "execute"].iter().any(|word| names_in_pieces(text, word.as_bytes()));
    names_in_pieces(text, b"track_counts") && runs
}

/// The values of a Bind, from its formats on; those that are not NULL.
fn values(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let behind = || {
        let (formats, behind) = rest.split_first_chunk::<2>()?;
        let behind = behind.get(2 * usize::from(u16::from_be_bytes(*formats))..)?;
        behind.split_first_chunk::<2>().map(|(count, behind)| (u16::from_be_bytes(*count), behind))
    };
    let (mut left, mut behind) = behind().unwrap_or_default();
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (length, rest) = behind.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, rest) = rest.split_at_checked(length)?;
        behind = rest;
        Some(value)
    })
}

/// One more line of DETAIL.
fn with_line(detail: Option<String>, line: &str) -> String {
    detail.map_or_else(|| line.to_owned(), |detail| format!("{detail}\n{line}"))
}

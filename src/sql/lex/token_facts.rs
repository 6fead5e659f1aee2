//! One pass over the tokens of a statement that gathers what can be known without its grammar: where it ends, what it
//! calls, whether it locks, writes in a WITH or makes a table by INTO. Parentheses are counted, never recursed into;
//! what must be remembered per level lies in one bit for each of the first 64.

use super::keyword::Keyword;
use super::lexer::{Lexer, Shape, Token};
use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::function_calls;
use crate::sql::classify::function_calls::Calls;

/// FOR UPDATE and its like.
#[derive(Clone, Copy, Debug)]
pub(in crate::sql) struct RowLock {
    pub tag: &'static str,
    /// A table is named in the FROM of the same level, so there is something to lock.
    pub certain: bool,
    depth: u32,
}

/// What one pass over a statement found.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(in crate::sql) struct Facts {
    /// The first tokens.
    pub head: [Token; 4],
    /// First token that is no opening parenthesis.
    pub lead: Token,
    /// End of the last token.
    pub end: u32,
    pub tokens: u32,
    /// The verb after the WITH that begins the statement.
    pub main: Keyword,
    pub calls: Calls,
    /// A WITH has a part that writes.
    pub modifying: bool,
    /// A WHEN of a MERGE inserts, updates or deletes; one that does nothing needs no permission to write.
    pub merges: bool,
    /// SELECT INTO; whether temporary.
    pub into: Option<bool>,
    pub lock: Option<RowLock>,
    /// Names a relation whose content is that of one server or one session.
    pub local: bool,
    /// Names what shows server processes by their ids.
    pub shows_processes: bool,
    /// Writes `pg_temp` somewhere.
    pub temp_schema: bool,
    /// Names the view of settings.
    pub settings_view: bool,
    /// Has the word UPDATE.
    pub updates: bool,
    /// Names the view of prepared statements, or the function behind it.
    pub shows_prepared: bool,
    /// Too deep for the bits, or parentheses that do not match: nothing is proven.
    pub unsure: bool,
    /// A semicolon ended it.
    pub terminated: bool,
}

impl Facts {
    /// Whether it may change settings by the view that shows them, which has a rule for that.
    pub fn updates_settings(&self) -> bool {
        self.settings_view && self.updates
    }
}

/// Relations and schemas whose content is local to a server or a backend, by prefix.
const LOCAL_PREFIXES: [&[u8]; 16] = [
    b"pg_available_",
    b"pg_backend_memory",
    b"pg_config",
    b"pg_cursors",
    b"pg_file_settings",
    b"pg_hba_file",
    b"pg_ident_file",
    b"pg_locks",
    b"pg_prepared_",
    b"pg_replication_",
    b"pg_sequence",
    b"pg_settings",
    b"pg_shmem",
    b"pg_stat",
    b"pg_temp",
    b"pg_aios",
];

/// Columns of a sequence: a replica is told of values that nobody has drawn yet.
const OF_SEQUENCES: [&[u8]; 3] = [b"last_value", b"log_cnt", b"is_called"];

/// Whether a name is most likely that of a sequence, or of its columns.
fn is_of_sequence(name: &[u8]) -> bool {
    let ends = name.len().checked_sub(4).and_then(|at| name.get(at..));
    ends.is_some_and(|end| end.eq_ignore_ascii_case(b"_seq"))
        || OF_SEQUENCES.iter().any(|column| column.eq_ignore_ascii_case(name))
}

/// Relations and functions that show server processes by their ids, by prefix.
const PROCESSES: [&[u8]; 4] = [b"pg_locks", b"pg_stat_activity", b"pg_stat_get_activity", b"pg_stat_get_backend"];

fn is_set_op(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::Union | Keyword::Intersect | Keyword::Except | Keyword::All | Keyword::Distinct)
}

#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Scan {
    facts: Facts,
    /// The last four tokens, youngest first.
    before: [Token; 4],
    depth: u32,
    /// Levels between a WITH and its main verb.
    with: u64,
    /// Levels with a SELECT.
    select: u64,
    /// Levels that name a table after FROM or JOIN.
    from: u64,
    /// Inside the name after FROM or JOIN.
    from_name: bool,
    /// Behind GROUP BY.
    grouped: bool,
    /// Levels with DISTINCT ON.
    distinct_on: u64,
    has_with: bool,
    /// Open `BEGIN ATOMIC` bodies.
    bodies: u32,
    /// The statement is CREATE FUNCTION or PROCEDURE.
    routine: bool,
    /// First word of the current statement inside a body.
    body_lead: Keyword,
}

/// Reads one statement. An empty one has no tokens.
pub(in crate::sql) fn scan(lexer: &mut Lexer, scope: Scope<'_>) -> Facts {
    let mut scan = Scan {
        facts: Facts {
            head: [Token::NONE; 4],
            lead: Token::NONE,
            end: 0,
            tokens: 0,
            main: Keyword::None,
            calls: Calls::default(),
            modifying: false,
            merges: false,
            into: None,
            lock: None,
            local: false,
            shows_processes: false,
            temp_schema: false,
            settings_view: false,
            updates: false,
            shows_prepared: false,
            unsure: false,
            terminated: false,
        },
        before: [Token::NONE; 4],
        depth: 0,
        with: 0,
        select: 0,
        from: 0,
        from_name: false,
        grouped: false,
        distinct_on: 0,
        has_with: false,
        bodies: 0,
        routine: false,
        body_lead: Keyword::None,
    };
    loop {
        let token = lexer.step();
        match token.shape {
            Shape::End => break,
            Shape::Punct(b';') if scan.depth == 0 && scan.bodies == 0 => {
                scan.facts.terminated = true;
                break;
            }
            _ => scan.token(token, lexer, scope),
        }
    }
    scan.facts.unsure |= scan.depth != 0 || scan.bodies != 0 || lexer.broken;
    scan.facts
}

impl Scan {
    #[inline]
    fn bit(&self) -> u64 {
        1u64.checked_shl(self.depth).unwrap_or(0)
    }

    #[inline(always)]
    fn token(&mut self, token: Token, lexer: &Lexer, scope: Scope<'_>) {
        let [prev, prev2, ..] = self.before;
        match token.shape {
            Shape::Word => {
                self.name(token);
                if token.keyword == Keyword::None {
                    self.local_name(token.text(lexer.text()));
                } else if !prev.is(b'.') {
                    // Behind a dot every word is a name.
                    self.keyword(token);
                }
            }
            Shape::Quoted | Shape::UnicodeQuoted => {
                self.name(token);
                // Only what may begin with `pg_` is worth undoing its quotes.
                let raw = token.text(lexer.text());
                if token.shape != Shape::Quoted || raw.get(1) == Some(&b'p') {
                    self.local_name(&super::literal::name(token, lexer.text()));
                }
            }
            Shape::Punct(b'(') => {
                if prev.is_name() && (prev.shape != Shape::Word || self.calls(prev)) {
                    function_calls::call(&mut self.facts.calls, &self.before, lexer, scope);
                }
                if self.from_name {
                    self.from &= !self.bit();
                }
                self.from_name = false;
                if prev.keyword == Keyword::On && prev2.keyword == Keyword::Distinct {
                    self.distinct_on |= self.bit();
                }
                // `WITH … (SELECT …)`: nothing else can stand in these parentheses.
                if prev.is(b')') && self.with & self.bit() != 0 {
                    self.with &= !self.bit();
                    if self.depth == 0 {
                        self.facts.main = Keyword::Select;
                    }
                }
                self.depth += 1;
                let fresh = !self.bit();
                self.with &= fresh;
                self.select &= fresh;
                self.from &= fresh;
                self.distinct_on &= fresh;
                self.facts.unsure |= self.depth >= 64;
            }
            Shape::Punct(b')') => {
                self.from_name = false;
                match self.depth.checked_sub(1) {
                    Some(depth) => self.depth = depth,
                    None => self.facts.unsure = true,
                }
            }
            Shape::Punct(b'.') => {}
            _ => self.from_name = false,
        }
        if self.bodies > 0 && self.depth == 0 && (prev.is(b';') || prev.keyword == Keyword::Atomic) {
            self.body_lead = token.keyword;
        }
        // A field of an expression may be a function: `(1).lo_creat` calls it.
        if token.is_name() && prev.is(b'.') && (prev2.is(b')') || prev2.is(b']') || prev2.shape == Shape::Param) {
            function_calls::field(&mut self.facts.calls, token, lexer, scope);
        }
        if let Some(slot) = self.facts.head.get_mut(self.facts.tokens as usize) {
            *slot = token;
        }
        if self.facts.lead.shape == Shape::End && !token.is(b'(') {
            self.facts.lead = token;
        }
        self.facts.tokens += 1;
        self.facts.end = token.end;
        let [a, b, c, _] = self.before;
        self.before = [token, a, b, c];
    }

    /// Whether a word with a parenthesis behind it is a call.
    #[inline]
    fn calls(&self, word: Token) -> bool {
        let [_, prev, prev2, _] = self.before;
        match word.keyword {
            // `GROUP BY a, rollup(b)`
            Keyword::Rollup | Keyword::Cube if self.grouped => false,
            // `SELECT DISTINCT ON (a) filter(b)`
            Keyword::Filter | Keyword::Over if self.distinct_on & self.bit() != 0 => true,
            keyword => keyword.calls([prev, prev2]),
        }
    }

    /// A word or quoted name that may be the table after FROM.
    #[inline]
    fn name(&mut self, token: Token) {
        let prev = self.before[0];
        if matches!(prev.keyword, Keyword::From | Keyword::Join | Keyword::Only) && token.keyword.names() {
            self.from |= self.bit();
            self.from_name = true;
        } else if !prev.is(b'.') {
            self.from_name = false;
        }
    }

    #[inline]
    fn local_name(&mut self, name: &[u8]) {
        let starts = |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
        if is_of_sequence(name) {
            self.facts.local = true;
            self.facts.calls.primary_only = true;
        }
        if !starts(b"pg_") {
            return;
        }
        self.facts.local |= LOCAL_PREFIXES.iter().any(|prefix| starts(prefix));
        self.facts.temp_schema |= starts(b"pg_temp");
        self.facts.shows_processes |= PROCESSES.iter().any(|prefix| starts(prefix));
        self.facts.settings_view |= starts(b"pg_settings");
        self.facts.shows_prepared |= starts(b"pg_prepared_statement");
        if self.facts.temp_schema && self.before[0].keyword == Keyword::Into && self.facts.into.is_some() {
            self.facts.into = Some(true);
        }
    }

    fn keyword(&mut self, token: Token) {
        let [prev, prev2, prev3, _] = self.before;
        let opens = prev.shape == Shape::End || prev.is(b'(');
        match token.keyword {
            Keyword::Select | Keyword::Values => {
                self.verb(token);
                self.select |= self.bit();
                // Each arm of a UNION has a FROM of its own.
                self.from &= !self.bit();
                self.grouped = false;
            }
            Keyword::By => self.grouped |= prev.keyword == Keyword::Group,
            Keyword::Having
            | Keyword::Window
            | Keyword::Union
            | Keyword::Intersect
            | Keyword::Except
            | Keyword::Order
            | Keyword::Limit
            | Keyword::Offset
            | Keyword::Fetch => self.grouped = false,
            Keyword::Table => {
                self.verb(token);
                if opens || is_set_op(prev.keyword) {
                    self.select |= self.bit();
                    self.from |= self.bit();
                }
            }
            Keyword::With if opens => {
                self.with |= self.bit();
                self.has_with = true;
            }
            Keyword::Insert | Keyword::Delete | Keyword::Merge => self.verb(token),
            Keyword::Update => {
                self.facts.updates = true;
                self.verb(token);
                match (prev.keyword, prev2.keyword, prev3.keyword) {
                    (Keyword::For, ..) => self.lock("SELECT FOR UPDATE"),
                    (Keyword::Key, Keyword::No, Keyword::For) => self.lock("SELECT FOR NO KEY UPDATE"),
                    _ => {}
                }
            }
            Keyword::Share => match (prev.keyword, prev2.keyword) {
                (Keyword::For, _) => self.lock("SELECT FOR SHARE"),
                (Keyword::Key, Keyword::For) => self.lock("SELECT FOR KEY SHARE"),
                _ => {}
            },
            // INSERT INTO stands before its SELECT; behind one, INSERT is the name of a column.
            Keyword::Into if self.select & self.bit() != 0 => {
                self.facts.into.get_or_insert(false);
            }
            Keyword::Temp | Keyword::Temporary
                if self.facts.into.is_some()
                    && matches!(prev.keyword, Keyword::Into | Keyword::Local | Keyword::Global) =>
            {
                self.facts.into = Some(true);
            }
            Keyword::Function | Keyword::Procedure => {
                let words = self.facts.head.map(|t| t.keyword);
                self.routine |= match self.facts.tokens {
                    1 => words[0] == Keyword::Create,
                    3 => words[..3] == [Keyword::Create, Keyword::Or, Keyword::Replace],
                    _ => false,
                };
            }
            Keyword::Atomic if prev.keyword == Keyword::Begin && self.depth == 0 => {
                let nested = self.bodies > 0 && self.body_lead == Keyword::Create;
                self.bodies += u32::from(nested || (self.bodies == 0 && self.routine));
            }
            Keyword::End if self.bodies > 0 && self.depth == 0 => {
                self.bodies -= u32::from(prev.is(b';') || prev.keyword == Keyword::Atomic);
            }
            _ => {}
        }
    }

    /// A word that may be the verb of its level.
    fn verb(&mut self, token: Token) {
        let [prev, prev2, ..] = self.before;
        let writes = !matches!(token.keyword, Keyword::Select | Keyword::Values | Keyword::Table);
        if writes && self.has_with && prev.is(b'(') && matches!(prev2.keyword, Keyword::As | Keyword::Materialized) {
            self.facts.modifying = true;
        }
        self.facts.merges |= writes && prev.keyword == Keyword::Then;
        let after_list = prev.is(b')')
            || prev.is_name()
                && !matches!(
                    prev.keyword,
                    Keyword::With
                        | Keyword::Recursive
                        | Keyword::Set
                        | Keyword::By
                        | Keyword::Using
                        | Keyword::To
                        | Keyword::Default
                        | Keyword::For
                        | Keyword::Key
                );
        if self.with & self.bit() != 0 && after_list {
            self.with &= !self.bit();
            if self.depth == 0 {
                self.facts.main = token.keyword;
            } else {
                self.facts.modifying |= writes;
            }
        }
    }

    fn lock(&mut self, tag: &'static str) {
        let bit = self.bit();
        if self.select & bit == 0 && self.depth < 64 {
            return;
        }
        let certain = self.from & bit != 0 && !self.has_with;
        match &mut self.facts.lock {
            Some(first) if first.depth <= self.depth => first.certain |= certain,
            slot => {
                let certain = certain || slot.is_some_and(|inner| inner.certain);
                *slot = Some(RowLock { tag, certain, depth: self.depth });
            }
        }
    }
}

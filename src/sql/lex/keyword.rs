//! The words the classifier looks at, found by one hash and one comparison.
//!
//! This is not PostgreSQL's keyword list: only words that decide something are here. [`Keyword::names`] and
//! [`Keyword::calls`] tell those that may still be names.

use super::lexer::Token;

/// A word without its case: its first and last eight bytes with bit 5 set. Among the bytes an identifier can have,
/// two words of the same length up to sixteen are equal but for ASCII case just when these are equal.
#[inline]
const fn caseless(word: &[u8]) -> (u64, u64) {
    let (a, b) = if let (Some(a), Some(b)) = (word.first_chunk::<8>(), word.last_chunk::<8>()) {
        (u64::from_le_bytes(*a), u64::from_le_bytes(*b))
    } else if let (Some(a), Some(b)) = (word.first_chunk::<4>(), word.last_chunk::<4>()) {
        (u32::from_le_bytes(*a) as u64, u32::from_le_bytes(*b) as u64)
    } else {
        match word {
            [a] => (*a as u64, 0),
            [a, b] => (*a as u64 | (*b as u64) << 8, 0),
            [a, b, c] => (*a as u64 | (*b as u64) << 8 | (*c as u64) << 16, 0),
            _ => (0, 0),
        }
    };
    (a | BIT_5, b | BIT_5)
}

const BIT_5: u64 = 0x2020_2020_2020_2020;

#[inline]
const fn mix((a, b): (u64, u64), len: usize) -> u32 {
    let x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let x = x ^ (len as u64).wrapping_mul(0x1656_67b1_9e37_79f9);
    (x >> 40) as u32 ^ (x >> 17) as u32
}

/// Hash of a word that ignores ASCII case; the tables of this layer are built with it at compile time.
pub(in crate::sql) const fn word_hash(word: &[u8]) -> u32 {
    mix(caseless(word), word.len())
}

/// What a word can be, without quotes, but for what it is there for (PostgreSQL documentation, appendix C).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    /// A name, a function's too: it is not reserved.
    Name,
    /// The same, where it does not open its clause.
    Clause,
    /// A name, but no function's.
    Column,
    /// A function's name, where it is no operator and no join, and no other.
    Operator,
    /// No name.
    Reserved,
}

macro_rules! keywords {
    ($($name:ident $text:literal $used:ident,)*) => {
        /// A word that decides something; `None` for every other identifier.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        #[allow(missing_docs)]
        pub enum Keyword { None, $($name,)* }

        const ALL: &[(Keyword, &str, Used)] =
            &[(Keyword::None, "", Used::Name), $((Keyword::$name, $text, Used::$used),)*];
    };
}

keywords! {
    Abort "abort" Name, Access "access" Name, After "after" Name, Aggregate "aggregate" Name, All "all" Reserved,
    Alter "alter" Name, Analyse "analyse" Reserved, Analyze "analyze" Reserved, And "and" Reserved, Any "any" Reserved,
    Array "array" Reserved, As "as" Reserved, Asc "asc" Reserved, At "at" Name, Atomic "atomic" Name,
    Authorization "authorization" Operator, Begin "begin" Name, Between "between" Column, Bigint "bigint" Column,
    Bernoulli "bernoulli" Clause, Binary "binary" Operator, Bit "bit" Column, By "by" Clause, Call "call" Name,
    Case "case" Reserved, Cast "cast" Reserved, Chain "chain" Name, Char "char" Column, Character "character" Column,
    Characteristics "characteristics" Name, Checkpoint "checkpoint" Name, Class "class" Name, Close "close" Name,
    Cluster "cluster" Name, Coalesce "coalesce" Column, Collate "collate" Reserved, Collation "collation" Name,
    Comment "comment" Name, Commit "commit" Name, Committed "committed" Name, Configuration "configuration" Name,
    Constraint "constraint" Reserved, Constraints "constraints" Name, Conversion "conversion" Name, Copy "copy" Name,
    Create "create" Reserved, Cross "cross" Operator, Cube "cube" Clause, Current "current" Name,
    CurrentTime "current_time" Reserved, CurrentTimestamp "current_timestamp" Reserved, Cursor "cursor" Name,
    Data "data" Name, Database "database" Name, Deallocate "deallocate" Name, Dec "dec" Column,
    Decimal "decimal" Column, Declare "declare" Name, Default "default" Reserved, Deferrable "deferrable" Reserved,
    Delete "delete" Name, Desc "desc" Reserved, Dictionary "dictionary" Name, Discard "discard" Name,
    Distinct "distinct" Reserved, Do "do" Reserved, Domain "domain" Name, Drop "drop" Name, Else "else" Reserved,
    End "end" Reserved, Event "event" Name, Except "except" Reserved, Execute "execute" Name, Exists "exists" Column,
    Explain "explain" Name, Extension "extension" Name, Extract "extract" Column, False "false" Reserved,
    Family "family" Name, Fetch "fetch" Reserved, Filter "filter" Clause, Float "float" Column, For "for" Reserved,
    Foreign "foreign" Reserved, From "from" Reserved, Full "full" Operator, Function "function" Name,
    Global "global" Name, Grant "grant" Reserved, Greatest "greatest" Column, Group "group" Reserved,
    Grouping "grouping" Column, Handler "handler" Name, Having "having" Reserved, Hold "hold" Name, If "if" Name,
    Ilike "ilike" Operator, Import "import" Name, In "in" Reserved, Index "index" Name, Inner "inner" Operator,
    Insert "insert" Name, Int "int" Column, Intersect "intersect" Reserved, Interval "interval" Column,
    Into "into" Reserved, Is "is" Operator, Isnull "isnull" Operator, Isolation "isolation" Name, Join "join" Operator,
    Key "key" Name, Label "label" Name, Language "language" Name, Large "large" Name, Lateral "lateral" Reserved,
    Least "least" Column, Left "left" Name, Level "level" Name, Like "like" Operator, Limit "limit" Reserved,
    Listen "listen" Name, Load "load" Name, Local "local" Name, Localtime "localtime" Reserved,
    Localtimestamp "localtimestamp" Reserved, Lock "lock" Name, Mapping "mapping" Name,
    Materialized "materialized" Clause, Merge "merge" Name, Method "method" Name, Mode "mode" Name, Move "move" Name,
    Names "names" Name, Natural "natural" Operator, Nchar "nchar" Column, No "no" Name, Normalize "normalize" Column,
    Not "not" Reserved, Notify "notify" Name, Notnull "notnull" Operator, Null "null" Reserved, Nullif "nullif" Column,
    Numeric "numeric" Column, Object "object" Name, Off "off" Name, Offset "offset" Reserved, On "on" Reserved,
    Only "only" Reserved, Operator "operator" Name, Option "option" Name, Or "or" Reserved, Order "order" Reserved,
    Outer "outer" Operator, Over "over" Clause, Overlay "overlay" Column, Owned "owned" Name, Parser "parser" Name,
    Partition "partition" Name, Plans "plans" Name, Policy "policy" Name, Position "position" Column,
    Prepare "prepare" Name, Prepared "prepared" Name, Privileges "privileges" Name, Procedural "procedural" Name,
    Procedure "procedure" Name, Program "program" Name, Publication "publication" Name, Read "read" Name,
    Reassign "reassign" Name, Recursive "recursive" Name, Refresh "refresh" Name, Reindex "reindex" Name,
    Release "release" Name, Repack "repack" Name, Repeatable "repeatable" Clause, Replace "replace" Name,
    Reset "reset" Name, Returning "returning" Reserved, Revoke "revoke" Name, Right "right" Name, Role "role" Name,
    Rollback "rollback" Name, Rollup "rollup" Clause, Routine "routine" Name, Row "row" Column, Rows "rows" Clause,
    Rule "rule" Name, Savepoint "savepoint" Name, Schema "schema" Name, Schemas "schemas" Name,
    Security "security" Name, Select "select" Reserved, Sequence "sequence" Name, Sequences "sequences" Name,
    Serializable "serializable" Name, Server "server" Name, Session "session" Name, Set "set" Name, Sets "sets" Clause,
    Share "share" Name, Show "show" Name, Similar "similar" Operator, Snapshot "snapshot" Name, Some "some" Reserved,
    Start "start" Name, Statistics "statistics" Name, Stdin "stdin" Name, Stdout "stdout" Name,
    Subscription "subscription" Name, Substring "substring" Column, System "system" Clause, Table "table" Reserved,
    Tablesample "tablesample" Operator, Tablespace "tablespace" Name, Temp "temp" Name, Template "template" Name,
    Temporary "temporary" Name, Text "text" Name, Then "then" Reserved, Time "time" Column,
    Timestamp "timestamp" Column, To "to" Reserved, Transaction "transaction" Name, Transform "transform" Name,
    Treat "treat" Column, Trigger "trigger" Name, Trim "trim" Column, True "true" Reserved, Truncate "truncate" Name,
    Trusted "trusted" Name, Type "type" Name, Uescape "uescape" Name, Uncommitted "uncommitted" Name,
    Union "union" Reserved, Unique "unique" Reserved, Unlisten "unlisten" Name, Unlogged "unlogged" Name,
    Update "update" Name, User "user" Reserved, Using "using" Reserved, Vacuum "vacuum" Name, Values "values" Column,
    Varchar "varchar" Column, Varying "varying" Clause, Verbose "verbose" Operator, View "view" Name,
    When "when" Reserved, Where "where" Reserved, Window "window" Reserved, With "with" Reserved,
    Within "within" Clause, Work "work" Name, Write "write" Name, Xml "xml" Name, Xmlattributes "xmlattributes" Column,
    Xmlconcat "xmlconcat" Column, Xmlelement "xmlelement" Column, Xmlexists "xmlexists" Column,
    Xmlforest "xmlforest" Column, Xmlparse "xmlparse" Column, Xmlpi "xmlpi" Column, Xmlroot "xmlroot" Column,
    Xmlserialize "xmlserialize" Column, Xmltable "xmltable" Column, Zone "zone" Clause,
}

const SLOTS: usize = 1024;
const LONGEST: usize = 17;

/// A keyword as it is compared; length 0 is an empty slot.
#[derive(Clone, Copy)]
struct Slot {
    caseless: (u64, u64),
    len: u8,
    keyword: Keyword,
}

#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and stops at an index that is wrong")]
static TABLE: [Slot; SLOTS] = {
    let empty = Slot { caseless: (0, 0), len: 0, keyword: Keyword::None };
    let mut table = [empty; SLOTS];
    let mut i = 1;
    while i < ALL.len() {
        let (keyword, text, _) = ALL[i];
        let mut slot = word_hash(text.as_bytes()) as usize % SLOTS;
        while table[slot].len != 0 {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = Slot { caseless: caseless(text.as_bytes()), len: text.len() as u8, keyword };
        i += 1;
    }
    table
};

impl Keyword {
    /// The keyword that this word is, whatever its case.
    #[inline]
    pub(in crate::sql) fn of(word: &[u8]) -> Self {
        if word.len() > LONGEST {
            return Self::None;
        }
        let key = caseless(word);
        let mut at = mix(key, word.len()) as usize % SLOTS;
        loop {
            let Some(slot) = TABLE.get(at) else { return Self::None };
            let same = slot.caseless == key && usize::from(slot.len) == word.len();
            // The middle of a word of seventeen bytes is in neither half.
            if same && (word.len() < LONGEST || word.get(8).is_some_and(|b| matches!(b, b't' | b'T'))) {
                return slot.keyword;
            }
            if slot.len == 0 {
                return Self::None;
            }
            at = (at + 1) % SLOTS;
        }
    }

    #[inline]
    fn used(self) -> Used {
        ALL.get(self as usize).map_or(Used::Name, |&(_, _, used)| used)
    }

    /// Whether this word, without quotes, can be a relation's or a column's name.
    #[inline]
    pub(in crate::sql) fn names(self) -> bool {
        matches!(self.used(), Used::Name | Used::Clause | Used::Column)
    }

    /// Whether this word begins what PostgreSQL's grammar has it for, rather than being a name. `before` stands in front of it.
    pub(in crate::sql) fn opens_clause(self, before: Token) -> bool {
        match self {
            Self::By => matches!(before.keyword, Self::Group | Self::Order | Self::Partition),
            Self::Sets => before.keyword == Self::Grouping,
            Self::Filter | Self::Over | Self::Repeatable => before.is(b')'),
            Self::Materialized => matches!(before.keyword, Self::As | Self::Not),
            Self::Rollup | Self::Cube => before.keyword == Self::By,
            Self::Varying => matches!(before.keyword, Self::Char | Self::Character | Self::Nchar | Self::Bit),
            Self::Zone => before.keyword == Self::Time,
            Self::Bernoulli | Self::System => before.keyword == Self::Tablesample,
            Self::Rows => before.ends_operand(),
            _ => false,
        }
    }

    /// Whether this word with a parenthesis behind it may be a call, where nobody has looked what clause it would be in.
    pub(in crate::sql) fn may_call(self, before: [Token; 2]) -> bool {
        self.used() == Used::Clause || self.calls(before)
    }

    /// Whether this word with a parenthesis behind it is a call. `before` are the tokens in front of it, the nearest first.
    #[inline]
    pub(in crate::sql) fn calls(self, before: [Token; 2]) -> bool {
        match self.used() {
            Used::Name => true,
            Used::Column | Used::Reserved => false,
            Used::Clause => !self.opens_clause(before[0]),
            Used::Operator => {
                let operand = if before[0].keyword == Self::Not { before[1] } else { before[0] };
                let joins = matches!(
                    operand.keyword,
                    Self::Left | Self::Right | Self::Full | Self::Inner | Self::Cross | Self::Outer | Self::Natural
                );
                !operand.ends_operand() && !joins
            }
        }
    }

    /// Whether an expression can end with this word.
    pub(in crate::sql) fn ends_operand(self) -> bool {
        matches!(self.used(), Used::Name | Used::Clause)
            || matches!(
                self,
                Self::Null
                    | Self::True
                    | Self::False
                    | Self::End
                    | Self::User
                    | Self::CurrentTime
                    | Self::CurrentTimestamp
                    | Self::Localtime
                    | Self::Localtimestamp
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case_and_no_other() {
        for &(keyword, text, _) in &ALL[1..] {
            assert!(text.len() <= LONGEST);
            assert_eq!(Keyword::of(text.as_bytes()), keyword);
            assert_eq!(Keyword::of(text.to_ascii_uppercase().as_bytes()), keyword);
            assert_eq!(Keyword::of(format!("{text}_").as_bytes()), Keyword::None);
        }
        let longest: Vec<_> = ALL.iter().filter(|k| k.1.len() == LONGEST).map(|k| k.1).collect();
        assert_eq!(longest, ["current_timestamp"], "the middle byte in `of` is this word's");
        assert_eq!(Keyword::of(b"current_?imestamp"), Keyword::None);
        assert_eq!(Keyword::of("\u{17f}elect".as_bytes()), Keyword::None);
        assert!(Keyword::None.names() && !Keyword::In.names());
    }
}

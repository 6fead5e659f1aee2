//! The words the classifier looks at, found by one hash and one comparison.
//!
//! This is not PostgreSQL's keyword list: only words that decide something are here. [`Keyword::callable`] tells the
//! words that may still be the name of a function when a parenthesis follows.

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
pub(super) const fn word_hash(word: &[u8]) -> u32 {
    mix(caseless(word), word.len())
}

macro_rules! keywords {
    ($($name:ident $text:literal $callable:literal,)*) => {
        /// A word that decides something; `None` for every other identifier.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        #[allow(missing_docs)]
        pub enum Keyword { None, $($name,)* }

        const ALL: &[(Keyword, &str, bool)] = &[(Keyword::None, "", true), $((Keyword::$name, $text, $callable),)*];
    };
}

keywords! {
    Abort "abort" true, Access "access" true, After "after" true, Aggregate "aggregate" true, All "all" false,
    Alter "alter" true, Analyse "analyse" false, Analyze "analyze" false, And "and" false, Any "any" false,
    Array "array" false, As "as" false, Asc "asc" false, At "at" true, Atomic "atomic" true,
    Authorization "authorization" false, Begin "begin" true, Between "between" false, Bigint "bigint" false,
    Bernoulli "bernoulli" false, Binary "binary" false, Bit "bit" false, By "by" false, Call "call" true,
    Case "case" false, Cast "cast" false, Chain "chain" true, Char "char" false, Character "character" false,
    Characteristics "characteristics" true, Checkpoint "checkpoint" true, Class "class" true, Close "close" true,
    Cluster "cluster" true, Coalesce "coalesce" false, Collate "collate" false, Collation "collation" true,
    Comment "comment" true, Commit "commit" true, Committed "committed" true, Configuration "configuration" true,
    Constraint "constraint" false, Constraints "constraints" true, Conversion "conversion" true, Copy "copy" true,
    Create "create" false, Cross "cross" false, Cube "cube" false, Current "current" true,
    CurrentTime "current_time" false, CurrentTimestamp "current_timestamp" false, Cursor "cursor" true,
    Data "data" true, Database "database" true, Deallocate "deallocate" true, Dec "dec" false,
    Decimal "decimal" false, Declare "declare" true, Default "default" false, Deferrable "deferrable" false,
    Delete "delete" true, Desc "desc" false, Dictionary "dictionary" true, Discard "discard" true,
    Distinct "distinct" false, Do "do" false, Domain "domain" true, Drop "drop" true, Else "else" false,
    End "end" false, Event "event" true, Except "except" false, Execute "execute" true, Exists "exists" false,
    Explain "explain" true, Extension "extension" true, Extract "extract" false, False "false" false,
    Family "family" true, Fetch "fetch" false, Filter "filter" false, Float "float" false, For "for" false,
    Foreign "foreign" false, From "from" false, Full "full" false, Function "function" true, Global "global" true,
    Grant "grant" false, Greatest "greatest" false, Group "group" false, Grouping "grouping" false,
    Handler "handler" true, Having "having" false, Hold "hold" true, If "if" true, Ilike "ilike" false,
    Import "import" true, In "in" false, Index "index" true, Inner "inner" false, Insert "insert" true,
    Int "int" false, Intersect "intersect" false, Interval "interval" false, Into "into" false, Is "is" false,
    Isnull "isnull" false, Isolation "isolation" true, Join "join" false, Key "key" true, Label "label" true,
    Language "language" true, Large "large" true, Lateral "lateral" false, Least "least" false, Left "left" true,
    Level "level" true, Like "like" false, Limit "limit" false, Listen "listen" true, Load "load" true,
    Local "local" true, Localtime "localtime" false, Localtimestamp "localtimestamp" false, Lock "lock" true,
    Mapping "mapping" true, Materialized "materialized" false, Merge "merge" true, Method "method" true,
    Mode "mode" true, Move "move" true, Names "names" true, Natural "natural" false, Nchar "nchar" false,
    No "no" true, Normalize "normalize" false, Not "not" false, Notify "notify" true, Notnull "notnull" false,
    Null "null" false, Nullif "nullif" false, Numeric "numeric" false, Object "object" true, Off "off" true,
    Offset "offset" false, On "on" false, Only "only" false, Operator "operator" true, Option "option" true,
    Or "or" false, Order "order" false, Outer "outer" false, Over "over" false, Overlay "overlay" false,
    Owned "owned" true, Parser "parser" true, Plans "plans" true, Policy "policy" true,
    Position "position" false, Prepare "prepare" true, Prepared "prepared" true, Privileges "privileges" true,
    Procedural "procedural" true, Procedure "procedure" true, Program "program" true, Publication "publication" true,
    Read "read" true, Reassign "reassign" true, Recursive "recursive" true, Refresh "refresh" true,
    Reindex "reindex" true, Release "release" true, Repack "repack" true, Repeatable "repeatable" false,
    Replace "replace" true, Reset "reset" true, Returning "returning" false, Revoke "revoke" true,
    Right "right" true, Role "role" true, Rollback "rollback" true, Rollup "rollup" false, Routine "routine" true,
    Row "row" false, Rows "rows" false, Rule "rule" true, Savepoint "savepoint" true, Schema "schema" true,
    Schemas "schemas" true, Security "security" true, Select "select" false, Sequence "sequence" true,
    Sequences "sequences" true, Serializable "serializable" true, Server "server" true, Session "session" true,
    Set "set" true, Sets "sets" false, Share "share" true, Show "show" true, Similar "similar" false,
    Snapshot "snapshot" true, Some "some" false, Start "start" true, Statistics "statistics" true,
    Stdin "stdin" true, Stdout "stdout" true, Subscription "subscription" true, Substring "substring" false,
    System "system" false, Table "table" false, Tablesample "tablesample" false, Tablespace "tablespace" true,
    Temp "temp" true, Template "template" true, Temporary "temporary" true, Text "text" true, Then "then" false,
    Time "time" false, Timestamp "timestamp" false, To "to" false, Transaction "transaction" true,
    Transform "transform" true, Treat "treat" false, Trigger "trigger" true, Trim "trim" false, True "true" false,
    Truncate "truncate" true, Trusted "trusted" true, Type "type" true, Uescape "uescape" true,
    Uncommitted "uncommitted" true, Union "union" false, Unique "unique" false, Unlisten "unlisten" true,
    Unlogged "unlogged" true, Update "update" true, User "user" false, Using "using" false, Vacuum "vacuum" true,
    Values "values" false, Varchar "varchar" false, Varying "varying" false, Verbose "verbose" false,
    View "view" true, When "when" false, Where "where" false, Window "window" false, With "with" false,
    Within "within" false, Work "work" true, Write "write" true, Xml "xml" true, Xmlattributes "xmlattributes" false,
    Xmlconcat "xmlconcat" false, Xmlelement "xmlelement" false, Xmlexists "xmlexists" false,
    Xmlforest "xmlforest" false, Xmlparse "xmlparse" false, Xmlpi "xmlpi" false, Xmlroot "xmlroot" false,
    Xmlserialize "xmlserialize" false, Xmltable "xmltable" false, Zone "zone" false,
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
    pub(super) fn of(word: &[u8]) -> Self {
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

    /// Whether a function can be called by this word without quotes.
    #[inline]
    pub(super) fn callable(self) -> bool {
        ALL.get(self as usize).is_none_or(|&(_, _, callable)| callable)
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
        assert!(Keyword::None.callable() && !Keyword::In.callable());
    }
}

//! The refusal list: what PostgreSQL runs in a READ ONLY transaction although it changes the database, its server
//! or another server. This is the one place where that is written down; configuration can widen and narrow it.
//!
//! Decided from `pg_proc` of PostgreSQL 14 to 18 (functions marked volatile: `tests/maintenance/volatile_functions.rs` names those
//! that are not on it, and fails for a new one) and `ClassifyUtilityCommandAsReadOnly`. Not on
//! the list, because they change nothing that stays: pg_terminate_backend, pg_cancel_backend, pg_stat_clear_snapshot,
//! pg_export_snapshot, txid_current, advisory locks, pg_notify, lo_open, lo_get.
//! Not on it because PostgreSQL refuses them itself: nextval, setval.

use hashbrown::HashSet;

/// What a refused thing changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Large objects.
    LargeObject,
    /// Replication slots.
    ReplicationSlot,
    /// Replication origins.
    ReplicationOrigin,
    /// Writes, switches or stops the write-ahead log.
    Wal,
    /// The server itself: its settings, its role, its log files.
    Server,
    /// A system catalog.
    Catalog,
    /// Pages of a table or an index.
    Storage,
    /// A file or a program of the server's machine.
    ServerFile,
    /// Runs SQL in another session.
    Remote,
    /// Statistics of what the server has done: they are lost.
    Statistics,
    /// A backup: a checkpoint, and a record in the write-ahead log.
    Backup,
    /// A prepared transaction.
    TwoPhase,
    /// EXPLAIN ANALYZE of something that creates a table.
    Executes,
    /// Added by configuration.
    Configured,
}

impl Why {
    /// Whether nobody could tell afterwards that it has been done, and it is more than counters and checkpoints: then what leads to
    /// it is refused too, and not only where it is spelled out.
    pub(in crate::sql) fn leaves_no_row(self) -> bool {
        !matches!(self, Self::LargeObject | Self::Statistics | Self::Backup)
    }
}

/// Where a function lives, and so which schemas can be written before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Home {
    /// pg_catalog: `public.lo_create` is another function.
    Server,
    /// Wherever the extension was installed.
    Extension,
}

/// When a call of the function is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) enum Rule {
    /// Whatever its arguments.
    Always,
    /// Unless the SQL text among its arguments is a constant that is a plain read.
    UnlessPlainRead,
}

use Home::{Extension, Server};
use Rule::{Always, UnlessPlainRead};

/// Functions, sorted by name. `oids` are PostgreSQL's own, for function-call messages.
#[rustfmt::skip]
const FUNCTIONS: &[(&str, Why, Home, Rule, &[u32])] = &[
    ("autoprewarm_dump_now", Why::ServerFile, Extension, Always, &[]),
    ("autoprewarm_start_worker", Why::ServerFile, Extension, Always, &[]),
    ("binary_upgrade_create_empty_extension", Why::Catalog, Server, Always, &[3591]),
    ("brin_desummarize_range", Why::Storage, Server, Always, &[4014]),
    ("brin_summarize_new_values", Why::Storage, Server, Always, &[3952]),
    ("brin_summarize_range", Why::Storage, Server, Always, &[3999]),
    ("dblink", Why::Remote, Extension, UnlessPlainRead, &[]),
    ("dblink_close", Why::Remote, Extension, UnlessPlainRead, &[]),
    ("dblink_exec", Why::Remote, Extension, Always, &[]),
    ("dblink_fetch", Why::Remote, Extension, UnlessPlainRead, &[]),
    ("dblink_open", Why::Remote, Extension, UnlessPlainRead, &[]),
    ("dblink_send_query", Why::Remote, Extension, UnlessPlainRead, &[]),
    ("gin_clean_pending_list", Why::Storage, Server, Always, &[3789]),
    ("heap_force_freeze", Why::Storage, Extension, Always, &[]),
    ("heap_force_kill", Why::Storage, Extension, Always, &[]),
    ("lo_creat", Why::LargeObject, Server, Always, &[957]),
    ("lo_create", Why::LargeObject, Server, Always, &[715]),
    ("lo_export", Why::ServerFile, Server, Always, &[765]),
    ("lo_from_bytea", Why::LargeObject, Server, Always, &[3457]),
    ("lo_import", Why::LargeObject, Server, Always, &[764, 767]),
    ("lo_put", Why::LargeObject, Server, Always, &[3460]),
    ("lo_truncate", Why::LargeObject, Server, Always, &[1004]),
    ("lo_truncate64", Why::LargeObject, Server, Always, &[3172]),
    ("lo_unlink", Why::LargeObject, Server, Always, &[964]),
    ("lowrite", Why::LargeObject, Server, Always, &[955]),
    ("pg_backup_start", Why::Backup, Server, Always, &[2172]),
    ("pg_backup_stop", Why::Backup, Server, Always, &[2739]),
    ("pg_clear_attribute_stats", Why::Catalog, Server, Always, &[6398]),
    ("pg_clear_relation_stats", Why::Catalog, Server, Always, &[6397]),
    ("pg_copy_logical_replication_slot", Why::ReplicationSlot, Server, Always, &[4222, 4223, 4224]),
    ("pg_copy_physical_replication_slot", Why::ReplicationSlot, Server, Always, &[4220, 4221]),
    ("pg_create_logical_replication_slot", Why::ReplicationSlot, Server, Always, &[3786]),
    ("pg_create_physical_replication_slot", Why::ReplicationSlot, Server, Always, &[3779]),
    ("pg_create_restore_point", Why::Wal, Server, Always, &[3098]),
    ("pg_drop_replication_slot", Why::ReplicationSlot, Server, Always, &[3780]),
    ("pg_extension_config_dump", Why::Catalog, Server, Always, &[3086]),
    ("pg_file_rename", Why::ServerFile, Extension, Always, &[]),
    ("pg_file_unlink", Why::ServerFile, Extension, Always, &[]),
    ("pg_file_write", Why::ServerFile, Extension, Always, &[]),
    ("pg_import_system_collations", Why::Catalog, Server, Always, &[3445]),
    ("pg_log_standby_snapshot", Why::Wal, Server, Always, &[6305]),
    ("pg_logical_emit_message", Why::Wal, Server, Always, &[3577, 3578]),
    ("pg_logical_slot_get_binary_changes", Why::ReplicationSlot, Server, Always, &[3783]),
    ("pg_logical_slot_get_changes", Why::ReplicationSlot, Server, Always, &[3782]),
    ("pg_nextoid", Why::Catalog, Server, Always, &[275]),
    ("pg_promote", Why::Server, Server, Always, &[3436]),
    ("pg_reload_conf", Why::Server, Server, Always, &[2621]),
    ("pg_replication_origin_advance", Why::ReplicationOrigin, Server, Always, &[6012]),
    ("pg_replication_origin_create", Why::ReplicationOrigin, Server, Always, &[6003]),
    ("pg_replication_origin_drop", Why::ReplicationOrigin, Server, Always, &[6004]),
    ("pg_replication_origin_session_reset", Why::ReplicationOrigin, Server, Always, &[6007]),
    ("pg_replication_origin_session_setup", Why::ReplicationOrigin, Server, Always, &[6006]),
    ("pg_replication_origin_xact_reset", Why::ReplicationOrigin, Server, Always, &[6011]),
    ("pg_replication_origin_xact_setup", Why::ReplicationOrigin, Server, Always, &[6010]),
    ("pg_replication_slot_advance", Why::ReplicationSlot, Server, Always, &[3878]),
    ("pg_restore_attribute_stats", Why::Catalog, Server, Always, &[6363]),
    ("pg_restore_relation_stats", Why::Catalog, Server, Always, &[6362]),
    ("pg_rotate_logfile", Why::Server, Server, Always, &[2622]),
    ("pg_rotate_logfile_old", Why::Server, Server, Always, &[]),
    ("pg_start_backup", Why::Backup, Server, Always, &[]),
    ("pg_stat_reset", Why::Statistics, Server, Always, &[2274]),
    ("pg_stat_reset_backend_stats", Why::Statistics, Server, Always, &[6387]),
    ("pg_stat_reset_replication_slot", Why::Statistics, Server, Always, &[6170]),
    ("pg_stat_reset_shared", Why::Statistics, Server, Always, &[3775]),
    ("pg_stat_reset_single_function_counters", Why::Statistics, Server, Always, &[3777]),
    ("pg_stat_reset_single_table_counters", Why::Statistics, Server, Always, &[3776]),
    ("pg_stat_reset_slru", Why::Statistics, Server, Always, &[2307]),
    ("pg_stat_reset_subscription_stats", Why::Statistics, Server, Always, &[6232]),
    ("pg_stat_statements_reset", Why::Statistics, Extension, Always, &[]),
    ("pg_stop_backup", Why::Backup, Server, Always, &[2173]),
    ("pg_stop_making_pinned_objects", Why::Catalog, Server, Always, &[6241]),
    ("pg_switch_wal", Why::Wal, Server, Always, &[2848]),
    ("pg_sync_replication_slots", Why::ReplicationSlot, Server, Always, &[6344]),
    ("pg_truncate_visibility_map", Why::Storage, Extension, Always, &[]),
    ("pg_wal_replay_pause", Why::Wal, Server, Always, &[3071]),
    ("pg_wal_replay_resume", Why::Wal, Server, Always, &[3072]),
];

/// Statements by tag: what they change, and whether they are refused unless configured otherwise.
const COMMANDS: &[(&str, Why, bool)] = &[
    ("ALTER SYSTEM", Why::Server, true),
    ("ANALYZE", Why::Storage, true),
    ("CALL", Why::Configured, false),
    ("CHECKPOINT", Why::Server, true),
    ("CLUSTER", Why::Storage, true),
    ("COMMIT PREPARED", Why::TwoPhase, true),
    ("COPY TO", Why::ServerFile, true),
    ("DECLARE CURSOR", Why::Configured, false),
    ("DO", Why::Configured, false),
    ("EXPLAIN ANALYZE", Why::Executes, true),
    ("LISTEN", Why::Configured, false),
    ("LOAD", Why::Configured, false),
    ("LOCK TABLE", Why::Configured, false),
    ("NOTIFY", Why::Configured, false),
    ("PREPARE TRANSACTION", Why::TwoPhase, true),
    ("REINDEX", Why::Storage, true),
    ("REPACK", Why::Storage, true),
    ("ROLLBACK PREPARED", Why::TwoPhase, true),
    ("VACUUM", Why::Storage, true),
];

/// What is left of a text without all but letters, digits and underscores, in lower case.
fn letters(text: &[u8]) -> Vec<u8> {
    let letters = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    letters.map(u8::to_ascii_lowercase).collect()
}

/// Whether a text holds a name, perhaps put together from constants: `'track_' || 'counts'`.
pub fn names_in_pieces(text: &[u8], name: &[u8]) -> bool {
    memchr::memmem::find(&letters(text), name).is_some()
}

/// An entry of the configuration that the refusal list cannot take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListError {
    /// Not a command of the list; functions are written with parentheses.
    #[error("\"{0}\" is neither a function such as \"lo_create()\" nor one of: {known}", known = known_commands())]
    Unknown(String),
    /// Only what is refused can be taken off.
    #[error("\"{0}\" is not refused, so it cannot be allowed")]
    NotRefused(String),
}

fn known_commands() -> String {
    COMMANDS.iter().map(|c| c.0).collect::<Vec<_>>().join(", ")
}

/// What pgsluice refuses in maintenance beyond what PostgreSQL does. Lifting the guard itself (`SET
/// default_transaction_read_only = off` and its like) is not on the list: it is always refused.
#[derive(Clone, Debug)]
pub struct RefusalList {
    /// Functions added by configuration.
    added: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// Functions taken off by configuration.
    removed: HashSet<Box<str>, foldhash::fast::RandomState>,
    /// One flag for each of [`COMMANDS`].
    commands: [bool; COMMANDS.len()],
}

impl Default for RefusalList {
    fn default() -> Self {
        let mut commands = [false; COMMANDS.len()];
        commands.iter_mut().zip(COMMANDS).for_each(|(flag, command)| *flag = command.2);
        Self { added: HashSet::default(), removed: HashSet::default(), commands }
    }
}

/// What an entry of the configuration names.
enum Entry {
    Function(Box<str>),
    Command(usize),
}

fn entry(text: &str) -> Result<Entry, ListError> {
    if let Some(name) = text.trim().strip_suffix("()") {
        let name = name.trim().to_lowercase();
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..))
        };
        if name.splitn(2, '.').all(is_name) {
            return Ok(Entry::Function(name.into()));
        }
    }
    let command = COMMANDS.iter().position(|c| c.0.eq_ignore_ascii_case(text.trim()));
    command.map(Entry::Command).ok_or_else(|| ListError::Unknown(text.to_owned()))
}

fn builtin(name: &[u8]) -> Option<&'static (&'static str, Why, Home, Rule, &'static [u32])> {
    let at = FUNCTIONS.binary_search_by(|f| f.0.as_bytes().cmp(name)).ok()?;
    FUNCTIONS.get(at)
}

impl RefusalList {
    /// Refuses one more thing: `"name()"` for a function, in whatever schema since a call need not say it, or a command such as
    /// `"LOCK TABLE"`.
    pub fn widen(&mut self, text: &str) -> Result<(), ListError> {
        match entry(text)? {
            Entry::Function(name) => {
                self.removed.remove(&name);
                self.added.insert(name.rsplit('.').next().unwrap_or_default().into());
            }
            Entry::Command(at) => self.commands.iter_mut().skip(at).take(1).for_each(|flag| *flag = true),
        }
        Ok(())
    }

    /// Allows one thing, in the same spelling: of the list, or a function of the database's own, whatever it leads to.
    pub fn narrow(&mut self, text: &str) -> Result<(), ListError> {
        let not_refused = || ListError::NotRefused(text.to_owned());
        match entry(text)? {
            Entry::Function(name) => {
                if !self.added.remove(&name) && super::builtins::is_plain_read(name.as_bytes()) {
                    return Err(not_refused());
                }
                self.removed.insert(name);
            }
            Entry::Command(at) => {
                let flag = self.commands.get_mut(at).filter(|flag| **flag).ok_or_else(not_refused)?;
                *flag = false;
            }
        }
        Ok(())
    }

    /// Whether configuration allows that function of a database's own.
    pub(in crate::sql) fn allows(&self, schema: &str, name: &str) -> bool {
        !self.removed.is_empty() && (self.removed.contains(name) || self.removed.contains(&*format!("{schema}.{name}")))
    }

    /// Whether configuration allows functions that change rows where the proof that nothing was written would find it.
    pub fn allows_row_writers(&self) -> bool {
        let changes_rows = |why| matches!(why, Why::LargeObject | Why::Catalog | Why::ReplicationOrigin);
        self.removed.iter().any(|name| builtin(name.as_bytes()).is_some_and(|&(_, why, ..)| changes_rows(why)))
    }

    /// The functions that leave no row behind, as two arrays of SQL: PostgreSQL's own, and those of extensions that are judged by
    /// their arguments.
    pub(in crate::sql) fn names_of_functions(&self) -> (String, String) {
        let array = |wanted: &dyn Fn(Home, Rule) -> bool| {
            let listed = FUNCTIONS.iter().filter(|f| f.1.leaves_no_row() && wanted(f.2, f.3));
            let names = listed.filter(|f| !self.removed.contains(f.0)).map(|f| f.0);
            let quoted: Vec<_> = names.map(|name| format!("'{name}'")).collect();
            format!("ARRAY[{}]", quoted.join(","))
        };
        (array(&|home, _| home == Server), array(&|_, rule| rule == UnlessPlainRead))
    }

    /// Whether configuration added functions, so that even known built-ins must be looked up.
    #[inline]
    pub(in crate::sql) fn has_added(&self) -> bool {
        !self.added.is_empty()
    }

    /// The verdict on a function by its folded name and the schema written before it.
    pub(in crate::sql) fn function(&self, name: &[u8], schema: Option<&[u8]>) -> Option<(Why, Rule)> {
        let text = std::str::from_utf8(name).ok()?;
        if self.added.contains(text) {
            return Some((Why::Configured, Always));
        }
        let &(_, why, home, rule, _) = builtin(name)?;
        let reachable = home == Extension || schema.is_none_or(|schema| schema == b"pg_catalog");
        (reachable && !self.removed.contains(text)).then_some((why, rule))
    }

    /// Whether a function of that name is listed as an extension's, and not by configuration: others may have functions so named.
    pub fn is_extensions(&self, name: &[u8]) -> bool {
        let added = str::from_utf8(name).is_ok_and(|name| self.added.contains(name));
        !added && builtin(name).is_some_and(|&(_, _, home, ..)| home == Extension)
    }

    /// The function of PostgreSQL's own on the list, one that leaves no row behind, whose name a text has once all but letters, digits and
    /// underscores is taken out of it: a name that is put together from constants.
    pub fn in_pieces(&self, text: &[u8]) -> Option<&'static str> {
        let letters = letters(text);
        let listed = FUNCTIONS.iter().filter(|f| f.1.leaves_no_row() && f.2 == Server);
        let mut names = listed.map(|f| f.0).filter(|name| !self.removed.contains(*name));
        names.find(|name| memchr::memmem::find(&letters, name.as_bytes()).is_some())
    }

    /// The function of the list that a value calls if it is run as a text, or the command that it is. Only what leaves no row behind.
    pub fn in_value(&self, value: &[u8]) -> Option<&'static str> {
        let lower = value.to_ascii_lowercase();
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let calls = |name: &str| {
            memchr::memmem::find_iter(&lower, name.as_bytes()).any(|at| {
                let whole = at.checked_sub(1).and_then(|before| lower.get(before)).is_none_or(|before| !letter(before));
                let behind = lower.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
                whole && (behind.starts_with(b"(") || behind.starts_with(b"\""))
            })
        };
        let functions = FUNCTIONS.iter().filter(|f| f.1.leaves_no_row() && f.2 == Server).map(|f| f.0);
        let mut functions = functions.filter(|name| !self.removed.contains(*name));
        let commands = COMMANDS.iter().zip(self.commands).filter(|(one, listed)| *listed && one.1 == Why::Storage);
        let begins = |name: &str| {
            let behind = lower.trim_ascii_start().strip_prefix(name.to_ascii_lowercase().as_bytes());
            behind.is_some_and(|behind| behind.first().is_none_or(|next| !letter(next)))
        };
        functions.find(|name| calls(name)).or_else(|| commands.map(|(one, _)| one.0).find(|name| begins(name)))
    }

    /// The function or command of the list that a text spells in several constants: `'pg_logical_' || 'emit_message'`. Only what
    /// leaves no row behind.
    pub fn in_several_constants(&self, text: &[u8]) -> Option<&'static str> {
        memchr::memchr2(b'\'', b'"', text)?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let (places, letters): (Vec<usize>, Vec<u8>) = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| letter(**byte))
            .map(|(at, byte)| (at, byte.to_ascii_lowercase()))
            .unzip();
        let gap = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        let quoted = |gap: &[u8]| memchr::memchr2(b'\'', b'"', gap).is_some();
        let spells = |name: &str, alone: bool| {
            memchr::memmem::find_iter(&letters, name.as_bytes()).any(|at| {
                let Some(run @ [first, .., last]) = places.get(at..at + name.len()) else { return false };
                let mut gaps = run.windows(2).filter_map(|two| match *two {
                    [one, next] if next > one + 1 => Some(gap(one + 1, next)),
                    _ => None,
                });
                let split = gaps.clone().next().is_some() && gaps.all(quoted);
                let ahead = gap(0, *first).trim_ascii_end();
                let behind = text.get(last + 1).copied().unwrap_or_default();
                split && (!alone || ahead.ends_with(b"'") && !letter(behind))
            })
        };
        let functions = FUNCTIONS.iter().filter(|f| f.1.leaves_no_row() && f.2 == Server).map(|f| f.0);
        let mut functions = functions.filter(|name| !self.removed.contains(*name));
        let commands = COMMANDS.iter().zip(self.commands).filter(|(one, listed)| *listed && one.1 == Why::Storage);
        functions
            .find(|name| spells(name, false))
            .or_else(|| commands.map(|(one, _)| one.0).find(|name| spells(&name.to_ascii_lowercase(), true)))
    }

    /// The function of the list that a function-call message calls by this OID of PostgreSQL's own, if it does.
    pub fn function_by_oid(&self, oid: u32) -> Option<&'static str> {
        let &(name, ..) = FUNCTIONS.iter().find(|f| f.4.contains(&oid))?;
        (!self.removed.contains(name)).then_some(name)
    }

    /// The verdict on a command by its tag.
    pub(in crate::sql) fn command(&self, tag: &str) -> Option<Why> {
        let at = COMMANDS.iter().position(|c| c.0 == tag)?;
        let &(_, why, _) = COMMANDS.get(at)?;
        self.commands.get(at).copied().unwrap_or_default().then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_taken_apart_by_schema() {
        assert!(FUNCTIONS.is_sorted_by_key(|f| f.0));
        let list = RefusalList::default();
        assert_eq!(list.function(b"lo_create", None), Some((Why::LargeObject, Always)));
        assert!(list.function(b"lo_create", Some(b"pg_catalog")).is_some());
        assert!(list.function(b"lo_create", Some(b"public")).is_none());
        assert!(list.function(b"dblink_exec", Some(b"public")).is_some());
        assert_eq!(list.function_by_oid(957), Some("lo_creat"));
        assert_eq!(list.function_by_oid(952), None);
    }

    #[test]
    fn a_name_in_several_constants_is_read_as_one() {
        let list = RefusalList::default();
        for (sql, found) in [
            ("SELECT f('SELECT pg_logical_' || 'emit_message(1)')", Some("pg_logical_emit_message")),
            ("SELECT f(concat('pg_logical', '_emit_', 'message'))", Some("pg_logical_emit_message")),
            ("spi_exec(\"pg_logical_emit\".\"_message()\")", Some("pg_logical_emit_message")),
            ("EXECUTE 'ANA' || 'LYZE t'", Some("ANALYZE")),
            ("EXECUTE format('%s%s t', ' VAC', 'UUM')", Some("VACUUM")),
            ("EXECUTE concat(' VAC', 'UUM')", Some("VACUUM")),
            ("SELECT f('SELECT x FROM t WHERE indexname = 1')", None),
            ("SELECT f('re', 'indexed')", None),
            ("SELECT f('ANALYZE t')", None),
        ] {
            assert_eq!(list.in_several_constants(sql.as_bytes()), found, "{sql}");
        }
    }

    #[test]
    fn a_value_is_read_as_what_may_be_run() {
        let list = RefusalList::default();
        for (value, found) in [
            ("SELECT pg_logical_emit_message(true, 'a', 'b')", Some("pg_logical_emit_message")),
            ("select brin_desummarize_range ('x', 3)", Some("brin_desummarize_range")),
            (" Analyze t", Some("ANALYZE")),
            ("VACUUM", Some("VACUUM")),
            ("analyzer", None),
            ("we analyze this", None),
            ("my_pg_logical_emit_message(1)", None),
            ("SELECT count(*) FROM t", None),
        ] {
            assert_eq!(list.in_value(value.as_bytes()), found, "{value}");
        }
    }

    #[test]
    fn configuration_widens_and_narrows() {
        let mut list = RefusalList::default();
        list.widen("My_Writer()").unwrap();
        assert!(list.has_added() && list.function(b"my_writer", Some(b"app")).is_some());
        list.narrow("my_writer()").unwrap();
        assert!(list.function(b"my_writer", None).is_none());
        list.narrow("lo_create()").unwrap();
        assert!(list.function(b"lo_create", None).is_none() && list.function_by_oid(715).is_none());
        list.widen("lo_create()").unwrap();
        assert!(list.function(b"lo_create", None).is_some());
        list.narrow("vacuum").unwrap();
        assert!(list.command("VACUUM").is_none() && list.command("ANALYZE").is_some());
        list.widen("LOCK TABLE").unwrap();
        assert_eq!(list.command("LOCK TABLE"), Some(Why::Configured));
        assert_eq!(list.narrow("NOTIFY"), Err(ListError::NotRefused("NOTIFY".into())));
        assert_eq!(list.narrow("lower()"), Err(ListError::NotRefused("lower()".into())));
        assert!(list.widen("VACUM").unwrap_err().to_string().contains("VACUUM"));
    }
}

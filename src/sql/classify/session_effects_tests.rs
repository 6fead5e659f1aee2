//! Session state and transaction control.

use super::*;
use crate::sql::lex::encoding::LexContext;
use crate::sql::statement::{SessionEffect as E, Statement};

fn one(text: &str) -> Statement {
    let analysis = crate::sql::analyze(text.as_bytes(), LexContext::default());
    analysis.single().unwrap_or_else(|| panic!("{text}: {analysis:?}")).clone()
}

fn n(text: &str) -> Name {
    text.as_bytes().into()
}

#[test]
fn a_database_that_must_be_empty() {
    for (text, name) in [
        ("drop database a", Some("a")),
        ("DROP DATABASE IF EXISTS \"B c\" WITH (FORCE)", Some("B c")),
        ("alter database A rename to b", Some("a")),
        ("alter database a set tablespace b", Some("a")),
        ("alter database a set work_mem = '1MB'", None),
        ("alter database a owner to b", None),
        ("create database a", Some("template1")),
        ("create database a owner b template c strategy file_copy", Some("c")),
        ("create database a template = 'D'", Some("D")),
        ("create table database (n int)", None),
    ] {
        let wanted: Vec<E> = name.map(n).map(E::Empties).into_iter().collect();
        assert_eq!(*one(text).effects, *wanted, "{text}");
    }
}

#[test]
fn set_in_its_forms() {
    for (text, name, value, local, default) in [
        ("SET Work_Mem = '1MB'", "work_mem", "'1MB'", false, false),
        ("set local search_path to a, \"B\" ;", "search_path", "a, \"B\"", true, false),
        ("set session app.user to default", "app.user", "default", false, true),
        ("set session.x = 1", "session.x", "1", false, false),
        ("set time zone 'UTC'", "timezone", "'UTC'", false, false),
        ("set time zone local", "timezone", "local", false, true),
        ("set names 'utf8'", "client_encoding", "'utf8'", false, false),
        ("set names", "client_encoding", "", false, true),
        ("set schema 'x'", "search_path", "'x'", false, false),
        ("set xml option document", "xmloption", "document", false, false),
    ] {
        let got = one(text);
        assert_eq!(got.kind, Kind::Session, "{text}");
        let E::Set { name: n, value: v, local: l, default: d } = got.effect() else { panic!("{text}: {got:?}") };
        assert_eq!(
            (&**n, &text[v.start as usize..v.end as usize], *l, *d),
            (name.as_bytes(), value, local, default),
            "{text}"
        );
    }
    for (text, want) in [
        ("set role x", E::SetRole { local: false }),
        ("set local role none", E::SetRole { local: true }),
        ("set role = x", E::SetRole { local: false }),
        ("reset role", E::SetRole { local: false }),
        ("select set_config('role', 'x', true)", E::SetRole { local: true }),
        ("set session authorization x", E::SetSessionAuthorization { local: false }),
        ("set local session authorization default", E::SetSessionAuthorization { local: true }),
        ("reset session authorization", E::SetSessionAuthorization { local: false }),
        ("reset all", E::ResetAll),
        ("reset time zone", E::Reset(n("timezone"))),
        ("reset a.B", E::Reset(n("a.b"))),
        ("set constraints all deferred", E::None),
        ("discard all", E::DiscardAll),
        ("discard temporary", E::DiscardTemp),
        ("listen \"A\"", E::Listen(n("A"))),
        ("unlisten *", E::Unlisten(None)),
        ("unlisten b", E::Unlisten(Some(n("b")))),
        ("execute P(1)", E::Execute(n("p"))),
        ("explain execute p", E::Execute(n("p"))),
        ("create unlogged table if not exists t (a) with (fillfactor = 70) as execute P(1)", E::Execute(n("p"))),
        ("explain analyze execute p", E::Execute(n("p"))),
        ("deallocate prepare x", E::Deallocate(Some(n("x")))),
        ("deallocate prepare", E::Deallocate(Some(n("prepare")))),
        ("deallocate all", E::Deallocate(None)),
        ("deallocate prepare all", E::Deallocate(None)),
        ("declare c no scroll cursor with hold for select 1", E::DeclareWithHold(n("c"))),
        ("declare c cursor for select 1", E::None),
        ("declare c cursor without hold for select 1", E::None),
        ("close c", E::CloseCursor(Some(n("c")))),
        ("close all", E::CloseCursor(None)),
        ("load 'x'", E::Load),
        ("select pg_try_advisory_lock_shared(1)", E::AdvisoryLock),
        ("select pg_advisory_unlock_all()", E::AdvisoryUnlock),
        ("select set_config('A.b', null, false)", E::SetConfig { name: n("a.b"), value: None, local: false }),
    ] {
        assert_eq!(one(text).effect(), &want, "{text}");
    }
    let prepared = one("prepare \"P\" (int, text) as insert into t values ($1)");
    let E::Prepare { name, inner } = prepared.effect() else { panic!("{prepared:?}") };
    assert_eq!((&**name, inner.tag), (&b"P"[..], "INSERT"));
    for (text, shows) in [
        ("select * from pg_catalog.\"pg_prepared_statements\"", true),
        ("explain analyze select pg_prepared_statement()", true),
        ("copy (table pg_prepared_statements) to stdout", true),
        ("select * from pg_prepared_xacts", false),
        ("prepare x as table pg_prepared_statements", false),
    ] {
        assert_eq!(one(text).effects.contains(&E::ShowsPrepared), shows, "{text}");
    }
}

#[test]
fn transaction_verbs() {
    let modes = |read_only, isolation, deferrable| TransactionModes { read_only, isolation, deferrable };
    for (text, want) in [
        ("begin", T::Begin(TransactionModes::default())),
        ("begin work read only", T::Begin(modes(Some(true), None, None))),
        (
            "start transaction isolation level serializable, read only, deferrable",
            T::Begin(modes(Some(true), Some(Isolation::Serializable), Some(true))),
        ),
        (
            "begin transaction isolation level repeatable read not deferrable",
            T::Begin(modes(None, Some(Isolation::RepeatableRead), Some(false))),
        ),
        ("begin isolation level read uncommitted", T::Begin(modes(None, Some(Isolation::ReadUncommitted), None))),
        ("commit", T::Commit { chain: false }),
        ("end transaction and no chain", T::Commit { chain: false }),
        ("commit work and chain", T::Commit { chain: true }),
        ("abort and chain", T::Rollback { chain: true }),
        ("rollback to a", T::RollbackTo(n("a"))),
        ("rollback work to savepoint \"A\"", T::RollbackTo(n("A"))),
        ("rollback to savepoint", T::RollbackTo(n("savepoint"))),
        ("release a", T::Release(n("a"))),
        ("release savepoint a", T::Release(n("a"))),
        ("savepoint a", T::Savepoint(n("a"))),
        ("prepare transaction 'x'", T::PrepareTransaction),
        ("commit prepared 'x'", T::CommitPrepared),
        ("rollback prepared 'x'", T::RollbackPrepared),
        ("set transaction snapshot 'x'", T::SetTransaction { modes: TransactionModes::default(), snapshot: true }),
        (
            "set local transaction read only",
            T::SetTransaction { modes: modes(Some(true), None, None), snapshot: false },
        ),
        (
            "set session characteristics as transaction read only",
            T::SetSessionCharacteristics(modes(Some(true), None, None)),
        ),
    ] {
        assert_eq!(one(text).kind, Kind::Transaction(want), "{text}");
    }
    assert!(T::Commit { chain: true }.ends_transaction() && T::PrepareTransaction.ends_transaction());
    assert!(!T::RollbackTo(n("a")).ends_transaction() && !T::CommitPrepared.ends_transaction());
}

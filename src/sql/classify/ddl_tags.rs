//! Tags of CREATE, ALTER, DROP, GRANT and REVOKE, as PostgreSQL's `CreateCommandTag` has them. PostgreSQL refuses them
//! all in a READ ONLY transaction, temporary objects too; only ALTER SYSTEM passes, and is on the refusal list.

use super::one_statement::Draft;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::literal::{decode, name};
use crate::sql::lex::token_cursor::Cursor;
use crate::sql::lex::token_facts::Facts;
use crate::sql::statement::{Kind, Name, SessionEffect};

/// The tag of each verb for one kind of object.
struct Tags {
    create: &'static str,
    alter: &'static str,
    drop: &'static str,
}

macro_rules! tags {
    ($object:literal) => {
        Tags { create: concat!("CREATE ", $object), alter: concat!("ALTER ", $object), drop: concat!("DROP ", $object) }
    };
}

/// CREATE, ALTER or DROP.
pub(in crate::sql) fn read(mut c: Cursor, facts: &Facts) -> Option<Draft> {
    let verb = c.bump().keyword;
    let mut temporary = false;
    if verb == K::Create {
        while matches!(
            c.now.keyword,
            K::Or
                | K::Replace
                | K::Global
                | K::Local
                | K::Temp
                | K::Temporary
                | K::Unlogged
                | K::Unique
                | K::Recursive
                | K::Trusted
                | K::Procedural
                | K::Constraint
                | K::Default
        ) {
            temporary |= matches!(c.bump().keyword, K::Temp | K::Temporary);
        }
    }
    if verb == K::Alter && c.at(K::System) {
        return Some(Draft { executes: false, ..Draft::new(Kind::Utility, "ALTER SYSTEM") });
    }
    if verb != K::Create && c.at(K::Procedural) {
        c.bump();
    }
    let object = c.bump().keyword;
    let tags = tags(&mut c, object)?;
    let (tag, executes) = match verb {
        K::Create => match object {
            K::Table if is_table_as(&mut c) => ("CREATE TABLE AS", true),
            K::Materialized => (tags.create, true),
            K::Language if !has_handler(&mut c) => ("CREATE EXTENSION", false),
            _ => (tags.create, false),
        },
        K::Alter => (tags.alter, false),
        _ => (tags.drop, false),
    };
    let mut draft = Draft::refused(Kind::Ddl, tag);
    draft.executes = executes;
    if tag == "CREATE TABLE AS" && c.eat(K::Execute) {
        draft.effects.push(SessionEffect::Execute(c.name()?));
    }
    if object == K::Database {
        draft.effects.extend(emptied(&mut c, verb).map(SessionEffect::Empties));
    }
    if verb == K::Create && (temporary || facts.temp_schema) {
        draft.effects.push(SessionEffect::CreateTemp);
    }
    Some(draft)
}

/// The database in which nobody else may be while it is dropped, renamed, moved or copied; the cursor stands behind DATABASE.
fn emptied(c: &mut Cursor, verb: K) -> Option<Name> {
    if verb == K::Drop && c.eat(K::If) {
        c.eat(K::Exists);
    }
    let named = c.name()?;
    match verb {
        K::Drop => Some(named),
        K::Alter => {
            let renames = name(c.now, c.text()) == b"rename";
            (renames || c.eat(K::Set) && c.at(K::Tablespace)).then_some(named)
        }
        _ => {
            while !c.at_end() {
                if c.bump().keyword == K::Template {
                    c.eat_punct(b'=');
                    let template = c.now;
                    let quoted = template.is_str().then(|| decode(template, c.text()).into());
                    return quoted.or_else(|| c.name()).filter(|name| **name != *b"default");
                }
            }
            // What PostgreSQL copies when it is not told.
            Some(b"template1"[..].into())
        }
    }
}

/// Reads the rest of the object's kind, whose first word has been taken.
fn tags(c: &mut Cursor, first: K) -> Option<Tags> {
    Some(match first {
        K::Access if c.eat(K::Method) => tags!("ACCESS METHOD"),
        K::Aggregate => tags!("AGGREGATE"),
        K::Cast => tags!("CAST"),
        K::Collation => tags!("COLLATION"),
        K::Conversion => tags!("CONVERSION"),
        K::Database => tags!("DATABASE"),
        K::Default if c.eat(K::Privileges) => tags!("DEFAULT PRIVILEGES"),
        K::Domain => tags!("DOMAIN"),
        K::Event if c.eat(K::Trigger) => tags!("EVENT TRIGGER"),
        K::Extension => tags!("EXTENSION"),
        K::Foreign if c.eat(K::Data) => tags!("FOREIGN DATA WRAPPER"),
        K::Foreign if c.eat(K::Table) => tags!("FOREIGN TABLE"),
        K::Function => tags!("FUNCTION"),
        K::Index => tags!("INDEX"),
        K::Language => tags!("LANGUAGE"),
        K::Large if c.eat(K::Object) => tags!("LARGE OBJECT"),
        K::Materialized if c.eat(K::View) => tags!("MATERIALIZED VIEW"),
        K::Operator if c.eat(K::Class) => tags!("OPERATOR CLASS"),
        K::Operator if c.eat(K::Family) => tags!("OPERATOR FAMILY"),
        K::Operator => tags!("OPERATOR"),
        K::Owned => tags!("OWNED"),
        K::Policy => tags!("POLICY"),
        K::Procedure => tags!("PROCEDURE"),
        K::Publication => tags!("PUBLICATION"),
        K::User if c.eat(K::Mapping) => tags!("USER MAPPING"),
        K::Role | K::User | K::Group => tags!("ROLE"),
        K::Routine => tags!("ROUTINE"),
        K::Rule => tags!("RULE"),
        K::Schema => tags!("SCHEMA"),
        K::Sequence => tags!("SEQUENCE"),
        K::Server => tags!("SERVER"),
        K::Statistics => tags!("STATISTICS"),
        K::Subscription => tags!("SUBSCRIPTION"),
        K::Table => tags!("TABLE"),
        K::Tablespace => tags!("TABLESPACE"),
        K::Text => {
            // SEARCH
            c.bump();
            match c.bump().keyword {
                K::Configuration => tags!("TEXT SEARCH CONFIGURATION"),
                K::Dictionary => tags!("TEXT SEARCH DICTIONARY"),
                K::Parser => tags!("TEXT SEARCH PARSER"),
                K::Template => tags!("TEXT SEARCH TEMPLATE"),
                _ => return None,
            }
        }
        K::Transform => tags!("TRANSFORM"),
        K::Trigger => tags!("TRIGGER"),
        K::Type => tags!("TYPE"),
        K::View => tags!("VIEW"),
        _ => return None,
    })
}

/// Whether an AS stands outside all parentheses: only CREATE TABLE … AS has one.
fn is_table_as(c: &mut Cursor) -> bool {
    while !c.at_end() {
        if c.now.is(b'(') {
            if c.group().is_none() {
                return false;
            }
        } else if c.bump().keyword == K::As {
            return true;
        }
    }
    false
}

/// CREATE LANGUAGE without a handler is CREATE EXTENSION.
fn has_handler(c: &mut Cursor) -> bool {
    while !c.at_end() {
        if c.bump().keyword == K::Handler {
            return true;
        }
    }
    false
}

/// The tag of GRANT or REVOKE: of privileges on something, or of roles.
pub(in crate::sql) fn grant(mut c: Cursor, verb: K) -> &'static str {
    c.bump();
    while !matches!(c.now.keyword, K::On | K::To | K::From) && !c.at_end() {
        c.bump();
    }
    match (verb, c.at(K::On)) {
        (K::Grant, true) => "GRANT",
        (K::Grant, false) => "GRANT ROLE",
        (_, true) => "REVOKE",
        (_, false) => "REVOKE ROLE",
    }
}

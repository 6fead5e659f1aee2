//! Every statement that pgsluice itself sends to a server is built here, but for the catalog's questions in
//! [`unseen`](crate::sql::hidden_writers), which [`all`] lists too.
//!
//! A session's `search_path` may put a user's objects ahead of PostgreSQL's. So in what runs on a client's connection each
//! function, type, relation and operator has its schema, and nothing is used that resolves an operator by a keyword:
//! no IN, BETWEEN, LIKE, NULLIF, IS DISTINCT FROM or CASE with an operand. On a connection of pgsluice's own the same holds, and
//! [`in_system_path`] sets the path ahead of each message: a role's or a database's own default may be anything.
//!
//! Names and values go through [`quote`](crate::sql::lex::quote).

pub mod activate;
pub mod fanout;
pub mod heartbeat;
pub mod migrate;
pub mod moving;
pub mod roles;
pub mod servers;
pub mod settings;
pub mod transaction;
pub mod write_check;

pub use crate::sql::own_statements::servers::in_system_path;

/// One of each statement, as it is sent, for a test that runs them all: the name and the text.
#[doc(hidden)]
pub fn all() -> Vec<(&'static str, String)> {
    let list = super::RefusalList::default();
    let mut all = crate::sql::own_statements::servers::all();
    all.extend(crate::sql::own_statements::moving::all());
    all.extend(crate::sql::own_statements::activate::all());
    all.extend(crate::sql::own_statements::migrate::all());
    all.extend(crate::sql::own_statements::migrate::checks::all());
    all.extend(crate::sql::own_statements::migrate::mirror::all());
    all.extend(crate::sql::own_statements::fanout::all());
    all.extend(crate::sql::own_statements::roles::all());
    all.extend(crate::sql::own_statements::settings::all());
    all.extend(crate::sql::own_statements::transaction::all());
    all.extend(crate::sql::own_statements::write_check::all());
    all.push(("unseen::fingerprint", in_system_path(&super::hidden_writers::fingerprint())));
    all.push(("unseen::question", in_system_path(&super::hidden_writers::question(&list, "15.1"))));
    all
}

fn named(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    list.iter().map(|(name, text)| (*name, (*text).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What a text of SQL begins with, and what begins alike and is none: tags, and words for people.
    const VERBS: [&str; 14] = [
        "SELECT ",
        "SET ",
        "RESET ",
        "BEGIN READ",
        "COMMIT ",
        "ROLLBACK ",
        "SAVEPOINT ",
        "RELEASE ",
        "DISCARD ",
        "MOVE ",
        "CLOSE ",
        "DEALLOCATE ",
        "DECLARE ",
        "UNION ",
    ];
    const OTHERS: [&str; 14] = [
        "SET {name} = 'name', outside",
        "SET {} stands by itself",
        "SET pgsluice.fanout",
        "SELECT 0\\0",
        "SELECT 1\\0",
        "SET TRANSACTION {what}",
        "COMMIT AND CHAIN",
        "COMMIT PREPARED",
        "ROLLBACK AND CHAIN",
        "ROLLBACK PREPARED",
        "ROLLBACK TO SAVEPOINT\"",
        "RELEASE SAVEPOINT\"",
        "SET CONSTRAINTS\"",
        // What libpq sends, which is looked for.
        "SELECT pg_catalog.set_config('search_path', '', false)",
    ];

    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_statement_of_ours_is_written_elsewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let mut found = Vec::new();
        // The console answers with tags, and sends nothing but what its checks ask; the configuration has statements of its user's.
        let of_console =
            |file: &Path| file.starts_with(root.join("admin")) && !file.starts_with(root.join("admin/check"));
        let left_out = |file: &Path| {
            file.starts_with(root.join("sql"))
                || file.starts_with(root.join("config"))
                || of_console(file)
                || file.to_string_lossy().ends_with("tests.rs")
        };
        for file in files.iter().filter(|file| !left_out(file)) {
            let text = std::fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let literals = line.match_indices('"').map(|(at, _)| line.get(at + 1..).unwrap_or_default());
                let sql = |text: &str| {
                    VERBS.iter().any(|verb| text.starts_with(verb))
                        && !OTHERS.iter().any(|other| text.starts_with(other))
                };
                if literals.into_iter().any(sql) {
                    found.push(format!("{}:{}: {}", file.display(), at + 1, line.trim()));
                }
            }
        }
        assert!(found.is_empty(), "statements belong into own_statements:\n{}", found.join("\n"));
    }
}

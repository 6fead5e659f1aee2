//! PostgreSQL 15's own regression suite, fetched when it is asked for.

use crate::split::{Step, split};
use pgsluice_fixtures::cache;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the suite.
pub struct File {
    pub name: String,
    pub steps: Vec<Step>,
}

/// The folder with the suite's files, or why there is none.
fn folder() -> Result<PathBuf, String> {
    let folder = cache::folder().map_err(|error| error.to_string())?.join("postgresql-15-regress");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/get-regress");
    let ended = Command::new("sh").arg(script).arg(&folder).output().map_err(|error| error.to_string())?;
    if ended.status.success() { Ok(folder) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

/// The files in the order in which PostgreSQL's own schedule runs them. `None`, and a word on standard error, when the
/// suite cannot be had here.
pub fn regression_suite() -> Option<Vec<File>> {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("SKIPPED: PostgreSQL 15's regression suite cannot be had here: {}", why.trim());
            return None;
        }
    };
    let schedule = fs::read_to_string(folder.join("parallel_schedule")).expect("the schedule");
    let lines = schedule.lines().filter_map(|line| line.strip_prefix("test:"));
    Some(lines.flat_map(str::split_whitespace).filter_map(|name| file(&folder, name)).collect())
}

fn file(folder: &Path, name: &str) -> Option<File> {
    // A file for each encoding is made from these; they are not SQL as they lie there.
    let bytes = fs::read(folder.join("sql").join(format!("{name}.sql"))).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let variables = [("PG_ABS_SRCDIR", folder.display().to_string()), ("PG_DLSUFFIX", ".so".to_owned())];
    let variables: HashMap<_, _> = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Some(File { name: name.to_owned(), steps: split(&text, &variables) })
}

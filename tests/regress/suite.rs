//! The suite's files, fetched and built when they are asked for, and pg_regress, which runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::folder::Folder;
use pgsluice_fixtures::{Installation, Postgres, cache};

use crate::stand::Stand;

/// See the module.
pub struct Suite {
    /// The suite, where the server's user can read it too.
    folder: PathBuf,
    installation: Installation,
    /// Where results stay.
    cache: PathBuf,
    place: Folder,
}

/// What became of the files.
pub struct Report {
    pub total: usize,
    pub failed: Vec<String>,
    /// Where the differences are.
    pub differences: PathBuf,
}

impl Report {
    pub fn passed(&self) -> usize {
        self.total - self.failed.len()
    }
}

/// Runs one of the fixtures' scripts.
fn script(name: &str, arguments: &[&Path]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let ended = Command::new("sh").arg(script).args(arguments).output().map_err(|error| error.to_string())?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("rights of a folder of ours");
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let ended = Command::new("cp").arg("-R").args([from, to]).output().map_err(|error| error.to_string())?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

impl Suite {
    /// `None`, and a word on standard error, where it cannot be had.
    pub fn fetch() -> Option<Suite> {
        Suite::or_skip(Suite::try_fetch(true))
    }

    /// The same without what has to be compiled.
    pub fn fetch_files() -> Option<Suite> {
        Suite::or_skip(Suite::try_fetch(false))
    }

    fn or_skip(fetched: Result<Suite, String>) -> Option<Suite> {
        match fetched {
            Ok(suite) => Some(suite),
            Err(why) => {
                eprintln!("SKIPPED: PostgreSQL 15's own suites cannot be run here: {}", why.trim());
                None
            }
        }
    }

    fn try_fetch(compiled: bool) -> Result<Suite, String> {
        let installation = Postgres::major(15).map_err(|error| error.to_string())?;
        let cache = cache::folder().map_err(|error| error.to_string())?;
        let folder = cache.join("postgresql-15-regress");
        script("get-regress", &[&folder])?;
        if compiled {
            let pg_config = installation.program("pg_config").map_err(|error| error.to_string())?;
            script("get-regress-library", &[&folder, &pg_config])?;
        }
        // The cache may be nobody's business but ours; the server is another user's if we are root.
        let place = Folder::create().map_err(|error| error.to_string())?;
        open(place.path(), 0o755);
        let suite = Suite { folder: place.path().join("suite"), installation, cache, place };
        copy(&folder, &suite.folder)?;
        let driver = suite.driver();
        if driver.exists() { Ok(suite) } else { Err(format!("no {}", driver.display())) }
    }

    /// The suite's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A place for what is not kept.
    pub fn scratch(&self) -> &Path {
        self.place.path()
    }

    fn driver(&self) -> PathBuf {
        self.installation.bin_dir.join("../lib/pgxs/src/test/regress/pg_regress")
    }

    /// Runs all of the regression suite.
    pub fn run(&self, manner: &str, stand: &Stand) -> Report {
        let schedule = format!("--schedule={}", self.folder.join("parallel_schedule").display());
        let arguments = ["--max-concurrent-tests=20".to_owned(), schedule];
        self.drive(&self.driver(), &self.folder, &arguments, &format!("regress-{manner}"), stand)
    }

    /// Runs those of the isolation suite, or all where none is named. Known are the names of the specs.
    pub fn isolate(&self, manner: &str, specs: &[&str], stand: &Stand) -> Report {
        let folder = self.folder.join("isolation");
        let driver = self.installation.bin_dir.join("../lib/pgxs/src/test/isolation/pg_isolation_regress");
        let arguments: Vec<_> = match specs {
            [] => vec![format!("--schedule={}", folder.join("isolation_schedule").display())],
            specs => specs.iter().map(|spec| (*spec).to_owned()).collect(),
        };
        self.drive(&driver, &folder, &arguments, &format!("isolation-{manner}"), stand)
    }

    /// Runs one of PostgreSQL's drivers; results stay in the cache under that name.
    fn drive(&self, driver: &Path, input: &Path, arguments: &[String], kept: &str, stand: &Stand) -> Report {
        let output = self.place.path().join("output");
        // The server writes and reads files there.
        for folder in [&output, &output.join("results")] {
            fs::create_dir_all(folder).expect("a folder for the results");
            open(folder, 0o777);
        }
        let mut driver = Command::new(driver);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            driver.env_remove(name);
        }
        let ended = driver
            .current_dir(&output)
            .args(["--use-existing", "--host=127.0.0.1"])
            .arg(format!("--dbname={}", stand.database))
            .args([format!("--user={SUPERUSER}"), format!("--port={}", stand.port())])
            .arg(format!("--bindir={}", self.installation.bin_dir.display()))
            .arg(format!("--dlpath={}", self.folder.display()))
            .arg(format!("--inputdir={}", input.display()))
            .arg(format!("--outputdir={}", output.display()))
            .args(arguments)
            .output()
            .expect("the driver runs");
        let said = String::from_utf8_lossy(&ended.stdout);
        fs::write(output.join("summary.txt"), &*said).expect("a summary");
        let verdicts: Vec<_> = said.lines().filter_map(verdict).collect();
        assert!(!verdicts.is_empty(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
        let failed = verdicts.iter().filter(|(_, passed)| !passed).map(|(name, _)| (*name).to_owned()).collect();
        let kept = self.cache.join(kept);
        let _ = fs::remove_dir_all(&kept);
        copy(&output, &kept).expect("results are kept");
        Report { total: verdicts.len(), failed, differences: kept.join("regression.diffs") }
    }
}

/// A file and whether it passed, from a line such as `test boolean   ... ok   62 ms` or, of a group, `     char ... FAILED`.
fn verdict(line: &str) -> Option<(&str, bool)> {
    let (name, verdict) = line.split_once(" ... ")?;
    let name = name.trim().strip_prefix("test ").unwrap_or(name).trim();
    Some((name, verdict.trim_start().starts_with("ok")))
}

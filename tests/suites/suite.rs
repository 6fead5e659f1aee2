//! The suites: where their files come from, how each is run, and how its verdicts are read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::{Postgres, cache};

/// A suite.
#[derive(Clone, Copy)]
pub enum Kind {
    Psycopg2,
    Asyncpg,
    Django,
    Sqlalchemy,
}

/// Those of Django's tests that look at the database, its sessions and its transactions.
const DJANGO: &str = "postgres_tests backends transactions basic queries schema migrations inspectdb introspection migrate_signals \
    aggregation constraints indexes select_for_update transaction_hooks test_utils sessions_tests delete bulk_create expressions \
    force_insert_update get_or_create";

/// Those of SQLAlchemy's.
const SQLALCHEMY: &str =
    "test/dialect/postgresql test/dialect/test_suite.py test/engine/test_transaction.py test/engine/test_reconnect.py";

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Psycopg2, Kind::Asyncpg, Kind::Django, Kind::Sqlalchemy];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Psycopg2 => "psycopg2",
            Kind::Asyncpg => "asyncpg",
            Kind::Django => "django",
            Kind::Sqlalchemy => "sqlalchemy",
        }
    }

    /// Where its tests run.
    pub fn database(self) -> &'static str {
        match self {
            Kind::Psycopg2 => "psycopg2_test",
            // Some of its tests name it.
            Kind::Asyncpg => "postgres",
            Kind::Django => "test_django",
            Kind::Sqlalchemy => "sqlalchemy",
        }
    }

    /// Databases to make for it.
    pub fn databases(self) -> &'static [&'static str] {
        match self {
            Kind::Psycopg2 => &["psycopg2_test"],
            Kind::Asyncpg => &[],
            Kind::Django => &["django", "test_django", "other", "test_other"],
            Kind::Sqlalchemy => &["sqlalchemy"],
        }
    }

    /// What its database has to have.
    pub fn schema(self) -> &'static [&'static str] {
        match self {
            Kind::Psycopg2 => &["CREATE EXTENSION hstore"],
            Kind::Asyncpg | Kind::Django => &[],
            Kind::Sqlalchemy => &[
                "CREATE SCHEMA test_schema",
                "CREATE SCHEMA test_schema_2",
                "CREATE EXTENSION hstore",
                "CREATE EXTENSION citext",
            ],
        }
    }

    fn arguments(self, port: u16) -> Vec<String> {
        let text = match self {
            Kind::Django => format!("runtests.py --settings=suite_settings --parallel=1 --noinput --keepdb {DJANGO}"),
            Kind::Psycopg2 | Kind::Asyncpg => {
                "-m pytest -p no:cacheprovider -q --timeout=60 -rfE --tb=short tests".to_owned()
            }
            Kind::Sqlalchemy => format!(
                "-m pytest -p no:cacheprovider -q --timeout=60 -rfE --tb=short {SQLALCHEMY} \
                 --dburi postgresql+psycopg2://{SUPERUSER}@127.0.0.1:{port}/{}",
                self.database()
            ),
        };
        text.split_whitespace().map(str::to_owned).collect()
    }
}

/// See the module.
pub struct Suites {
    folder: PathBuf,
    said: PathBuf,
}

/// What became of the tests.
pub struct Report {
    /// How many ran.
    pub total: usize,
    pub failed: BTreeSet<String>,
}

impl Suites {
    /// `None`, and a word on standard error, where they cannot be had.
    pub fn fetch() -> Option<Suites> {
        match Suites::try_fetch() {
            Ok(suites) => Some(suites),
            Err(why) => {
                eprintln!("SKIPPED: the drivers' test suites cannot be run here: {}", why.trim());
                None
            }
        }
    }

    fn try_fetch() -> Result<Suites, String> {
        let pg_config =
            Postgres::major(15).and_then(|one| one.program("pg_config")).map_err(|error| error.to_string())?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = pg_config.parent().map_or(path.clone(), |folder| format!("{path}:{}", folder.display()));
        let cache = cache::folder().map_err(|error| error.to_string())?;
        let suites = Suites { folder: cache.join("driver-suites"), said: cache.join("suites-said") };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/get-driver-suites");
        let ended = Command::new("sh").arg(script).arg(&suites.folder).env("PATH", path).output();
        let ended = ended.map_err(|error| error.to_string())?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned());
        }
        fs::create_dir_all(&suites.said).map_err(|error| error.to_string())?;
        let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/django_settings.py");
        fs::copy(settings, suites.folder.join("django/tests/suite_settings.py")).map_err(|error| error.to_string())?;
        Ok(suites)
    }

    /// Runs one to its end, or for fifteen minutes.
    pub fn run(&self, kind: Kind, port: u16, manner: &str) -> Report {
        let mut command = Command::new("timeout");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        let home = self.folder.join(kind.name());
        let ended = command
            .arg("900")
            .arg(self.folder.join("python/bin/python"))
            .args(kind.arguments(port))
            .current_dir(if matches!(kind, Kind::Django) { home.join("tests") } else { home })
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", SUPERUSER), ("PGDATABASE", kind.database())])
            .envs([("PGPORT", port.to_string())])
            // Tests of replication, on the same server.
            .env("PSYCOPG2_TEST_REPL_DSN", "")
            .output()
            .expect("the suite runs");
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        fs::write(self.said.join(format!("{}-{manner}.txt", kind.name())), &*said).expect("what it said is kept");
        let report = Report { total: total(&said), failed: said.lines().filter_map(failed).collect() };
        assert!(report.total > 0, "{said}");
        report
    }
}

/// The failed test of a line such as `FAILED tests/test_a.py::A::test_b - why` or `FAIL: test_b (a.A.test_b)`.
fn failed(line: &str) -> Option<String> {
    if let Some((_, name)) = line.split_once(": ").filter(|(head, _)| matches!(*head, "FAIL" | "ERROR")) {
        return Some(name.to_owned());
    }
    let (head, rest) = line.split_once(' ')?;
    let name = rest.split(" - ").next()?;
    (matches!(head, "FAILED" | "ERROR") && name.starts_with("test")).then(|| name.to_owned())
}

/// How many tests ran: `Ran 12 tests in 1s`, or `1 failed, 2 passed, 3 skipped, 1 error in 4s`.
fn total(said: &str) -> usize {
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    if let Some(line) = said.lines().rev().find(|line| line.starts_with("Ran ")) {
        return line.split(' ').nth(1).map_or(0, number);
    }
    let summary = said.lines().rev().find(|line| line.contains(" passed") && line.contains(" in "));
    let parts =
        summary.unwrap_or_default().trim_matches('=').split(", ").filter_map(|part| part.trim().split_once(' '));
    parts
        .filter(|(_, what)| ["passed", "failed", "error"].iter().any(|one| what.starts_with(one)))
        .map(|(count, _)| number(count))
        .sum()
}

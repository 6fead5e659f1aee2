//! Who takes part.

use std::time::{Duration, Instant};

use pgsluice_fixtures::{Address, Login, Proxy, Raw, Signal};

use crate::Failure;
use crate::measure;

/// Everyone's user; a superuser, so that it can run what it likes.
pub const USER: &str = "bench";
/// The user who proves who it is.
pub const SCRAM_USER: &str = "bench_scram";
/// Its password.
pub const SCRAM_PASSWORD: &str = "correct horse battery staple";
/// Everyone's database.
pub const DATABASE: &str = "bench";

/// For a proxy to come to the state it is to be measured in.
const PATIENCE: Duration = Duration::from_secs(15);

/// What stands between pgbench and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Direct,
    /// What others are compared with.
    PgBouncer,
    /// A relay of bytes: what can be reached without looking at them.
    HaProxy,
    /// A process for each client.
    Pgpool,
    /// pgsluice.
    Pgsluice(Manner),
    /// Someone given by --with.
    Other,
}

/// In which pgsluice runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The gate is open.
    Open,
    /// In maintenance: takes only reads, in guarded transactions.
    ReadOnly,
    /// Reads go to the replica.
    ReplicaReads,
}

impl Manner {
    /// All there are, and what they are called on the command line.
    pub const ALL: [(Manner, &str); 3] =
        [(Manner::Open, "pgsluice"), (Manner::ReadOnly, "read_only"), (Manner::ReplicaReads, "replica")];
}

/// Where clients connect to on 127.0.0.1, and whose time counts.
#[derive(Debug)]
pub struct Place {
    /// The port.
    pub port: u16,
    /// The process; None for a direct connection.
    pub pid: Option<i32>,
    proxy: Option<Proxy>,
}

impl Place {
    /// Nobody's process.
    pub fn direct(port: u16) -> Place {
        Place { port, pid: None, proxy: None }
    }

    /// A process that someone else has started.
    pub fn running(port: u16, pid: i32) -> Place {
        Place { port, pid: Some(pid), proxy: None }
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Option<Duration> {
        measure::cpu_time(self.pid?)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> Option<u64> {
        measure::resident_kib(self.pid?)
    }

    /// Asks the process to end, and waits until it has.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self) -> Result<(), Failure> {
        let Some(proxy) = &mut self.proxy else { return Ok(()) };
        proxy.signal(Signal::SIGTERM)?;
        proxy.wait_for_exit(PATIENCE)?;
        self.pid = None;
        Ok(())
    }

    /// Ends the process and starts it again, with nothing learned.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<(), Failure> {
        let Some(proxy) = &mut self.proxy else { return Ok(()) };
        proxy.kill_9();
        proxy.start_again()?;
        self.pid = proxy.pid().map(u32::cast_signed);
        Ok(())
    }
}

impl From<Proxy> for Place {
    fn from(proxy: Proxy) -> Place {
        Place { port: proxy.port(), pid: proxy.pid().map(u32::cast_signed), proxy: Some(proxy) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (Some(pid), Some(proxy)) = (self.pid, &mut self.proxy) else { return };
        if measure::has_children(pid) {
            // The children of a process that is killed would stay behind: it is asked, and then they are killed.
            let _ = proxy.signal(Signal::SIGINT);
            let _ = proxy.wait_for_exit(PATIENCE);
            measure::kill_group(pid);
        }
    }
}

/// One of those who are compared.
#[derive(Debug)]
pub struct Contender {
    /// What it is called in tables.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it lets everyone in.
    pub place: Place,
    /// Where clients have to log in with SCRAM: a process of its own, so that nobody else pays for it.
    pub scram: Option<Place>,
    /// Whether it takes TLS from clients. The certificate is everyone's.
    pub tls: bool,
    /// Whether it follows prepared statements from one server connection to the next, or needs not.
    pub prepares: bool,
    /// The database in which prepared statements work.
    pub prepared_database: &'static str,
    /// What a reader must know of it.
    pub note: Option<String>,
}

impl Contender {
    /// Neither TLS nor SCRAM.
    pub fn new(name: impl Into<String>, kind: Kind, place: Place) -> Contender {
        Contender {
            name: name.into(),
            kind,
            place,
            scram: None,
            tls: false,
            prepares: true,
            prepared_database: DATABASE,
            note: None,
        }
    }

    /// Whether many clients share few server connections.
    pub fn pools(&self) -> bool {
        !matches!(self.kind, Kind::Direct | Kind::HaProxy | Kind::Pgpool)
    }

    /// Whether its memory is of interest: not twice for the same program, and not that of a process for each client.
    pub fn weighs(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Direct | Kind::Pgpool | Kind::Pgsluice(Manner::ReadOnly) | Kind::Pgsluice(Manner::ReplicaReads)
        )
    }

    /// Waits until a query gives this answer.
    ///
    /// # Errors
    /// The last answer, when it does not.
    pub fn wait_for(&self, sql: &str, expected: &str) -> Result<(), Failure> {
        let login = Login::new(USER, DATABASE);
        let look = || -> Result<String, String> {
            let mut raw = Raw::connect(&Address::local(self.place.port), &login).map_err(|error| error.to_string())?;
            let results = raw.query(sql, Duration::from_secs(5)).map_err(|error| error.to_string())?;
            Ok(results.first().map(|result| format!("{result:?}")).unwrap_or_default())
        };
        until(|| match look() {
            Ok(answer) if answer.contains(expected) => Ok(()),
            Ok(answer) => Err(answer),
            Err(error) => Err(error),
        })
        .map_err(|last| format!("{sql}: {last}").into())
    }
}

/// Looks until it is so, within the patience there is; what was seen last otherwise.
///
/// # Errors
/// The last look's.
pub fn until<E>(mut look: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
            Ok(()) => return Ok(()),
        }
    }
}

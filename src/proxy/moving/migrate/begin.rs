//! The command: what it is about, and whether it can begin.

use std::sync::Arc;

use super::options::Options;
use super::run::Run;
use super::sides::Side;
use crate::gate::{ServerDatabase, Who};
use crate::moving::{Extent, Migrate, Migration, Move, MoveKind, MoveOf, Scope, Step, Way};
use crate::protocol::Report;
use crate::proxy::moving::life;
use crate::proxy::reroute::{configured_place, place_of};
use crate::shared::{Database, ProxyState};

/// What becomes of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// It goes over to this cluster.
    There(String),
    /// It goes back.
    Back,
    /// It stays where it is, and replication is taken away.
    Finish,
}

impl Where {
    /// For the log.
    pub fn words(&self) -> String {
        match self {
            Self::There(cluster) => cluster.clone(),
            Self::Back => "BACK".to_owned(),
            Self::Finish => "FINISH".to_owned(),
        }
    }
}

/// The command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The database, as clients name it.
    pub database: String,
    /// Where to.
    pub to: Where,
    /// What stands in WITH (…).
    pub options: Vec<(String, String)>,
}

fn refuse<T>(text: String, hint: &str) -> Result<T, Report> {
    Err(Report::error("55000", text).with_hint(Some(hint.to_owned())))
}

/// The migration that a database is in.
fn migration_of(proxy: &ProxyState, database: &Database) -> Option<Migration> {
    let here = place_of(database);
    proxy.moves.migrations().into_iter().find(|one| one.has(&here))
}

/// Where clients are led from and to; true: it goes on with what is there.
fn ends(
    proxy: &ProxyState,
    request: &Request,
    options: &Options,
) -> Result<(ServerDatabase, ServerDatabase, Way), Report> {
    let name = &request.database;
    let Some(database) = proxy.databases.get(name) else {
        return Err(Report::error("3D000", format!("database \"{name}\" does not exist")));
    };
    let known = migration_of(proxy, &database);
    match (&request.to, known) {
        (Where::There(cluster), known) => there(proxy, &database, cluster, known, options),
        (Where::Back, Some(known)) if known.on_new => Ok((known.new, known.old, Way::Back)),
        (Where::Back, Some(known)) => refuse(
            format!("clients of \"{name}\" are on {} already", known.old),
            "MIGRATE … FINISH takes replication away.",
        ),
        (Where::Finish, Some(known)) => {
            let (with, without) = known.sides();
            Ok((without.clone(), with.clone(), Way::Finish))
        }
        (Where::Back | Where::Finish, None) => refuse(
            format!("database \"{name}\" is not being migrated"),
            "MIGRATE … TO comes first; SHOW MIGRATIONS lists them.",
        ),
    }
}

fn there(
    proxy: &ProxyState,
    database: &Arc<Database>,
    cluster: &str,
    known: Option<Migration>,
    options: &Options,
) -> Result<(ServerDatabase, ServerDatabase, Way), Report> {
    let name = &database.name;
    let Some((target, _)) = proxy.databases.cluster(cluster) else {
        let report = Report::error("42704", format!("cluster \"{cluster}\" does not exist"));
        return Err(report.with_hint(Some("SHOW UPSTREAMS lists the clusters and their servers.".to_owned())));
    };
    if let Some(known) = known {
        if known.new.cluster != cluster {
            let text = format!("database \"{name}\" is being migrated to {}", known.new);
            let hint = format!("MIGRATE {name} FINISH ends that.");
            return Err(Report::error("55006", text).with_hint(Some(hint)));
        }
        if known.on_new {
            return refuse(format!("clients of \"{name}\" are on {} already", known.new), "MIGRATE … BACK, or FINISH.");
        }
        return Ok((known.old, known.new, Way::There));
    }
    let from = place_of(database);
    if configured_place(proxy, database) != from {
        let text = format!("clients of \"{name}\" are rerouted to {from}");
        return Err(Report::error("55006", text).with_hint(Some(format!("REROUTE {name} BACK comes first."))));
    }
    let own = database.setup().cluster.clone();
    if from.cluster == cluster || own.shares_primary(&target) {
        let text = format!("cluster \"{cluster}\" is where \"{name}\" is");
        return Err(
            Report::error("22023", text).with_hint(Some("SWITCHOVER is for another server of a cluster.".to_owned()))
        );
    }
    if own.has_several_primaries() || target.has_several_primaries() {
        return refuse(
            "a cluster with several primaries cannot be migrated".to_owned(),
            "ACTIVATE uses another one of them.",
        );
    }
    let dbname = options.dbname.clone().unwrap_or_else(|| from.dbname.clone());
    Ok((from, ServerDatabase { cluster: cluster.to_owned(), dbname }, Way::There))
}

/// Begins, or with `dry_run` only looks.
///
/// # Errors
/// 3D000, 42704: there is no such database or cluster. 22023: the options. 55000: there is nothing to do or no primary. 55006: another
/// move is under way.
pub fn begin(proxy: &Arc<ProxyState>, request: &Request, who: Who) -> Result<Arc<Move>, Report> {
    let options = Options::read(proxy, request)?;
    let (from, to, way) = ends(proxy, request, &options)?;
    // Whoever takes away what is left may find one side gone for good.
    let side = |place: &ServerDatabase| match Side::of(proxy, place, None) {
        Ok(side) => Ok(Some(side)),
        Err(_) if way == Way::Finish && options.extent == Extent::Force => Ok(None),
        Err(why) => Err(Report::error("55000", why)),
    };
    let sides = (side(&from)?, side(&to)?);
    let words =
        |place: &ServerDatabase, side: &Option<Side>| side.as_ref().map_or_else(|| place.to_string(), Side::server);
    let known = Migrate {
        database: request.database.clone(),
        way,
        words: (words(&from, &sides.0), words(&to, &sides.1)),
        from: from.clone(),
        to: to.clone(),
        step: Step::Check,
        closed: Vec::new(),
        extent: options.extent,
        margin: options.margin,
        was_fenced: false,
        timeout: options.timeout,
        hold_timeout: options.hold_timeout,
        drain_timeout: options.drain_timeout,
        cancels: options.cancels,
        copy_timeout: options.copy_timeout,
        mirror: options.mirroring(),
    };
    let what = MoveKind::Migrate(Box::new(known.clone()));
    let one = if options.dry_run {
        proxy.moves.rehearse(what, who)
    } else {
        let names = proxy.gates.get(&request.database).map(|gate| gate.names()).unwrap_or_default();
        let scope = Scope { clusters: Vec::new(), databases: vec![from, to] };
        let begun = proxy.moves.begin(what, scope, (&request.database, names), who);
        begun.map_err(|error| Report::error(error.sqlstate(), error.to_string()).with_hint(error.hint()))?
    };
    match (way, sides) {
        (Way::Finish, sides) => {
            life::start(&one, super::finish::run(proxy.clone(), one.clone(), sides, options.dry_run));
        }
        (_, (Some(from), Some(to))) => {
            let run = Run::new(proxy.clone(), one.clone(), known, from, to);
            life::start(&one, run.begin(options.accept, options.dry_run));
        }
        _ => return Err(Report::error("55000", "a side cannot be named")),
    }
    Ok(one)
}

/// Takes up one that an earlier life of the process has begun.
pub(in crate::proxy::moving) async fn resume(proxy: Arc<ProxyState>, one: MoveOf<Migrate>) {
    let known = one.known().clone();
    let find = |proxy: &Arc<ProxyState>| {
        let side = |place, server: &str| Side::of(proxy, place, Some(server)).ok();
        Some((side(&known.from, &known.words.0)?, side(&known.to, &known.words.1)?))
    };
    let Some((from, to)) = life::wait_for(&proxy, one.shared(), find).await else { return };
    let shared = one.shared().clone();
    match known.way {
        Way::Finish => super::finish::run(proxy, shared, (Some(from), Some(to)), false).await,
        Way::There | Way::Back => Run::new(proxy, shared, known, from, to).resume().await,
    }
}

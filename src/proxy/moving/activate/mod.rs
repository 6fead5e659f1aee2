//! ACTIVATE: of several servers that replicate each other's writes, another one is used.
//!
//! The order is that of whoever does it by hand: writes of the cluster's databases are held; on the active server they go *down*
//! (read-only by ALTER DATABASE, which outlives a reboot) and other sessions are ended until none is left; what was written *drains* to
//! the other server; there they go *up*; and the held writes go on. Until then any failure leads back. From then on it only goes
//! forward: the former server stays down, so that there are never two active ones. [`run`] takes the steps, [`servers`] asks.

mod run;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use crate::gate::Who;
use crate::moving::{Activate, End, Line, Move, MoveOf, Step};
use crate::protocol::Report;
use crate::proxy::moving::options::{flag, once, unknown, wait};
use crate::proxy::moving::switchover::Servers;
use crate::proxy::moving::{begin_of_clusters, life};
use crate::shared::ProxyState;
use run::{Run, Sides};

/// How long it may take, if the command does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A database of the cluster, as clients name it.
    pub database: String,
    /// The server that is to be used, as SHOW UPSTREAMS names it.
    pub to: String,
    /// What stands in WITH (…).
    pub options: Vec<(String, String)>,
}

/// See [`Request::options`].
struct Options {
    timeout: Duration,
    dry_run: bool,
}

impl Options {
    fn read(pairs: &[(String, String)]) -> Result<Self, Report> {
        let mut options = Self { timeout: TIMEOUT, dry_run: false };
        for (place, (name, value)) in pairs.iter().enumerate() {
            once(pairs, place, name)?;
            match name.to_ascii_lowercase().as_str() {
                "timeout" => options.timeout = wait("timeout", value)?,
                "dry_run" => options.dry_run = flag("dry_run", value)?,
                _ => return Err(unknown(name, "Options are timeout and dry_run.")),
            }
        }
        Ok(options)
    }
}

/// Begins, or with `dry_run` only looks. Asking for the server that is used succeeds and does nothing.
///
/// # Errors
/// 3D000, 42704: there is no such database or server. 22023: the options. 55000: the cluster has one primary, or none is known. 55006:
/// another move is under way.
pub fn begin(proxy: &Arc<ProxyState>, request: &Request, who: Who) -> Result<Arc<Move>, Report> {
    let options = Options::read(&request.options)?;
    let servers = servers_of(proxy, request)?;
    let known = Activate {
        database: request.database.clone(),
        cluster: servers.cluster.name.clone(),
        from: servers.name(servers.from),
        to: servers.name(servers.to),
        step: Step::Check,
        closed: Vec::new(),
        timeout: options.timeout,
    };
    if servers.from == servers.to {
        let one = proxy.moves.rehearse(known.into(), who);
        one.tell(Line::step(Step::Check, Duration::ZERO, format!("{} is used already", servers.name(servers.to))));
        let ended = one.clone();
        life::start(&one, async move { ended.end(End::done()).await });
        return Ok(one);
    }
    let sides = Sides::find(proxy, &servers).ok_or_else(|| life::no_role(&servers.cluster))?;
    let one = if options.dry_run {
        MoveOf::new(proxy.moves.rehearse(known.clone().into(), who), known)
    } else {
        begin_of_clusters(proxy, known, std::slice::from_ref(&servers.cluster), &request.database, who)?
    };
    let shared = one.shared().clone();
    life::start(&shared, Run::new(proxy.clone(), one, servers, sides).begin(options.dry_run));
    Ok(shared)
}

fn servers_of(proxy: &ProxyState, request: &Request) -> Result<Servers, Report> {
    let Some(database) = proxy.databases.get(&request.database) else {
        return Err(Report::error("3D000", format!("database \"{}\" does not exist", request.database)));
    };
    let cluster = database.setup().cluster.clone();
    let name = &cluster.name;
    if !cluster.has_several_primaries() {
        let text = format!("cluster \"{name}\" has one primary");
        let hint = "SWITCHOVER makes another server the primary; multi_primary = true says that several take writes.";
        return Err(Report::error("55000", text).with_hint(Some(hint.to_owned())));
    }
    let names: Vec<_> = cluster.upstreams.iter().map(|one| one.address.to_string()).collect();
    let Some(to) = cluster.find_server(&request.to) else {
        let text = format!("cluster \"{name}\" has no server \"{}\"", request.to);
        return Err(Report::error("42704", text).with_hint(Some(format!("Its servers are {}.", names.join(", ")))));
    };
    let Some(from) = cluster.primary() else {
        let text = format!("cluster \"{name}\" has no server that could be left: none is known to take writes");
        return Err(Report::error("55000", text));
    };
    if !cluster.claims_to_be_primary(to) {
        let text = format!("{} is not known to be a primary", request.to);
        return Err(Report::error("55000", text));
    }
    Ok(Servers { cluster, from, to })
}

/// Takes up one that an earlier life of the process has begun.
pub(in crate::proxy::moving) async fn resume(proxy: Arc<ProxyState>, one: MoveOf<Activate>) {
    let known = one.known();
    let find = |proxy: &Arc<ProxyState>| {
        let servers = Servers::known(proxy, &known.cluster, &known.from, &known.to)?;
        let sides = Sides::find(proxy, &servers)?;
        Some((servers, sides))
    };
    if let Some((servers, sides)) = life::wait_for(&proxy, one.shared(), find).await {
        Run::new(proxy, one, servers, sides).resume().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Report> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options::read(&pairs)
    }

    #[test]
    fn every_option_has_its_values_and_is_given_once() {
        let options = read(&[("TIMEOUT", "5s"), ("dry_run", "On")]).unwrap();
        assert_eq!((options.timeout, options.dry_run), (Duration::from_secs(5), true));
        for pairs in [
            &[("timeout", "soon")][..],
            &[("timeout", "0")],
            &[("timeout", "2d")],
            &[("dry_run", "maybe")],
            &[("hold_timeout", "1s")],
        ] {
            let error = read(pairs).err().unwrap();
            assert!(error.code == "22023" && error.hint.is_some(), "{pairs:?}: {}", error.message);
        }
        let error = read(&[("timeout", "1s"), ("Timeout", "2s")]).err().unwrap();
        assert!(error.code == "22023" && error.message.contains("more than once"), "{}", error.message);
    }
}

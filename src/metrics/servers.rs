//! Servers: role, lag, and whether their primary is known.

use super::families::{Families, Labels};
use crate::shared::ProxyState;
use crate::topology::{Role, Upstream};

/// The words of the roles.
const ROLES: [&str; 5] = ["primary", "replica", "down", "unknown", "retired"];

pub(super) fn add(families: &mut Families, proxy: &ProxyState) {
    let clusters = proxy.databases.clusters();
    let of = |cluster: &str, server: &Upstream| -> Labels {
        vec![("cluster", cluster.to_owned()), ("server", server.address.to_string())]
    };
    let servers: Vec<(Labels, &Upstream)> = clusters
        .iter()
        .flat_map(|cluster| cluster.upstreams.iter().map(|server| (of(&cluster.name, server), server)))
        .collect();
    let is_retired: Vec<bool> = clusters
        .iter()
        .flat_map(|cluster| (0..cluster.upstreams.len()).map(|at| cluster.is_retired_server(at)))
        .collect();
    families.gauge("pgsluice_server_role", "1 for the role that a server has.", |out| {
        for ((labels, server), retired) in servers.iter().zip(&is_retired) {
            let is = if *retired { "retired" } else { server.role().word() };
            for role in ROLES {
                let mut labels = labels.clone();
                labels.push(("role", role.to_owned()));
                out.flag(labels, is == role);
            }
        }
    });
    families.gauge("pgsluice_server_up", "1 for a server that the monitor reaches.", |out| {
        for (labels, server) in &servers {
            out.flag(labels.clone(), matches!(server.role(), Role::Primary | Role::Replica));
        }
    });
    let replicas = || servers.iter().filter(|(_, server)| server.role() == Role::Replica);
    families.gauge("pgsluice_replica_lag_seconds", "How far a replica is behind in time.", |out| {
        replicas().for_each(|(labels, server)| out.real(labels.clone(), server.lag().as_secs_f64()));
    });
    families.gauge("pgsluice_replica_lag_bytes", "How far a replica is behind in bytes of WAL.", |out| {
        replicas().for_each(|(labels, server)| out.whole(labels.clone(), server.lag_bytes()));
    });
    families.gauge("pgsluice_server_busy", "Transactions that run on a server.", |out| {
        servers.iter().for_each(|(labels, server)| out.count(labels.clone(), server.busy()));
    });
    families.gauge("pgsluice_cluster_has_primary", "1 for a cluster whose primary is known.", |out| {
        for cluster in &clusters {
            out.flag(vec![("cluster", cluster.name.clone())], cluster.primary().is_some());
        }
    });
    families.gauge(
        "pgsluice_cluster_contested",
        "1 while several servers claim to be the primary: split brain.",
        |out| {
            for cluster in &clusters {
                out.flag(vec![("cluster", cluster.name.clone())], cluster.has_rivals());
            }
        },
    );
}

//! Asking a cluster's primary how far it has come and who else writes: one question answers for all databases whose drains were
//! over when it was put, so that closing hundreds of databases takes two log-ins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::gate::{ForeignWriter, Lsn, Settled};
use crate::server::login::Login;
use crate::sql::own_statements::servers;
use crate::topology::Cluster;

/// What the primary has answered: its position, and who else writes to which database.
struct Answer {
    asked: Instant,
    lsn: Lsn,
    on_disk: Lsn,
    writers: Vec<(String, ForeignWriter)>,
}

/// One cluster's questions, one at a time.
#[derive(Default)]
struct Desk(tokio::sync::Mutex<Option<Answer>>);

/// The questions of all clusters.
#[derive(Default)]
pub(in crate::proxy) struct Desks(Mutex<HashMap<String, Arc<Desk>>>);

impl Desks {
    /// What the primary says of a database whose drain is over; `ours` are the backends of operators, which are not reported.
    pub(in crate::proxy) async fn settle(
        &self,
        cluster: &Cluster,
        login: &Login,
        dbname: &str,
        ours: impl Future<Output = Vec<u32>>,
    ) -> Result<Settled, String> {
        let drained = Instant::now();
        let desk =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(cluster.name.clone()).or_default().clone();
        let mut last = desk.0.lock().await;
        let answer = match last.take().filter(|answer| answer.asked >= drained) {
            Some(answer) => answer,
            None => {
                let _turn = cluster.question_turn.lock().await;
                ask(login, &ours.await).await?
            }
        };
        cluster.note_on_disk(answer.on_disk);
        let writers = answer.writers.iter().filter(|(of, _)| *of == dbname);
        let settled = Settled {
            lsn: answer.lsn,
            foreign_writers: writers.map(|(_, writer)| writer.clone()).collect(),
            warning: None,
        };
        *last = Some(answer);
        Ok(settled)
    }
}

/// Backends with a transaction id, prepared transactions and logical replication workers of every database.
async fn ask(login: &Login, ours: &[u32]) -> Result<Answer, String> {
    let sql = servers::writers(ours);
    let asked = Instant::now();
    let mut fresh = login.run(&[]).await.map_err(|error| error.to_string())?;
    let rows = tokio::time::timeout(login.timeout, fresh.rows(&sql)).await;
    let rows = rows.map_err(|_| "the primary does not answer".to_owned())?.map_err(|error| error.to_string())?;
    let (mut lsn, mut on_disk) = (None, Lsn(0));
    let mut writers = Vec::new();
    for row in rows {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut field = || fields.next().unwrap_or_default();
        let (kind, dbname, description) = (field(), field(), field());
        match kind.as_str() {
            "lsn" => lsn = description.parse::<Lsn>().ok(),
            "on disk" => on_disk = description.parse().unwrap_or(Lsn(0)),
            _ => writers.push((dbname, ForeignWriter { kind, description })),
        }
    }
    let lsn = lsn.map(Lsn::reachable).ok_or("the primary tells no position")?;
    Ok(Answer { asked, lsn, on_disk, writers })
}

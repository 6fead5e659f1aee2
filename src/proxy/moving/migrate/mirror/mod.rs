//! Reads are mirrored: what clients read on the old side is asked on both sides again, and the answers compared.
//!
//! Clients hand samples over when they have their answers ([`crate::shared::mirrors`]), and never wait. A few workers ask both sides
//! ([`ask`]), as the client's role, in READ ONLY transactions. Where answers differ ([`mod@compare`]), the old side is asked before and
//! after the new one, which has applied everything by then: an answer that changes meanwhile says nothing. What is different is
//! listed in the move, without anybody's data. It ends before the cut, with FINISH, and with the process.

mod ask;
mod compare;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::sides::{Side, names};
use crate::gate::{Lsn, ServerDatabase};
use crate::moving::{Line, Move, Status, Step};
use crate::proxy::moving::lines::{fail, ok, warn};
use crate::proxy::moving::talk::field;
use crate::server::login::LoginError;
use crate::shared::ProxyState;
use crate::shared::mirrors::{Difference, Mirror, Sample};
use crate::sql::own_statements::migrate::mirror as sql;
use crate::sql::{RowOrder, normalised, row_order};
use ask::{Conn, Silence};
use compare::{Told, called, compare, words};

/// Those who ask at a time: each has a connection to each side, and one of the move's own.
const WORKERS: usize = 2;
/// How long one sample may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the new side is waited for.
const LAG: Duration = Duration::from_secs(5);
/// Between two looks whether it is there.
const LOOK: Duration = Duration::from_millis(20);
/// How often an answer is asked for that changes meanwhile.
const TRIES: usize = 3;
/// After a side could not be asked.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes of a statement that are shown.
const SHOWN: usize = 500;
/// Bytes by which a statement is told from others.
const WHOLE_TEXT: usize = 8 * 1024;
/// Statements of which is remembered whether they may be asked again.
const MOST_JUDGED: usize = 1000;
/// How long workers may take to end.
const ENDS: Duration = Duration::from_secs(3);

/// Begins to mirror that share of the reads on the old side, told in that move.
pub(super) fn begin(
    proxy: &Arc<ProxyState>,
    one: &Arc<Move>,
    (old, new): (&ServerDatabase, &ServerDatabase),
    share: u32,
) {
    if let Some(before) = proxy.mirrors.of(old) {
        before.stop();
    }
    let (mirror, queues) = Mirror::new(old.clone(), share, WORKERS);
    for queue in queues {
        let worker = Worker {
            proxy: proxy.clone(),
            mirror: mirror.clone(),
            one: one.clone(),
            sides: (old.clone(), new.clone()),
            stream: names(old, new).0,
            began: Instant::now(),
            own: None,
            pair: None,
            judged: HashMap::new(),
        };
        let stopped = mirror.stopped();
        tokio::spawn(async move {
            let mut stopped = stopped;
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = worker.run(queue) => {}
            }
        });
    }
    proxy.mirrors.put(mirror);
}

/// Ends it, and waits until its connections are closed.
pub(super) async fn end(proxy: &ProxyState, old: &ServerDatabase) {
    let Some(mirror) = proxy.mirrors.of(old) else { return };
    proxy.mirrors.remove(old);
    mirror.stop();
    let _ = timeout(ENDS, mirror.ended()).await;
}

/// What has come of it, as a check.
pub(super) fn check(proxy: &ProxyState, old: &ServerDatabase, accepted: bool) -> Option<Line> {
    let mirror = proxy.mirrors.of(old)?;
    let tally = &mirror.tally;
    let [compared, different, reordered] =
        [&tally.compared, &tally.different, &tally.reordered].map(|count| count.load(Relaxed));
    let [unclear, left_out, failed] = [&tally.unclear, &tally.left_out, &tally.failed].map(|count| count.load(Relaxed));
    let text = format!(
        "{compared} reads were compared, {different} had different answers ({reordered} in their order alone); \
         {unclear} changed meanwhile, {left_out} were left out, {failed} could not be asked"
    );
    let remedy = "SHOW MOVE lists the statements. Mend the new side, or WITH (accept 'mirror').";
    Some(if different > reordered && accepted {
        warn("mirror", format!("{text} (accepted)"), remedy)
    } else if different > reordered {
        fail("mirror", text, remedy)
    } else if different > 0 {
        warn("mirror", text, "Look at the collations of both sides, and at ORDER BY that leaves rows in any order.")
    } else if compared == 0 {
        warn("mirror", text, "Nothing is known of its answers: give it more time, or a larger share.")
    } else {
        ok("mirror", text)
    })
}

/// Connections as one role.
struct Pair {
    user: Arc<str>,
    database: Arc<str>,
    old: Conn,
    new: Conn,
}

/// What has come of one sample.
enum Outcome {
    Same,
    Differs(Difference, String),
    Unclear,
    LeftOut,
}

struct Worker {
    proxy: Arc<ProxyState>,
    mirror: Arc<Mirror>,
    one: Arc<Move>,
    sides: (ServerDatabase, ServerDatabase),
    stream: String,
    began: Instant,
    /// To the old side, by the role for moves.
    own: Option<Side>,
    pair: Option<Pair>,
    /// Whether a statement may be asked again, by the settings of its session and its text without constants.
    judged: HashMap<(u64, String), bool>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Sample>) {
        while let Some(sample) = queue.recv().await {
            self.see(&sample).await;
        }
    }

    async fn see(&mut self, sample: &Sample) {
        let statement = normalised(&sample.text, sample.context, SHOWN);
        let order = row_order(&sample.text, sample.context);
        let asked = timeout(PATIENCE, self.asked(sample, order)).await;
        let mirror = self.mirror.clone();
        let tally = &mirror.tally;
        match asked {
            Ok(Ok(Outcome::Same)) => _ = tally.compared.fetch_add(1, Relaxed),
            Ok(Ok(Outcome::Unclear)) => _ = tally.unclear.fetch_add(1, Relaxed),
            Ok(Ok(Outcome::LeftOut)) => _ = tally.left_out.fetch_add(1, Relaxed),
            Ok(Ok(Outcome::Differs(difference, detail))) => {
                tally.compared.fetch_add(1, Relaxed);
                self.found(statement, difference, &detail).await;
            }
            Ok(Err(Silence::TooMuch)) => {
                tally.left_out.fetch_add(1, Relaxed);
                self.pair = None;
            }
            Ok(Err(silence)) => {
                if let Silence::Failed(error) = silence {
                    tracing::info!(event = "mirror_failed", user = %sample.user, "{error}");
                }
                tally.failed.fetch_add(1, Relaxed);
                (self.pair, self.own) = (None, None);
                sleep(RETRY).await;
            }
            Err(_) => {
                tally.left_out.fetch_add(1, Relaxed);
                (self.pair, self.own) = (None, None);
            }
        }
    }

    async fn found(&mut self, statement: String, difference: Difference, detail: &str) {
        let text = format!("{}: {detail}: {statement}", difference.word());
        if self.mirror.tally.note(statement, difference) {
            let line = Line::step(Step::Mirror, self.began.elapsed(), text).of(Status::Warn);
            self.one.tell(line.with_remedy("Ask both sides for it, and mend the new one."));
            self.one.keep().await;
        }
    }

    async fn asked(&mut self, sample: &Sample, order: RowOrder) -> Result<Outcome, Silence> {
        if order == RowOrder::SomeRows {
            return Ok(Outcome::LeftOut);
        }
        if let Some(told) = self.connect(sample).await? {
            return Ok(told);
        }
        if !self.may_be_asked(sample).await? {
            return Ok(Outcome::LeftOut);
        }
        let Some(pair) = &mut self.pair else { return Ok(Outcome::LeftOut) };
        let (here, there) = (pair.old.ask(sample).await?, pair.new.ask(sample).await?);
        if compare(&here, &there, order).is_none() {
            return Ok(Outcome::Same);
        }
        for _ in 0..TRIES {
            if let Some(outcome) = self.ask_again(sample, order).await? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Unclear)
    }

    /// The old side, then the new one once it has what the old one had, then the old one again. None: it changes meanwhile.
    async fn ask_again(&mut self, sample: &Sample, order: RowOrder) -> Result<Option<Outcome>, Silence> {
        let Some(pair) = &mut self.pair else { return Ok(Some(Outcome::LeftOut)) };
        let before = pair.old.ask(sample).await?;
        if !self.has_caught_up().await? {
            return Ok(Some(Outcome::Unclear));
        }
        let Some(pair) = &mut self.pair else { return Ok(Some(Outcome::LeftOut)) };
        let there = pair.new.ask(sample).await?;
        let after = pair.old.ask(sample).await?;
        let Some(difference) = compare(&before, &there, order) else { return Ok(Some(Outcome::Same)) };
        if compare(&after, &there, order).is_none() {
            return Ok(Some(Outcome::Same));
        }
        let stays = compare(&before, &after, RowOrder::Given).is_none();
        Ok(stays.then(|| Outcome::Differs(difference, words(difference, &before, &there))))
    }

    /// Connections as the client's role, with its settings. Some: it may not log in to the new side.
    async fn connect(&mut self, sample: &Sample) -> Result<Option<Outcome>, Silence> {
        let fits = |pair: &Pair| pair.user == sample.user && pair.database == sample.database.name;
        if !self.pair.as_ref().is_some_and(fits) {
            self.pair = None;
            self.judged.clear();
            let old = Conn::open(&self.proxy, sample, &self.sides.0).await?;
            let new = match Conn::open(&self.proxy, sample, &self.sides.1).await {
                Ok(new) => new,
                Err(error @ LoginError::Refused(_)) if !error.is_transient() => {
                    sleep(RETRY).await;
                    let detail = format!("role \"{}\" cannot log in to the new side: {error}", sample.user);
                    return Ok(Some(Outcome::Differs(Difference::Error, detail)));
                }
                Err(error) => return Err(error.into()),
            };
            let (user, database) = (sample.user.clone(), sample.database.name.clone());
            self.pair = Some(Pair { user, database, old, new });
        }
        let Some(pair) = &mut self.pair else { return Ok(Some(Outcome::LeftOut)) };
        for conn in [&mut pair.old, &mut pair.new] {
            conn.settle(&self.proxy, sample).await?;
        }
        Ok(None)
    }

    /// Whether nothing in it is volatile: the server is asked what it would call.
    async fn may_be_asked(&mut self, sample: &Sample) -> Result<bool, Silence> {
        let key = (sample.vars.hash(), normalised(&sample.text, sample.context, WHOLE_TEXT));
        if let Some(known) = self.judged.get(&key) {
            return Ok(*known);
        }
        let Some(pair) = &mut self.pair else { return Ok(false) };
        let names = match pair.old.explain(sample).await? {
            Told::Rows(plan) => called(&plan.rows),
            // The client has got the same error.
            Told::Refused(_) => return Ok(false),
        };
        let may = match names {
            None => false,
            Some(names) if names.is_empty() => true,
            Some(names) => {
                let row = self.own().await?.talk.row(&sql::volatile(&names)).await?;
                field(&row, 0) == "0"
            }
        };
        if self.judged.len() >= MOST_JUDGED {
            self.judged.clear();
        }
        if !key.1.ends_with('…') {
            self.judged.insert(key, may);
        }
        Ok(may)
    }

    async fn own(&mut self) -> Result<&mut Side, LoginError> {
        match &mut self.own {
            Some(side) => Ok(side),
            none => {
                let side = Side::of(&self.proxy, &self.sides.0, None);
                Ok(none.insert(side.map_err(|why| LoginError::Io(std::io::Error::other(why)))?))
            }
        }
    }

    /// Waits until the new side has everything that can be seen on the old one now.
    async fn has_caught_up(&mut self) -> Result<bool, LoginError> {
        let until = Instant::now() + LAG;
        let stream = self.stream.clone();
        let side = self.own().await?;
        let row = side.talk.row(sql::POSITION).await?;
        let Ok(position) = field(&row, 0).parse::<Lsn>() else { return Ok(false) };
        let question = sql::has_applied(&stream, position);
        while field(&side.talk.row(&question).await?, 0) != "1" {
            if Instant::now() > until {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
        Ok(true)
    }
}

/// Reads that were compared, and those with different answers. None: reads are not mirrored.
pub(super) fn counts(proxy: &ProxyState, old: &ServerDatabase) -> Option<(u64, u64)> {
    let tally = &proxy.mirrors.of(old)?.tally;
    Some((tally.compared.load(Relaxed), tally.different.load(Relaxed)))
}

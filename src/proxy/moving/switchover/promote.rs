//! From the last write of the old primary to the first one of the new: replay, promotion, and the proof that it takes writes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fence;
use super::program::{Program, Values};
use super::steps::Failure;
use crate::gate::Lsn;
use crate::proxy::moving::talk::{Talk, field, is_refusal};
use crate::sql::own_statements::moving;

/// Between two looks at a server.
const LOOK: Duration = Duration::from_millis(3);
/// The same of one that cannot be reached.
const RETRY: Duration = Duration::from_millis(200);
/// For how long the target of a stopped primary has received nothing more.
const STILL: Duration = Duration::from_millis(100);
/// After this time it is asked once more.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long a promotion may take to show once a program has failed that was to begin it.
const FAILED: Duration = Duration::from_secs(3);

/// How a server stands.
enum Stand {
    Primary,
    Recovers { replayed: Lsn, received: Lsn },
}

async fn stand(target: &mut Talk) -> Result<Stand, crate::server::login::LoginError> {
    let row = target.row(moving::REPLAYED).await?;
    let lsn = |at: usize| field(&row, at).parse().unwrap_or(Lsn(0));
    Ok(if field(&row, 0) == "t" { Stand::Recovers { replayed: lsn(1), received: lsn(2) } } else { Stand::Primary })
}

/// The position of a primary behind everything that is committed there.
pub(super) async fn position(old: &mut Talk) -> Result<Lsn, String> {
    old.rows(moving::WRITTEN).await.map_err(|error| error.to_string())?;
    written(old).await
}

async fn written(old: &mut Talk) -> Result<Lsn, String> {
    let row = old.row(moving::POSITION).await.map_err(|error| error.to_string())?;
    let lsn: Lsn = field(&row, 1).parse().map_err(|_| "it tells no position".to_owned())?;
    Ok(lsn.reachable())
}

/// Waits until the target has replayed everything that the fenced primary has written. `old` is None if that has been stopped: then
/// everything that was received has to be replayed.
pub(super) async fn until_replayed(
    mut old: Option<&mut Talk>,
    target: &mut Talk,
    known: Option<Lsn>,
) -> Result<Lsn, Failure> {
    let gone = |why: String| Failure::new("08006", format!("the old primary does not answer any more: {why}"));
    let mut wanted = known.unwrap_or(Lsn(0));
    if let Some(old) = &mut old {
        wanted = wanted.max(position(old).await.map_err(gone)?);
    }
    let mut still_since: Option<(Instant, Lsn)> = None;
    loop {
        match stand(target).await {
            Ok(Stand::Primary) => {
                let why = "the target was promoted by somebody else: nobody knows whether it has everything";
                return Err(Failure { stays_closed: true, ..Failure::new("55000", why) });
            }
            Ok(Stand::Recovers { replayed, received }) if replayed >= wanted => match &mut old {
                Some(old) => {
                    // Whatever has slipped in meanwhile, such as the end of a transaction that was broken off.
                    let now = written(old).await.map_err(gone)?;
                    if now <= replayed {
                        return Ok(now);
                    }
                    wanted = position(old).await.map_err(gone)?;
                }
                None => match still_since {
                    Some((since, position)) if position == received => {
                        if since.elapsed() > STILL && replayed >= received {
                            return Ok(replayed);
                        }
                    }
                    _ => still_since = Some((Instant::now(), received)),
                },
            },
            Ok(Stand::Recovers { .. }) => {}
            Err(error) if is_refusal(&error) => {
                return Err(Failure::new("55000", format!("the target refuses to be asked: {error}")));
            }
            Err(_) => sleep(RETRY).await,
        }
        sleep(LOOK).await;
    }
}

/// How far a promotion has come.
pub(super) struct Promotion<'a> {
    /// It may have been asked for.
    pub(super) asked: bool,
    pub(super) program: &'a Program,
    pub(super) values: &'a Values,
    /// The server cannot be asked, since then.
    pub(super) silent: Option<(Instant, String)>,
    last: Option<Instant>,
}

impl<'a> Promotion<'a> {
    pub(super) fn new(asked: bool, program: &'a Program, values: &'a Values) -> Self {
        Self { asked, program, values, silent: None, last: None }
    }

    /// Goes one step further: true once the target is the primary.
    ///
    /// # Errors
    /// It is not, and will not be: nothing was asked of it, or it has said no.
    pub(super) async fn go_on(&mut self, target: &mut Talk) -> Result<bool, Failure> {
        match stand(target).await {
            Ok(Stand::Primary) => return Ok(true),
            Ok(Stand::Recovers { .. }) => {
                self.silent = None;
                if self.last.is_none_or(|last| last.elapsed() > ASK_AGAIN) {
                    self.ask(target).await?;
                }
                sleep(LOOK).await;
            }
            Err(error) if !self.asked => {
                return Err(Failure::new("08006", format!("the target cannot be reached to promote it: {error}")));
            }
            // Whether it was promoted, only it can say.
            Err(error) => {
                let since = self.silent.take().map_or_else(Instant::now, |(since, _)| since);
                self.silent = Some((since, error.to_string()));
                sleep(RETRY).await;
            }
        }
        Ok(false)
    }

    async fn ask(&mut self, target: &mut Talk) -> Result<(), Failure> {
        let was_asked = std::mem::replace(&mut self.asked, true);
        self.last = Some(Instant::now());
        if self.program.is_given() {
            let Err(why) = self.program.run(self.values).await else { return Ok(()) };
            let until = Instant::now() + FAILED;
            while Instant::now() < until {
                match stand(target).await {
                    Ok(Stand::Recovers { .. }) => sleep(RETRY).await,
                    Ok(Stand::Primary) | Err(_) => return Ok(()),
                }
            }
            return Err(Failure::new(
                "58000",
                format!("promote_command has failed, and the target is a replica: {why}"),
            ));
        }
        match target.rows(moving::PROMOTE).await {
            Err(error) if is_refusal(&error) && !was_asked => {
                Err(Failure::new("55000", format!("the target refuses to be promoted: {error}")))
            }
            // An answer that is lost is no answer: the next look tells.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether the new primary takes writes: it commits a transaction, as a session that begins now. Gives its timeline. A fence of ours
/// that it still carries is lifted.
pub(super) async fn verify(target: &mut Talk) -> Result<u32, String> {
    target.hang_up();
    let row = target.row(moving::VERIFY).await.map_err(|error| error.to_string())?;
    if field(&row, 0) != "f" {
        return Err("it is in recovery".into());
    }
    if field(&row, 1) != "off" {
        fence::lift(target).await?;
        return Err("its sessions read only".into());
    }
    u32::from_str_radix(field(&row, 3), 16).map_err(|_| "it tells no timeline".into())
}

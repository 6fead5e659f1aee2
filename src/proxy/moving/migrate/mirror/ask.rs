//! Connections of the comparison's own, by the role of the client whose read it is: nothing is asked that the client may not ask.

use std::sync::Arc;

use super::compare::Told;
use crate::gate::ServerDatabase;
use crate::protocol::{ErrorFields, frontend};
use crate::server::login::{Fresh, LoginError};
use crate::server::state::session_vars::Vars;
use crate::shared::ProxyState;
use crate::shared::database::DatabaseSetup;
use crate::shared::mirrors::Sample;
use crate::sql::own_statements::migrate::mirror as sql;

/// Answers that are longer are not compared (bytes).
const LONGEST: usize = 4 << 20;
/// Parameters of the start-up packet.
const PARAMETERS: [(&str, &str); 2] =
    [("application_name", "pgsluice mirror"), ("default_transaction_read_only", "on")];

/// A connection to one side.
pub(super) struct Conn {
    fresh: Fresh,
    /// Its settings.
    vars: Vars,
}

/// Why nothing was told.
pub(super) enum Silence {
    /// The answer is too long, or took too long: the connection is of no use any more.
    TooMuch,
    /// The connection has failed.
    Failed(LoginError),
}

impl From<LoginError> for Silence {
    fn from(error: LoginError) -> Self {
        Self::Failed(error)
    }
}

/// A client's database as it is called on that side, with that side's cluster.
fn setup_on(proxy: &ProxyState, sample: &Sample, place: &ServerDatabase) -> Option<DatabaseSetup> {
    let (cluster, tls) = proxy.databases.cluster(&place.cluster)?;
    let now = sample.database.setup();
    let mut settings = now.settings.clone();
    settings.cluster.clone_from(&place.cluster);
    settings.dbname.clone_from(&place.dbname);
    let last_write = cluster.last_write(&settings.dbname, settings.causal);
    let (gate, opening) = (now.gate.clone(), now.opening.clone());
    Some(DatabaseSetup { settings, cluster, tls, gate, opening, last_write })
}

impl Conn {
    /// Logs in to that side's primary as a pool of the client's would.
    pub(super) async fn open(
        proxy: &Arc<ProxyState>,
        sample: &Sample,
        place: &ServerDatabase,
    ) -> Result<Self, LoginError> {
        let gone = || LoginError::Io(std::io::Error::other("the side has no primary now"));
        let setup = setup_on(proxy, sample, place).ok_or_else(gone)?;
        let at = setup.cluster.primary().ok_or_else(gone)?;
        let pool = sample.database.side_pool(&setup, &sample.user, at, &sample.credential).ok_or_else(gone)?;
        let mut fresh = pool.login().run(&PARAMETERS).await?;
        if !setup.settings.connect_query.is_empty() {
            fresh.ask(&setup.settings.connect_query, |_| ()).await?;
        }
        Ok(Self { fresh, vars: Vars::default() })
    }

    /// Makes its settings the client's.
    pub(super) async fn settle(&mut self, proxy: &ProxyState, sample: &Sample) -> Result<(), LoginError> {
        if self.vars.hash() == sample.vars.hash() {
            return Ok(());
        }
        // One by one: a role decides what may be set behind it.
        let statements = self.vars.to_reach(&sample.vars);
        if !statements.is_empty() {
            self.fresh.ask(&statements, |_| ()).await?;
        }
        self.vars.take_over(&proxy.seed, &sample.vars);
        Ok(())
    }

    /// What the server would do for it.
    pub(super) async fn explain(&mut self, sample: &Sample) -> Result<Told, Silence> {
        self.run(&sql::explain(&sample.text), sample).await
    }

    /// Its answer.
    pub(super) async fn ask(&mut self, sample: &Sample) -> Result<Told, Silence> {
        self.run(&sample.text, sample).await
    }

    async fn run(&mut self, text: &[u8], sample: &Sample) -> Result<Told, Silence> {
        self.fresh.ask(sql::BEGIN, |_| ()).await?;
        // Results as text, whatever the client wants them in.
        let parameters = [&*sample.values, &[0, 0]].concat();
        let mut out = Vec::with_capacity(text.len() + parameters.len() + 64);
        frontend::write_parse(&mut out, b"", text, &sample.oids);
        frontend::write_bind(&mut out, b"", b"", &parameters);
        frontend::write_describe(&mut out, b"");
        frontend::write_execute(&mut out, b"");
        frontend::write_sync(&mut out);
        let told = match self.fresh.raw_answer(&out, LONGEST).await {
            Ok(answer) => Told::Rows(answer),
            Err(LoginError::Refused(body)) => {
                let error = ErrorFields::new(&body);
                if error.is_fatal() || error.code() == b"57014" {
                    return Err(Silence::TooMuch);
                }
                Told::Refused(String::from_utf8_lossy(error.code()).into_owned())
            }
            Err(LoginError::Protocol(_)) => return Err(Silence::TooMuch),
            Err(error) => return Err(error.into()),
        };
        self.fresh.ask(sql::END, |_| ()).await?;
        Ok(told)
    }
}

//! `pgsluice heartbeat init`: the schema and the table that the write heartbeat needs, in a server's database.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::UpstreamUrl;
use super::exit::{Failure, print};
use super::init::MONITOR;
use crate::auth::Credential;
use crate::config::{Config, Timeouts};
use crate::events::Bus;
use crate::net::TcpOptions;
use crate::protocol::ErrorFields;
use crate::proxy::setup::cluster;
use crate::server::login::{Login, LoginError};
use crate::sql::own_statements::heartbeat;

/// What to do for the write heartbeat.
#[derive(Debug, Subcommand)]
pub enum HeartbeatCommand {
    /// Make its schema and its table in a database, and let the monitor's role write there.
    Init(HeartbeatInit),
}

/// `pgsluice heartbeat init`.
#[derive(Debug, Args)]
pub struct HeartbeatInit {
    /// The server and the database, as a role that may create a schema there: postgres://user:password@host:5432/db
    #[arg(long, value_name = "URL", env = "PGSLUICE_UPSTREAM", hide_env_values = true)]
    upstream: UpstreamUrl,

    /// The role that writes: monitor_user of the cluster.
    #[arg(long, value_name = "ROLE", default_value = MONITOR)]
    role: String,
}

/// Makes them.
pub fn run(command: &HeartbeatCommand) -> Result<(), Failure> {
    let HeartbeatCommand::Init(init) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(error.to_string()))?.block_on(make(init))
}

async fn make(init: &HeartbeatInit) -> Result<(), Failure> {
    let usage = |why: String| Failure::Usage(format!("--upstream: {why}"));
    let settings = Config::server_of_url(init.upstream.expose()).map_err(usage)?;
    let (servers, tls) = cluster("heartbeat", &settings, &Bus::default()).map_err(|error| usage(error.to_string()))?;
    let password = Some(settings.monitor_password.expose().to_owned()).filter(|password| !password.is_empty());
    let password = password.or_else(|| std::env::var("PGPASSWORD").ok());
    let sql = heartbeat::init(&init.role);
    let mut last = Failure::Usage("--upstream: names no host".to_owned());
    for upstream in &servers.upstreams {
        let login = Login {
            address: upstream.address.clone(),
            tcp: TcpOptions::default(),
            tls: Arc::clone(&tls),
            user: settings.monitor_user.as_str().into(),
            credential: password.clone().map_or(Credential::None, Credential::password).into(),
            dbname: settings.monitor_database.clone(),
            parameters: vec![("application_name".to_owned(), "pgsluice heartbeat init".to_owned())],
            timeout: Timeouts::default().server_connect_timeout,
            own: Arc::default(),
        };
        let place = login.address.to_string();
        let done = match login.run(&[]).await {
            Ok(mut fresh) => fresh.rows(&sql).await.map(drop),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {
                let (database, role) = (&settings.monitor_database, &init.role);
                return print(&format!(
                    "made in {database} at {place}: pgsluice.heartbeat, which \"{role}\" writes\n\
                     next: heartbeat = true in [databases.\"{database}\"], and RELOAD\n"
                ));
            }
            // A replica: its primary may be the next one.
            Err(LoginError::Refused(body)) => {
                last = Failure::Refused(format!("{place}: {}", ErrorFields::new(&body).summary()));
            }
            Err(error) => last = Failure::Unreachable(format!("{place}: {error}")),
        }
    }
    Err(last)
}

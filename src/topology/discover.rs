//! Finds the servers of a cluster without a list: each address behind a DNS name, or the members that Patroni reports.
//!
//! What is found takes the place of `upstreams` as a reload would. Which of them is the primary is for the monitor to find out, as
//! ever: who tells of servers is believed that they exist, and no more.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config;
use crate::config::{RestUrl, Upstream};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most that is read of one.
const LARGEST: u64 = 1 << 20;
/// Most servers of one cluster.
const MOST: usize = 60;
/// How often Patroni is asked.
const ASK: Duration = Duration::from_secs(1);

/// The servers of a cluster, as found.
#[derive(Debug)]
pub struct Found {
    /// The cluster's name.
    pub cluster: String,
    /// Its servers, in order.
    pub upstreams: Vec<Upstream>,
}

/// Whether there is anything to discover.
pub fn is_wanted(config: &config::Cluster) -> bool {
    config.expand_names || !config.patroni.is_empty()
}

/// Reports each change, until the receiver is gone.
pub async fn watch(cluster: String, config: config::Cluster, tell: mpsc::Sender<Found>) {
    let pause = if config.patroni.is_empty() { config.dns_max_ttl } else { ASK.min(config.dns_max_ttl) };
    let mut last = config.upstreams.clone();
    last.sort();
    let mut complains = false;
    loop {
        match look(&config).await {
            Ok(mut upstreams) => {
                upstreams.sort();
                upstreams.dedup();
                upstreams.truncate(MOST);
                complains = false;
                if !upstreams.is_empty() && upstreams != last {
                    last.clone_from(&upstreams);
                    if tell.send(Found { cluster: cluster.clone(), upstreams }).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) if !complains => {
                complains = true;
                tracing::warn!(event = "discovery_failed", cluster = %cluster, %error, "servers cannot be discovered: those known stay");
            }
            Err(_) => {}
        }
        sleep(pause).await;
    }
}

async fn look(config: &config::Cluster) -> io::Result<Vec<Upstream>> {
    let upstreams = if config.patroni.is_empty() { config.upstreams.clone() } else { members(&config.patroni).await? };
    if !config.expand_names {
        return Ok(upstreams);
    }
    let mut all = Vec::new();
    for upstream in upstreams {
        match &upstream {
            Upstream::Tcp { host, port } if host.parse::<IpAddr>().is_err() => {
                let places = timeout(PATIENCE, lookup_host((host.as_str(), *port))).await??;
                all.extend(places.map(|place| Upstream::Tcp { host: place.ip().to_string(), port: *port }));
            }
            _ => all.push(upstream),
        }
    }
    Ok(all)
}

/// What the first of them says that answers.
async fn members(urls: &[RestUrl]) -> io::Result<Vec<Upstream>> {
    let mut last = io::Error::other("no URL");
    for url in urls {
        match timeout(PATIENCE, get(url)).await.map_err(io::Error::from).and_then(|answer| answer) {
            Ok(body) => return read_members(&body),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `GET /cluster`, in the version of HTTP whose answers end with the connection.
async fn get(url: &RestUrl) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    let request = format!("GET /cluster HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\r\n", url.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| io::Error::other("no answer of HTTP"))?;
    let is_ok = answer.split(|byte| *byte == b' ').nth(1) == Some(b"200");
    if is_ok { Ok(answer.split_off(end + 4)) } else { Err(io::Error::other("not the answer of Patroni")) }
}

#[derive(Deserialize)]
struct Cluster {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    state: String,
}

fn read_members(body: &[u8]) -> io::Result<Vec<Upstream>> {
    let cluster: Cluster = serde_json::from_slice(body)?;
    let runs = |member: &Member| matches!(member.state.as_str(), "running" | "streaming" | "in archive recovery" | "");
    let upstream = |member: Member| Some(Upstream::Tcp { host: member.host?.to_lowercase(), port: member.port? });
    Ok(cluster.members.into_iter().filter(runs).filter_map(upstream).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_that_run_are_the_servers() {
        let body = br#"{"members": [
            {"name": "pg0", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni", "host": "10.0.0.1", "port": 5432, "timeline": 5},
            {"name": "pg1", "role": "replica", "state": "streaming", "host": "PG1", "port": 5433, "timeline": 5, "lag": 0},
            {"name": "pg2", "role": "replica", "state": "start failed", "host": "10.0.0.3", "port": 5432, "lag": "unknown"},
            {"name": "pg3", "role": "replica", "state": "creating replica"}], "scope": "demo"}"#;
        let tcp = |host: &str, port| Upstream::Tcp { host: host.to_owned(), port };
        assert_eq!(read_members(body).unwrap(), [tcp("10.0.0.1", 5432), tcp("pg1", 5433)]);
        assert!(read_members(b"<html>").is_err() && read_members(b"{}").is_err());
    }
}

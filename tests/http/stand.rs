//! A proxy with an HTTP endpoint, and requests to it that show every byte of the answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role};
use serde_json::Value;

pub const LONG: Duration = Duration::from_secs(30);

/// Tokens whose hashes are in the configuration.
pub const READ: &str = "look-look-look-look";
pub const OPERATE: &str = "turn-the-wheel-please";
pub const SHORT: &str = "fifteen-letters";

/// As `pgsluice hash-token` prints it.
pub fn hashed(token: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub struct Stand {
    pub cluster: Cluster,
    pub proxy: Proxy,
    /// What the proxy was started with.
    pub config: String,
}

impl Stand {
    pub fn new(top: &str, http: &str) -> Stand {
        Stand::with(top, http, "[databases.app]\n[databases.other]\n", "")
    }

    pub fn with(top: &str, http: &str, databases: &str, maintenance: &str) -> Stand {
        let cluster = Cluster::builder()
            .replicas(1)
            .roles([
                Role::new("app").password("app"),
                Role::new("dba").password("dba").superuser(),
                Role::new("monitor").password("monitor").superuser(),
            ])
            .databases(["app", "other"])
            .start()
            .expect("a cluster");
        let (primary, replica) = (cluster.primary().port(), cluster.replica(0).port());
        let (read, operate, short) = (hashed(READ), hashed(OPERATE), hashed(SHORT));
        let config = format!(
            r#"listen_port = {{port}}
state_file = "{{dir}}/state.json"
workers = 2
auth_file = "userlist.txt"
admin_users = ["dba"]
operators = ["dba"]
{top}
[http]
listen = "127.0.0.1:{{port:http}}"
read_tokens = ["dashboard:{read}", "short:{short}"]
operate_tokens = ["deploy:{operate}"]
{http}
[maintenance]
drain_timeout = "20s"
{maintenance}
[clusters.main]
upstreams = ["127.0.0.1:{primary}", "127.0.0.1:{replica}"]
monitor_user = "monitor"
monitor_password = "monitor"
monitor_interval = "100ms"
{databases}
"#
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(&config)
            .file("userlist.txt", "\"app\" \"app\"\n\"dba\" \"dba\"\n")
            .start()
            .expect("a proxy");
        let stand = Stand { cluster, proxy, config };
        let mut operator = stand.connect("dba", "app");
        operator.query("CREATE TABLE t(a int, who text); GRANT ALL ON t TO app", LONG).expect("a table");
        stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
        stand
    }

    pub fn connect(&self, user: &str, database: &str) -> Raw {
        let login = Login::new(user, database).password(user);
        Raw::connect(&Address::local(self.proxy.port()), &login).expect("a connection")
    }

    /// A statement on the console; its rows.
    pub fn console(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let results = self.connect("dba", "pgsluice").query(sql, LONG);
        results.unwrap_or_else(|error| panic!("{sql}: {error}")).into_iter().flat_map(|result| result.rows).collect()
    }

    pub fn http_port(&self) -> u16 {
        self.proxy.port_named("http").unwrap()
    }

    /// A request, sent.
    pub fn send(&self, method: &str, path: &str, token: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port())).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}{headers}{kind}Content-Length: {length}\r\n\r\n{body}")
            .unwrap();
        stream
    }

    pub fn ask(&self, method: &str, path: &str, token: &str, headers: &str, body: &str) -> Answer {
        Answer::read(self.send(method, path, token, headers, body))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, READ, "", "")
    }

    /// A command of somebody who may give it.
    pub fn command(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, OPERATE, "", body)
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn read(mut stream: impl Read) -> Answer {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn is_problem(&self, status: u16, sqlstate: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!((problem["status"].as_u64(), problem["sqlstate"].as_str()), (Some(status.into()), Some(sqlstate)));
        assert!(!problem["detail"].as_str().unwrap().is_empty() && problem["type"] == "about:blank", "{problem}");
    }
}

//! The HBA file: the same one before PostgreSQL and before pgsluice, and everybody who could come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, Signal, wait};

use crate::client::{Way, log_in, socket};
use crate::stand::{LONG, refusal};

const HBA: [&str; 22] = [
    "local app peeruser peer map=os",
    "local app ann peer",
    "local app scram,hashed md5",
    "local other all reject",
    "local sameuser all trust",
    "hostssl certdb all 127.0.0.1/32 cert",
    "hostssl mapdb all 127.0.0.1/32 cert map=cn",
    "hostssl dndb all 127.0.0.1/32 cert clientname=DN map=dn",
    "hostssl fulldb all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",
    "hostssl fulldb all 127.0.0.2/32 trust clientcert=verify-full",
    "hostssl cadb all 127.0.0.1/32 md5 clientcert=verify-ca",
    "hostssl plaindb all 127.0.0.1/32 password",
    "hostnossl plaindb all 127.0.0.1/32 reject",
    "host app banned all reject",
    "host app +staff 127.0.0.0 255.255.255.254 trust",
    "host app scram,\"hashed\",nobody 127.0.0.1/32 md5 # a comment",
    "host app all 127.0.0.1/32 scram-sha-256",
    "host other \"all\",staffer samehost trust",
    "host samerole all samenet trust",
    "host replication rep 127.0.0.1/32 scram-sha-256",
    "host replication banned 127.0.0.1/32 reject",
    "hostssl all tlsonly all scram-sha-256",
];

const MAPS: &str = "os root peeruser\ncn ann.cert ann\ncn /^(.*)\\.corp$ \\1\ndn CN=ann ann\n";

const USERS: [&str; 10] =
    ["scram", "hashed", "staffer", "banned", "tlsonly", "ann", "bob", "nobody", "peeruser", "nopassword"];
const DATABASES: [&str; 10] = ["app", "other", "certdb", "mapdb", "dndb", "fulldb", "cadb", "plaindb", "staff", "ann"];

fn sql() -> String {
    let mut sql = String::from("SET password_encryption = 'scram-sha-256';");
    for user in ["scram", "banned", "tlsonly", "ann", "bob", "peeruser"] {
        sql += &format!("CREATE ROLE {user} LOGIN PASSWORD '{user}-pw';");
    }
    sql += "CREATE ROLE staff; CREATE ROLE team IN ROLE staff; CREATE ROLE nopassword LOGIN; \
        CREATE ROLE staffer LOGIN PASSWORD 'staffer-pw' IN ROLE team; \
        CREATE ROLE rep LOGIN REPLICATION PASSWORD 'rep-pw'; \
        SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'hashed-pw';";
    sql
}

fn cluster(hba: &[&str]) -> Cluster {
    Cluster::builder()
        .tls(true)
        .hba(hba.iter().copied())
        .roles([Role::new("authuser").superuser(), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(DATABASES)
        .setting("max_connections", "500")
        .setting("listen_addresses", "127.0.0.1,127.0.0.2")
        .init_sql(sql())
        .start()
        .expect("a cluster")
}

/// A server whose HBA file is the one that is tried, another one that trusts everybody, and pgsluice before that, with the
/// file of the first.
pub struct Beside {
    pub proxy: Proxy,
    pub judge: Cluster,
    _behind: Cluster,
    /// Where the file is from which pgsluice reads.
    file: PathBuf,
}

pub fn beside(lines: &[&str]) -> Beside {
    let judge = cluster(lines);
    let ident = judge.primary().data_dir().join("pg_ident.conf");
    std::fs::write(&ident, MAPS).unwrap();
    judge.primary().reload().unwrap();
    let behind = cluster(&["host all all all trust", "host replication all all trust"]);
    let tls = judge.tls().unwrap();
    let (cert, key) = tls.server("proxy", &["localhost"]).unwrap();
    let databases: String =
        DATABASES.iter().chain(&["replication", "postgres"]).map(|name| format!("[databases.{name}]\n")).collect();
    let config = format!(
        "listen_port = {{port}}\nlisten_addr = [\"127.0.0.1\", \"127.0.0.2\"]\nunix_socket_dir = \"{{dir}}\"\n\
         state_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"hba\"\nauth_hba_file = \"{{dir}}/hba.conf\"\n\
         auth_ident_file = \"{{dir}}/ident.conf\"\nauth_user = \"authuser\"\nauth_dbname = \"app\"\nadmin_users = [\"postgres\"]\n\
         client_tls_sslmode = \"prefer\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n\
         client_tls_ca_file = \"{}\"\nserver_idle_timeout = \"2s\"\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n{databases}",
        cert.display(),
        key.display(),
        tls.ca_cert.display(),
        behind.primary().port()
    );
    let text = std::fs::read_to_string(judge.primary().data_dir().join("pg_hba.conf")).unwrap();
    let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
    let proxy =
        Proxy::builder(binary).config(config).file("hba.conf", text).file("ident.conf", MAPS).start().expect("a proxy");
    let file = proxy.dir().join("hba.conf");
    Beside { proxy, judge, _behind: behind, file }
}

type Certificates = BTreeMap<&'static str, (PathBuf, PathBuf)>;

/// Every way to come, by name: to the server in `folder` with that port.
fn ways(folder: &Path, port: u16, certificates: &Certificates) -> Vec<(String, Way)> {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let mut ways = vec![
        ("unix".to_owned(), Way::Unix(socket(folder, port))),
        ("tcp".to_owned(), Way::Tcp(ip("127.0.0.1"), port)),
        ("tcp from .2".to_owned(), Way::Tcp(ip("127.0.0.2"), port)),
        ("tls".to_owned(), Way::Tls(ip("127.0.0.1"), port, None)),
    ];
    for (name, files) in certificates {
        ways.push((format!("tls as {name}"), Way::Tls(ip("127.0.0.1"), port, Some(files.clone()))));
    }
    ways.push(("tls from .2 as ann".to_owned(), Way::Tls(ip("127.0.0.2"), port, Some(certificates["ann"].clone()))));
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_however_is_answered_as_by_postgresql_with_the_same_file() {
    let beside = beside(&HBA);
    let certificates: Certificates =
        ["ann", "ann.cert", "bob.corp"].map(|name| (name, beside.judge.tls().unwrap().client(name).unwrap())).into();
    let theirs = ways(beside.judge.primary().socket_dir(), beside.judge.primary().port(), &certificates);
    let ours = ways(beside.proxy.dir(), beside.proxy.port(), &certificates);
    let room = Arc::new(tokio::sync::Semaphore::new(8));
    let mut tries = Vec::new();
    for ((name, their), (_, our)) in theirs.iter().zip(&ours) {
        for user in USERS {
            for database in DATABASES {
                for password in [format!("{user}-pw"), "wrong".to_owned()] {
                    let (their, our, room) = (their.clone(), our.clone(), room.clone());
                    let what = format!("{name}: {user} to {database} with {password}");
                    tries.push(tokio::spawn(async move {
                        let _one = room.acquire().await.unwrap();
                        let theirs = log_in(&their, user, database, &password, &[]).await;
                        let ours = log_in(&our, user, database, &password, &[]).await;
                        (what, theirs, ours)
                    }));
                }
            }
        }
        for (user, mode) in [("rep", "true"), ("ann", "true"), ("banned", "true"), ("banned", "database")] {
            let (their, our, room) = (their.clone(), our.clone(), room.clone());
            let (what, database) =
                (format!("{name}: {user} replicates ({mode})"), if mode == "true" { "replication" } else { "app" });
            tries.push(tokio::spawn(async move {
                let _one = room.acquire().await.unwrap();
                let (password, more) = (format!("{user}-pw"), [("replication", mode)]);
                let theirs = log_in(&their, user, database, &password, &more).await;
                let ours = log_in(&our, user, database, &password, &more).await;
                (what, theirs, ours)
            }));
        }
    }
    let (mut wrong, mut kinds, mut allowed, mut all) = (Vec::new(), BTreeSet::new(), 0, 0);
    for one in tries {
        let (what, theirs, ours) = one.await.unwrap();
        all += 1;
        allowed += usize::from(!theirs.contains(' '));
        kinds.insert(theirs.split(" for ").next().unwrap().to_owned());
        if theirs != ours {
            wrong.push(format!("{what}\n  PostgreSQL: {theirs}\n  pgsluice:   {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {all} differ:\n{}\n{}", wrong.len(), wrong.join("\n"), beside.proxy.log());
    assert!(all >= 1000 && allowed >= 100 && all - allowed >= 100, "{allowed} of {all}");
    assert!(kinds.len() >= 12, "{kinds:?}");
    println!("{all} log-ins, {allowed} allowed, answers: {kinds:#?}");
}

#[test]
fn show_hba_is_pg_hba_file_rules_and_a_reload_with_an_error_leaves_the_old_rules() {
    let mut beside = beside(&["host postgres postgres all trust", "host app all all trust", "host all all all md5"]);
    let admin =
        |beside: &Beside| Raw::connect(&beside.proxy.tcp(), &Login::new("postgres", "pgsluice").password("postgres"));
    let text = std::fs::read_to_string(&beside.file).unwrap();
    let text = text.replace("host postgres postgres all trust", "host all postgres all trust");
    std::fs::write(&beside.file, &text).unwrap();
    beside.proxy.signal(Signal::SIGHUP).unwrap();
    let mut console = wait::until_ok(LONG, "the console", || admin(&beside).map_err(|error| refusal(&error)));
    let broken = format!(
        "{text}\nhosts all all all trust\nhost all \"quoted, name\",+group 10.0.0.0/8 md5\nhost all all 10.0.0.0/33 md5\n\
         local all all\nhostssl \"all\",sameuser all ::1 ffff:: cert map=m\nhost all all samenet trusty\n\
         host all all all md5 clientcert=verify-ca\nlocal replication all peer map=x # comment\n\
         host all all 1.2.3.4 255.255.255.0 reject\nhostssl all all all scram-sha-256 clientcert=verify-full\n"
    );
    std::fs::write(&beside.file, &broken).unwrap();
    std::fs::write(beside.judge.primary().data_dir().join("pg_hba.conf"), &broken).unwrap();
    let columns = "line_number, type, database, user_name, address, netmask, auth_method, options, error";
    let theirs = beside.judge.primary().query(&format!("SELECT {columns} FROM pg_hba_file_rules")).unwrap();
    let ours = console.query("SHOW HBA", LONG).unwrap();
    let (theirs, ours) = (&theirs[0].rows, &ours[0].rows);
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(ours) {
        assert_eq!(theirs[..], ours[2..]);
    }
    // Refused as a whole: what held before holds on.
    let error = console.query("RELOAD", LONG).unwrap_err();
    assert!(format!("{error}").contains("invalid connection type \"hosts\""), "{error}");
    let outcome =
        Raw::connect(&beside.proxy.tcp(), &Login::new("ann", "app")).map(|_| ()).map_err(|error| refusal(&error));
    assert_eq!(outcome, Ok(()));
    std::fs::write(&beside.file, "host pgsluice all all trust\n").unwrap();
    console.query("RELOAD", LONG).unwrap();
    let outcome =
        Raw::connect(&beside.proxy.tcp(), &Login::new("ann", "app")).map(|_| ()).map_err(|error| refusal(&error));
    let none = "28000 no pg_hba.conf entry for host \"127.0.0.1\", user \"ann\", database \"app\", no encryption";
    assert_eq!(outcome, Err(none.to_owned()));
}

//! The same HBA file before PgBouncer, where that is installed: whom it lets in, and whom it refuses.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::{Cluster, Proxy, Role, wait};

use crate::client::{Way, log_in, socket};
use crate::stand::LONG;

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// What PgBouncer 1.18 can read too.
const HBA: &str = "local app peeruser peer\nlocal app scram,hashed md5\nlocal other all reject\nlocal third all trust\n\
    host app banned 127.0.0.0/8 reject\nhost app scram,hashed,plain 127.0.0.1/32 md5\n\
    host app all 127.0.0.1/32 scram-sha-256\nhost other \"plain\" 127.0.0.0 255.255.255.0 password\n\
    host third all 127.0.0.2/32 trust\nhostnossl fourth scram 127.0.0.1/32 scram-sha-256\n\
    hostssl fifth scram 127.0.0.1/32 scram-sha-256\nhost sixth all 10.0.0.0/8 trust\n";

const USERS: [&str; 6] = ["scram", "hashed", "plain", "banned", "peeruser", "nobody"];
const DATABASES: [&str; 6] = ["app", "other", "third", "fourth", "fifth", "sixth"];

struct Bouncer(Child);

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, port: u16, server: u16, userlist: &str) -> Bouncer {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(folder.join("userlist.txt"), userlist).unwrap();
    std::fs::write(folder.join("hba.conf"), HBA).unwrap();
    let databases: String = DATABASES.iter().map(|name| format!("{name} = host=127.0.0.1 port={server}\n")).collect();
    let dir = folder.display();
    let ini = format!(
        "[databases]\n{databases}[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {dir}\n\
         auth_type = hba\nauth_hba_file = {dir}/hba.conf\nauth_file = {dir}/userlist.txt\nlogfile = {dir}/log\n"
    );
    let path = folder.join("pgbouncer.ini");
    std::fs::write(&path, ini).unwrap();
    let mut command = Command::new(PGBOUNCER);
    command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::getuid().is_root() {
        // It refuses to run as root.
        command.uid(65_534).gid(65_534);
    }
    let bouncer = Bouncer(command.spawn().unwrap());
    wait::until(LONG, "PgBouncer", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    bouncer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_lets_in_and_refuses_the_same_by_the_same_file() {
    if !Path::new(PGBOUNCER).exists() {
        eprintln!("skipped: there is no {PGBOUNCER}");
        return;
    }
    let roles = USERS[..5].iter().map(|user| Role::new(*user));
    let cluster = Cluster::builder()
        .hba(["host all all all trust"])
        .roles(roles.chain([Role::new("monitor")]))
        .databases(DATABASES)
        .start()
        .unwrap();
    let secret = |user: &str| match user {
        "hashed" => {
            let sql = "SELECT 'md5' || md5('hashed-pw' || 'hashed')";
            cluster.primary().psql(sql).unwrap().trim().to_owned()
        }
        "plain" => "plain-pw".to_owned(),
        user => {
            pgsluice::auth::scram::ScramVerifier::derive(format!("{user}-pw").as_bytes(), b"0123456789abcdef", 4096)
                .to_secret_text()
        }
    };
    let userlist: String = USERS[..5].iter().map(|user| format!("\"{user}\" \"{}\"\n", secret(user))).collect();
    let databases: String = DATABASES.iter().map(|name| format!("[databases.{name}]\n")).collect();
    let config = format!(
        "listen_port = {{port}}\nunix_socket_dir = \"{{dir}}\"\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\n\
         auth_type = \"hba\"\nauth_hba_file = \"{{dir}}/hba.conf\"\nauth_file = \"{{dir}}/userlist.txt\"\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n{databases}",
        cluster.primary().port()
    );
    let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
    let proxy =
        Proxy::builder(binary).config(config).file("hba.conf", HBA).file("userlist.txt", &*userlist).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = Port::lease().unwrap();
    let _bouncer = start(folder.path(), port.number(), cluster.primary().port(), &userlist);
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let ways = |folder: &Path, port: u16| {
        [
            ("unix", Way::Unix(socket(folder, port))),
            ("tcp", Way::Tcp(ip("127.0.0.1"), port)),
            ("tcp from .2", Way::Tcp(ip("127.0.0.2"), port)),
        ]
    };
    let theirs = ways(folder.path(), port.number());
    let ours = ways(proxy.dir(), proxy.port());
    let (mut differ, mut all, mut allowed) = (Vec::new(), 0, 0);
    for ((way, their), (_, our)) in theirs.iter().zip(&ours) {
        for user in USERS {
            for database in DATABASES {
                for password in [format!("{user}-pw"), "wrong".to_owned()] {
                    let theirs = log_in(their, user, database, &password, &[]).await;
                    let ours = log_in(our, user, database, &password, &[]).await;
                    all += 1;
                    allowed += usize::from(theirs == user);
                    // PgBouncer wants everybody in auth_file, those who are trusted too.
                    if (theirs == user) != (ours == user) && !(user == "nobody" && database == "third") {
                        differ.push(format!("{way}: {user} to {database}\n  PgBouncer: {theirs}\n  pgsluice:  {ours}"));
                    }
                }
            }
        }
    }
    assert!(differ.is_empty(), "{} of {all} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(all >= 200 && allowed >= 20, "{allowed} of {all}");
    println!("{all} log-ins, {allowed} allowed by both");
}

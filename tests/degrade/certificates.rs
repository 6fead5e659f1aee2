//! Certificates, keys and authorities that are renewed on disk are used within ten seconds, in both directions, and nothing that is
//! connected is dropped. StilleBot's are, by a hook that copies them one after the other.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role, Tls, wait};

use crate::stand::{LONG, fine, query};

/// How soon what is on disk is used.
const SOON: Duration = Duration::from_secs(10);

struct Files {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        // The servers run as somebody else.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = folder.path().to_owned();
        Files { _folder: folder, root }
    }

    fn authority(&self, name: &str) -> Tls {
        let dir = self.root.join(name);
        fs::create_dir(&dir).unwrap();
        Tls::in_folder(&dir).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn put(&self, from: &Path, to: &str) {
        fs::copy(from, self.path(to)).unwrap();
    }
}

fn psql(cluster: &Cluster, url: &str) -> Command {
    let mut command = Command::new(cluster.installation().program("psql").unwrap());
    command.args(["-X", "-A", "-t", "-w", url]).env("PGCONNECT_TIMEOUT", "10");
    command
}

fn url(proxy: &Proxy, root: &Path) -> String {
    format!("postgres://app@localhost:{}/app?sslmode=verify-full&sslrootcert={}", proxy.port(), root.display())
}

/// Whether a client that trusts that authority gets in.
fn trusts(cluster: &Cluster, proxy: &Proxy, root: &Path) -> bool {
    psql(cluster, &url(proxy, root)).args(["-c", "SELECT 1"]).output().unwrap().status.success()
}

/// A session that stays.
struct Kept {
    psql: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Kept {
    fn open(cluster: &Cluster, url: &str) -> Kept {
        let mut psql = psql(cluster, url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(psql.stdout.take().unwrap());
        let mut kept = Kept { psql, answers };
        kept.lives();
        kept
    }

    fn lives(&mut self) {
        writeln!(self.psql.stdin.as_mut().unwrap(), "SELECT 'alive';").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "alive", "the session has been dropped");
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.psql.stdin.take());
        let _ = self.psql.wait();
    }
}

fn count(proxy: &Proxy, word: &str) -> usize {
    proxy.log().matches(word).count()
}

#[test]
fn stillebot_certificates_for_clients_are_renewed_on_disk_and_sessions_stay() {
    let files = Files::new();
    let (one, two) = (files.authority("one"), files.authority("two"));
    let cluster = Cluster::builder()
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app"), Role::new("dba").superuser()])
        .databases(["app"])
        .start()
        .unwrap();
    files.put(&one.server_cert, "live.crt");
    files.put(&one.server_key, "live.key");
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"dba\"]\n\
         client_tls_sslmode = \"prefer\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"dba\"\n[databases.app]\n",
        files.path("live.crt").display(),
        files.path("live.key").display(),
        cluster.primary().port()
    );
    let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().unwrap();
    assert!(trusts(&cluster, &proxy, &one.ca_cert) && !trusts(&cluster, &proxy, &two.ca_cert));
    let mut kept = Kept::open(&cluster, &url(&proxy, &one.ca_cert));

    // The certificate first: without its key it is of no use, and that is said.
    files.put(&two.server_cert, "live.crt");
    wait::until(SOON, "a word in the log", || (count(&proxy, "certificate_refused") > 0).then_some(()));
    assert!(trusts(&cluster, &proxy, &one.ca_cert), "the old one stays in use");
    files.put(&two.server_key, "live.key");
    wait::until(SOON, "the new one", || trusts(&cluster, &proxy, &two.ca_cert).then_some(()));
    assert!(!trusts(&cluster, &proxy, &one.ca_cert));
    assert!(count(&proxy, "certificate_renewed") > 0);
    kept.lives();
    let mut second = Kept::open(&cluster, &url(&proxy, &two.ca_cert));

    // Half a file, an empty one, none.
    let whole = fs::read(files.path("live.crt")).unwrap();
    for broken in [&whole[..whole.len() / 2], &[], b"nonsense"] {
        let before = count(&proxy, "certificate_refused");
        fs::write(files.path("live.crt"), broken).unwrap();
        wait::until(SOON, "a word in the log", || (count(&proxy, "certificate_refused") > before).then_some(()));
        assert!(trusts(&cluster, &proxy, &two.ca_cert));
    }
    let before = count(&proxy, "certificate_refused");
    fs::remove_file(files.path("live.crt")).unwrap();
    wait::until(SOON, "a word in the log", || (count(&proxy, "certificate_refused") > before).then_some(()));
    assert!(trusts(&cluster, &proxy, &two.ca_cert));
    let told = count(&proxy, "certificate_refused");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(count(&proxy, "certificate_refused"), told, "once is enough");

    // At RELOAD it is not waited for.
    files.put(&one.server_cert, "live.crt");
    files.put(&one.server_key, "live.key");
    let mut console = Raw::connect(&proxy.tcp(), &Login::new("dba", "pgsluice")).unwrap();
    fine(&mut console, "RELOAD");
    assert!(trusts(&cluster, &proxy, &one.ca_cert));
    kept.lives();
    second.lives();
}

#[test]
fn stillebot_certificates_towards_servers_and_their_authorities_are_renewed_on_disk() {
    let files = Files::new();
    let other = files.authority("other");
    let cluster = Cluster::builder()
        .tls(true)
        .hba([
            "hostssl all app 127.0.0.1/32 cert",
            "hostssl all sess 127.0.0.1/32 trust",
            "hostssl all monitor 127.0.0.1/32 trust",
        ])
        .roles([Role::new("app"), Role::new("sess"), Role::new("monitor").option("IN ROLE pg_monitor")])
        .databases(["app"])
        .start()
        .unwrap();
    let own = cluster.tls().unwrap();
    let (wrong, right) = (own.client("nobody").unwrap(), own.client("app").unwrap());
    files.put(&other.ca_cert, "ca.crt");
    files.put(&wrong.0, "own.crt");
    files.put(&wrong.1, "own.key");
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"sess\"]\n\
         server_tls_sslmode = \"verify-full\"\nserver_tls_ca_file = \"{0}/ca.crt\"\nserver_tls_cert_file = \"{0}/own.crt\"\n\
         server_tls_key_file = \"{0}/own.key\"\nserver_login_retry = \"200ms\"\nquery_wait_timeout = \"3s\"\n\
         [clusters.main]\nupstreams = [\"localhost:{1}\"]\nmonitor_user = \"monitor\"\n[databases.app]\n[users.sess]\npool_mode = \"session\"\n",
        files.root.display(),
        cluster.primary().port()
    );
    let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(config).start().unwrap();
    let comes = |user: &str| {
        let mut raw = Raw::connect(&proxy.tcp(), &Login::new(user, "app")).ok()?;
        let frames = query(&mut raw, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        frames.iter().all(|frame| frame.tag != b'E').then_some(raw)
    };
    assert!(comes("sess").is_none(), "a server of an authority that is not trusted");
    files.put(&own.ca_cert, "ca.crt");
    let mut kept = wait::until(SOON + Duration::from_secs(3), "the server is trusted", || comes("sess"));
    assert!(comes("app").is_none(), "its certificate is somebody else's");
    files.put(&right.1, "own.key");
    std::thread::sleep(Duration::from_millis(500));
    files.put(&right.0, "own.crt");
    wait::until(SOON + Duration::from_secs(3), "the certificate is the right one", || comes("app").map(drop));
    // The other way round: what is not trusted any more opens no further connection, and those that are there stay.
    files.put(&other.ca_cert, "ca.crt");
    let mut console = Raw::connect(&proxy.tcp(), &Login::new("sess", "pgsluice")).unwrap();
    fine(&mut console, "RELOAD");
    let pid = fine(&mut kept, "SELECT 1");
    assert_eq!(pid, [["1"]]);
    fine(&mut console, "RECONNECT app");
    assert!(comes("sess").is_none(), "at RELOAD it is not waited for");
    let broken = count(&proxy, "certificate_refused");
    fs::write(files.path("ca.crt"), "nonsense").unwrap();
    wait::until(SOON, "a word in the log", || (count(&proxy, "certificate_refused") > broken).then_some(()));
    files.put(&own.ca_cert, "ca.crt");
    wait::until(LONG, "trust again", || comes("app").map(drop));
}

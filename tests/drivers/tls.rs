//! Each sslmode, towards clients and towards servers.

use pgsluice_fixtures::{Login, Proxy, Raw, Tls};

use crate::stand::{Config, PASSWORD, SOON, Stand, USER, binary, client_tls, fail, succeed, user_line};

fn proxy(stand: &Stand, top: &str) -> Proxy {
    let config = Config { cluster: &stand.cluster, top, databases: &["app"] }.text();
    Proxy::builder(binary()).config(config).file("userlist.txt", user_line(USER, PASSWORD)).start().unwrap()
}

#[test]
fn towards_servers() {
    let stand = Stand::shared();
    let ca = format!("server_tls_ca_file = \"{}\"", stand.ca().display());
    for (mode, secured) in
        [("disable", "f"), ("allow", "f"), ("prefer", "t"), ("require", "t"), ("verify-ca", "t"), ("verify-full", "t")]
    {
        let proxy = proxy(&stand, &format!("server_tls_sslmode = \"{mode}\"\n{ca}"));
        let login = Login::new(USER, "app").password(PASSWORD);
        let mut raw = Raw::connect(&proxy.tcp(), &login).unwrap_or_else(|error| panic!("{mode}: {error}"));
        let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let rows = raw.query(sql, SOON).unwrap().remove(0).rows;
        assert_eq!(rows, [[Some(secured.to_owned())]], "{mode}");
    }
}

#[test]
fn a_server_that_cannot_prove_its_name() {
    let stand = Stand::shared();
    let folder = tempfile::tempdir().unwrap();
    let stranger = Tls::in_folder(folder.path()).unwrap();
    for mode in ["verify-ca", "verify-full"] {
        let top = format!(
            "server_tls_sslmode = \"{mode}\"\nserver_tls_ca_file = \"{}\"\nserver_login_retry = \"100ms\"\n",
            stranger.ca_cert.display()
        );
        let proxy = proxy(&stand, &top.replace("query_wait_timeout", ""));
        let log = || proxy.log();
        pgsluice_fixtures::wait::until(SOON, "the log to say why", || log().contains("TLS: ").then_some(()));
        assert!(!log().contains("to=\"primary\""), "{mode}: {}", log());
    }
}

#[test]
fn towards_clients() {
    let stand = Stand::shared();
    let tls = stand.cluster.tls().unwrap();
    let psql = |proxy: &Proxy, mode: &str| {
        let mut psql = stand.tool("psql", "app");
        psql.env("PGPORT", proxy.port().to_string()).env("PGSSLMODE", mode);
        psql.args(["-XAtc", "\\conninfo"]);
        psql
    };
    let off = proxy(&stand, "");
    assert!(!succeed(&mut psql(&off, "prefer")).contains("SSL connection"));
    assert!(fail(&mut psql(&off, "require")).contains("server does not support SSL, but SSL was required"));
    for mode in ["allow", "prefer", "require"] {
        let on = proxy(&stand, &client_tls(tls, mode));
        assert!(succeed(&mut psql(&on, "verify-full")).contains("SSL connection (protocol: TLSv1.3"));
        match mode {
            "require" => assert!(fail(&mut psql(&on, "disable")).contains("FATAL:  "), "{mode}"),
            _ => assert!(!succeed(&mut psql(&on, "disable")).contains("SSL connection"), "{mode}"),
        }
    }
    // Certificates of clients.
    let ca = format!("client_tls_ca_file = \"{}\"\n", tls.ca_cert.display());
    let strict = proxy(&stand, &(client_tls(tls, "verify-full") + &ca));
    assert!(!fail(&mut psql(&strict, "verify-full")).is_empty());
    let (cert, key) = tls.client(USER).unwrap();
    let mut known = psql(&strict, "verify-full");
    known.env("PGSSLCERT", cert).env("PGSSLKEY", key);
    assert!(succeed(&mut known).contains("SSL connection"));
}

/// A client that reads slowly: what TLS holds back must go out once there is room, and come in once it is asked for.
#[test]
fn much_in_both_directions_at_a_slow_pace() {
    let stand = Stand::shared();
    let mut psql = stand.tool("psql", "app");
    let sql = "select repeat(md5(n::text), 3000) from generate_series(1, 200) n";
    psql.args(["-XAt", "-c", sql]).stdout(std::process::Stdio::piped());
    let mut child = psql.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    // psql reads the whole result first; its own output waits for us. A cursor makes it read in steps.
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut out, &mut bytes).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(bytes.len(), 200 * (32 * 3000 + 1));

    let mut copy = stand.tool("psql", "app");
    copy.args(["-XAtq", "-c", "copy (select repeat('x', 20000) from generate_series(1, 2000)) to stdout"]);
    copy.stdout(std::process::Stdio::piped());
    let mut child = copy.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut total = 0;
    let mut chunk = vec![0; 64 * 1024];
    for turn in 0.. {
        let n = std::io::Read::read(&mut out, &mut chunk).unwrap();
        total += n;
        if n == 0 {
            break;
        }
        if turn < 20 {
            // Long enough for every buffer on the way to fill.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(total, 2000 * 20001);
}

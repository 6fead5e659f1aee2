//! Ways in: unix sockets, md5, verifiers; and what is said to those who are not let in.

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, RawError, Role};

use crate::stand::{ADMIN, Config, PASSWORD, SOON, Stand, USER, binary, fail, succeed, user_line};

fn proxy(cluster: &Cluster, top: &str, users: String) -> Proxy {
    let config = Config { cluster, top, databases: &["app"] }.text();
    Proxy::builder(binary()).config(config).file("userlist.txt", users).start().unwrap()
}

fn one(address: &Address, login: &Login, sql: &str) -> Result<String, RawError> {
    let rows = Raw::connect(address, login)?.query(sql, SOON)?.remove(0).rows;
    Ok(rows[0][0].clone().unwrap_or_default())
}

fn app() -> Login {
    Login::new(USER, "app").password(PASSWORD)
}

/// The role's verifier, as the server has it.
fn verifier(cluster: &Cluster, role: &str) -> String {
    cluster.primary().psql(&format!("select rolpassword from pg_authid where rolname = '{role}'")).unwrap()
}

#[test]
fn by_unix_socket_on_either_side() {
    let stand = Stand::shared();
    let socket = Address::socket(stand.proxy.dir(), stand.proxy.port());
    assert_eq!(one(&socket, &app(), "select current_user").unwrap(), USER);
    let mut psql = stand.tool("psql", "app");
    psql.env("PGHOST", stand.proxy.dir()).env_remove("PGHOSTADDR").env("PGSSLMODE", "prefer");
    assert_eq!(succeed(psql.args(["-XAtc", "select 'by socket'"])), "by socket");

    let server = stand.cluster.primary();
    let tcp = format!("\"127.0.0.1:{}\"", server.port());
    let unix = format!("\"unix:{}:{}\"", server.socket_dir().display(), server.port());
    let config = Config { cluster: &stand.cluster, top: "", databases: &["app"] }.text().replace(&tcp, &unix);
    let users = user_line(USER, PASSWORD);
    let proxy = Proxy::builder(binary()).config(config).file("userlist.txt", users).start().unwrap();
    let from = "select coalesce(inet_client_addr()::text, 'unix')";
    assert_eq!(one(&proxy.tcp(), &app(), from).unwrap(), "unix");
}

#[test]
fn scram_keys_are_passed_on() {
    let stand = Stand::shared();
    let verifier = verifier(&stand.cluster, USER);
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let proxy = proxy(&stand.cluster, "", user_line(USER, &verifier));
    for _ in 0..3 {
        assert_eq!(one(&proxy.tcp(), &app(), "select current_user").unwrap(), USER);
    }
    let wrong = one(&proxy.tcp(), &Login::new(USER, "app").password("wrong"), "select 1").unwrap_err();
    assert_eq!(wrong.sqlstate(), Some("28P01"), "{wrong}");
}

#[test]
fn md5_with_hashes_and_with_passwords() {
    let stand = Stand::shared();
    let over_scram = proxy(&stand.cluster, "auth_type = \"md5\"", user_line(USER, PASSWORD));
    assert_eq!(one(&over_scram.tcp(), &app(), "select current_user").unwrap(), USER);
    let wrong = one(&over_scram.tcp(), &Login::new(USER, "app").password("wrong"), "select 1").unwrap_err();
    assert_eq!(wrong.sqlstate(), Some("28P01"), "{wrong}");

    let cluster = Cluster::builder()
        .password_encryption("md5")
        .roles([
            Role::new(USER).password(PASSWORD),
            Role::new(ADMIN).password("dba").superuser(),
            Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
        ])
        .databases(["app"])
        .start()
        .unwrap();
    let hash = verifier(&cluster, USER);
    assert!(hash.starts_with("md5"), "{hash}");
    let over_md5 = proxy(&cluster, "auth_type = \"md5\"", user_line(USER, &hash));
    assert_eq!(one(&over_md5.tcp(), &app(), "select current_user").unwrap(), USER);
}

#[test]
fn a_plain_password_and_trust() {
    let stand = Stand::shared();
    let plain = proxy(&stand.cluster, "auth_type = \"plain\"", user_line(USER, PASSWORD));
    assert_eq!(one(&plain.tcp(), &app(), "select current_user").unwrap(), USER);
    let trusting = proxy(&stand.cluster, "auth_type = \"trust\"", user_line(USER, PASSWORD));
    assert_eq!(one(&trusting.tcp(), &Login::new(USER, "app"), "select current_user").unwrap(), USER);
}

/// What a refused log-in is told: severity, SQLSTATE, message.
fn refusal(address: &Address, login: &Login) -> [String; 3] {
    let mut raw = match Raw::connect(address, login) {
        Err(RawError::Server(error)) => {
            return [error.severity(), error.code(), error.message()].map(str::to_owned);
        }
        Err(error) => panic!("{error}"),
        Ok(raw) => raw,
    };
    panic!("was let in: {:?}", raw.round_trip(&query("select 1"), SOON));
}

#[test]
fn who_is_not_let_in_is_told_what_postgresql_says() {
    let stand = Stand::shared();
    let through = Address::socket(stand.proxy.dir(), stand.proxy.port());
    let direct = stand.cluster.primary().unix();
    for (login, code) in [
        (Login::new(USER, "app").password("wrong"), "28P01"),
        (Login::new("nobody", "app").password("x"), "28P01"),
        (Login::new("no\"body", "app").password("x"), "28P01"),
        (Login::new(USER, "nowhere").password(PASSWORD), "3D000"),
        (Login::new(USER, "no\"where").password(PASSWORD), "3D000"),
        (Login::new(USER, "nowhere").password("wrong"), "28P01"),
        (app().parameter("no_such_setting", "1"), "42704"),
        (app().parameter("work_mem", "much"), "22023"),
        (app().parameter("options", "-c statement_timeout=never"), "22023"),
        (app().parameter("client_encoding", "klingon"), "22023"),
    ] {
        let expected = refusal(&direct, &login);
        assert_eq!(refusal(&through, &login), expected, "{login:?}");
        assert_eq!(expected[1], code, "{login:?}");
    }
    // In the words of a program.
    let mut psql = stand.tool("psql", "app");
    let said = fail(psql.env("PGPASSWORD", "wrong").args(["-Xc", "select 1"]));
    assert!(said.ends_with(&format!("FATAL:  password authentication failed for user \"{USER}\"")), "{said}");
}

#[test]
fn a_user_that_only_the_userlist_knows() {
    let stand = Stand::shared();
    let proxy = proxy(&stand.cluster, "", user_line("ghost", "x"));
    let login = Login::new("ghost", "app").password("x");
    assert_eq!(refusal(&proxy.tcp(), &login), refusal(&stand.cluster.primary().tcp(), &login));
}

//! `pgsluice run --upstream URL`.

use super::lines;
use crate::config::*;

fn config(url: &str) -> Config {
    Config::for_upstream(url, &Overrides::default()).unwrap_or_else(|e| panic!("{url}: {e}"))
}

fn said(url: &str) -> String {
    lines(Config::for_upstream(url, &Overrides::default())).join("\n")
}

#[test]
fn a_url_with_a_password_makes_its_user_the_only_one() {
    let config = config("postgres://ann:p%40ss:w@db.example.com:5433/shop?sslmode=require");
    assert_eq!(config.auth.auth_type, AuthType::ScramSha256);
    let password = Secret::new("p@ss:w");
    assert_eq!(config.credentials, Credentials::One { user: "ann".into(), password: password.clone() });
    let any = config.database("anything").unwrap();
    assert_eq!(any.server_login(), ServerLogin::Forced { user: "ann", password: Some(&password) });
    assert_eq!(any.server_dbname("anything"), "anything");
    assert_eq!(any.cluster, "main");
    let main = &config.clusters["main"];
    assert_eq!(main.upstreams[0].to_string(), "db.example.com:5433");
    assert_eq!((main.monitor_user.as_str(), main.monitor_database.as_str()), ("ann", "shop"));
    assert_eq!(main.monitor_password, password);
    assert_eq!(main.server_tls.server_tls_sslmode, SslMode::Require);
    assert_eq!(config.process.state_file, StateFile::Ephemeral);
    assert_eq!(config.auth.admin_users, ["ann"]);
    assert_eq!((config.listen.listen_port, config.file.clone()), (6432, None));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("p@ss"));
}

#[test]
fn a_url_without_a_password_trusts() {
    let config = config("postgresql://ann@localhost");
    assert_eq!(config.auth.auth_type, AuthType::Trust);
    assert_eq!(config.credentials, Credentials::None);
    assert_eq!(config.database("x").unwrap().server_login(), ServerLogin::Client);
    assert_eq!(config.clusters["main"].monitor_database, "postgres");
    let open = Overrides { listen: Some((ListenAddr::All, 7000)), log_level: Some(LogLevel::Debug), set: Vec::new() };
    let config = Config::for_upstream("postgres://ann@h", &open).unwrap();
    assert_eq!((config.listen.listen_port, config.log.log_level), (7000, LogLevel::Debug));
    assert_eq!(config.warnings.len(), 1, "trust on all addresses");
}

#[test]
fn several_hosts_ipv6_and_unix_sockets() {
    let hosts =
        |url: &str| -> Vec<String> { config(url).clusters["main"].upstreams.iter().map(ToString::to_string).collect() };
    assert_eq!(hosts("postgres://u@a,b:5433,[::1]:5434/db"), ["a:5432", "b:5433", "[::1]:5434"]);
    assert_eq!(hosts("postgres://u@%2Frun%2Fpostgresql:5433/db"), ["unix:/run/postgresql:5433"]);
    assert_eq!(hosts("postgres://u@/db?host=/run/postgresql&port=5434"), ["unix:/run/postgresql:5434"]);
}

#[test]
fn bad_urls_say_what_would_be_right_and_no_password() {
    for (url, expected) in [
        ("mysql://u:s3cret@h", "--upstream: must begin with postgres://; "),
        ("u:s3cret@h", "--upstream: must begin with postgres://; "),
        ("postgres://h:5432/db", "--upstream: has no user; "),
        ("postgres://u:s3cret@", "--upstream: has no host; "),
        ("postgres://u:s3cret@h:0/db", "--upstream: bad host \"h:0\": the port must be from 1 to 65535"),
        ("postgres://u:s3cret@h,h", "--upstream: h:5432 is given twice"),
        ("postgres://u:s3cret@h?sslmod=require", "--upstream: unknown parameter \"sslmod\"; did you mean sslmode?"),
        ("postgres://u:s3cret@h?sslmode=on", "--upstream: sslmode: must be \"disable\""),
        ("postgres://u:s3cret%zz@h", "--upstream: password: \"%\" must be followed by two hexadecimal digits"),
        (
            "postgres://u:s3cret@h?sslmode=verify-full",
            "--upstream: server_tls_sslmode: \"verify-full\" needs server_tls_ca_file",
        ),
        (
            "postgres://u:s3cret@127.0.0.1:6432",
            "--upstream: clusters.main.upstreams: 127.0.0.1:6432 is pgsluice's own address",
        ),
    ] {
        let said = said(url);
        assert!(said.starts_with(expected), "{url}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

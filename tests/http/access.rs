//! Who may ask for what.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use crate::stand::{Answer, OPERATE, READ, SHORT, Stand};
use pgsluice_fixtures::certificates::{Folder, ca, params};

#[test]
fn each_role_may_do_what_it_says_and_no_more() {
    let stand = Stand::new("", "");
    let with = |method, path, token| stand.ask(method, path, token, "", "");
    for path in ["/livez", "/readyz", "/openapi.json"] {
        assert_eq!(with("GET", path, "").status, 200, "{path} is public");
    }
    let looks = ["/v1/databases", "/v1/databases/app", "/v1/clients", "/v1/status", "/v1/operations", "/v1/session"];
    for path in looks {
        with("GET", path, "").is_problem(401, "28000");
        assert!(with("GET", path, "").head.contains("www-authenticate: bearer"), "{path}");
        assert_eq!((with("GET", path, READ).status, with("GET", path, OPERATE).status), (200, 200), "{path}");
    }
    let commands = [
        ("PUT", "/v1/databases/app/maintenance"),
        ("DELETE", "/v1/databases/app/maintenance"),
        ("PUT", "/v1/databases/app/offline"),
        ("DELETE", "/v1/databases/app/offline"),
        ("POST", "/v1/databases/app/check"),
        ("POST", "/v1/databases/app/announcement"),
        ("PUT", "/v1/databases/app/rehearsal"),
        ("DELETE", "/v1/databases/app/rehearsal"),
        ("DELETE", "/v1/operations/none"),
    ];
    for (method, path) in commands {
        with(method, path, "").is_problem(401, "28000");
        with(method, path, READ).is_problem(403, "42501");
    }
    assert_eq!(stand.console("SHOW MAINTENANCE app")[0][1].as_deref(), Some("read_write"));
    // The hash of a token that is too short is in the file, and does not help.
    with("GET", "/v1/databases", SHORT).is_problem(401, "28000");
    // A page of another site cannot give commands with what a browser sends by itself.
    let elsewhere = stand.ask("PUT", "/v1/databases/app/maintenance", OPERATE, "Origin: http://elsewhere\r\n", "");
    elsewhere.is_problem(403, "42501");
    assert_eq!(with("GET", "/v1/session", OPERATE).json()["user"], "deploy");
}

#[test]
fn wrong_tokens_are_counted_and_who_was_right_before_is_not_locked_out() {
    let stand = Stand::new("", "");
    assert_eq!(stand.get("/v1/databases").status, 200);
    for _ in 0..10 {
        stand.ask("GET", "/v1/databases", "wrong-wrong-wrong-wrong", "", "").is_problem(401, "28000");
    }
    let barred = stand.ask("GET", "/v1/databases", "wrong-wrong-wrong-wrong", "", "");
    assert!(barred.status == 429 && barred.head.contains("retry-after: "), "{barred:?}");
    assert_eq!(stand.ask("GET", "/v1/databases", OPERATE, "", "").status, 429, "it would be found by trying");
    assert_eq!(stand.get("/v1/databases").status, 200, "this one has been right from there");
    let log = stand.proxy.log();
    assert!(log.contains("http_log_in_failed"));
    for secret in ["wrong-wrong", READ, OPERATE] {
        assert!(!log.contains(secret), "a token in the log");
    }
}

#[test]
fn a_command_line_makes_the_hash_of_a_token() {
    let run = |input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgsluice"))
            .arg("hash-token")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let made = run(&format!("{READ}\n"));
    assert_eq!(String::from_utf8(made.stdout).unwrap().trim(), crate::stand::hashed(READ));
    let short = run("too-short\n");
    assert!(!short.status.success() && String::from_utf8(short.stderr).unwrap().contains("16"));
}

#[test]
fn a_client_certificate_has_the_role_of_its_name() {
    let folder = Folder::new();
    let authority = ca("the authority");
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params(&["localhost"], name).signed_by(&key, &authority.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = issue("localhost");
    let (cert_file, key_file) = (folder.write("server.crt", &certificate), folder.write("server.key", &key));
    let ca_file = folder.write("ca.crt", &authority.pem);
    let top = format!(
        "client_tls_sslmode = \"prefer\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\nclient_tls_ca_file = \"{}\"",
        cert_file.display(),
        key_file.display(),
        ca_file.display()
    );
    let http = "tls = true\nread_certificates = [\"looker\"]\noperate_certificates = [\"deployer\"]";
    let stand = Stand::new(&top, http);
    let ask = |who: Option<&str>, method: &str, path: &str, headers: &str| {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(&ca_file).unwrap()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = issue(name);
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, stand.http_port())).unwrap();
        let mut stream = rustls::StreamOwned::new(client, socket);
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        Answer::read(stream)
    };
    assert_eq!(ask(None, "GET", "/livez", "").status, 200);
    ask(None, "GET", "/v1/databases", "").is_problem(401, "28000");
    ask(Some("somebody"), "GET", "/v1/databases", "").is_problem(401, "28000");
    ask(Some("somebody"), "GET", "/metrics", "").is_problem(401, "28000");
    assert_eq!(ask(Some("looker"), "GET", "/metrics", "").status, 200);
    assert_eq!(ask(Some("looker"), "GET", "/v1/databases/app/banner", "").status, 200);
    assert_eq!(ask(Some("looker"), "GET", "/v1/databases", "").status, 200);
    ask(Some("looker"), "PUT", "/v1/databases/app/maintenance", "").is_problem(403, "42501");
    let elsewhere = "Origin: https://elsewhere\r\n";
    ask(Some("deployer"), "PUT", "/v1/databases/app/maintenance", elsewhere).is_problem(403, "42501");
    let on = ask(Some("deployer"), "PUT", "/v1/databases/app/maintenance?wait=20s", "");
    assert_eq!((on.status, on.json()["by"]["user"].as_str()), (200, Some("deployer")));
    // In plain text nothing is said.
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, stand.http_port())).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut said);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
}

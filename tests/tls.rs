//! Handshakes between both sides: every sslmode against good and bad certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgsluice::tls::{
    CaSource, ClientTls, ClientTlsConfig, ClientTlsPolicy, FileWatch, ServerTls, ServerTlsConfig, ServerTlsPolicy,
    SslMode, TlsFiles, server_end_point,
};
use pgsluice_fixtures::certificates::{Folder, Pem, ca, expired, issue, params};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn listener(folder: &Folder, pem: &Pem, mode: SslMode, ca: Option<PathBuf>) -> ClientTlsConfig {
    ClientTlsConfig {
        mode,
        cert_file: Some(folder.write("server.crt", &pem.certificate)),
        key_file: Some(folder.write("server.key", &pem.key)),
        ca_file: ca,
        ..ClientTlsConfig::default()
    }
}

/// Both handshakes and one byte each way; the error of the connecting side, else of the accepting side.
async fn shake(accepting: &ClientTls, connecting: &ServerTls, host: &str) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let mut stream = accepting.accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte + 1).await?;
        stream.flush().await
    };
    let connect = async {
        let mut stream = connecting.connect(host, near).await?;
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(pgsluice::tls::ALPN));
        let certificate = session.peer_certificates().unwrap().first().unwrap();
        assert_eq!(server_end_point(certificate).as_deref(), accepting.end_point());
        stream.write_u8(1).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 2);
        Ok::<(), std::io::Error>(())
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    // With TLS 1.3 a refused client certificate is told after the client's handshake: the alert is what it reads.
    connected.and(accepted).map_err(|error| error.to_string())
}

const GOOD: &str = "";

#[tokio::test]
async fn every_sslmode_against_every_certificate() {
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    let trusted = ca("trusted");
    let other = ca("other");
    let self_signed = issue(params(&["localhost"], "localhost"), None);
    let pinned_expired = issue(expired(params(&["localhost"], "localhost")), None);

    let good = issue(params(&["localhost", "127.0.0.1"], "x"), Some(&trusted));
    let wrong_host = issue(params(&["elsewhere"], "localhost"), Some(&trusted));
    let cn_only = issue(params(&[], "localhost"), Some(&trusted));
    let cn_address = issue(params(&[], "127.0.0.1"), Some(&trusted));
    let late = issue(expired(params(&["localhost"], "x")), Some(&trusted));
    let foreign = issue(params(&["localhost"], "x"), Some(&other));

    let name = "not valid for name";
    let old = "expired";
    let unknown = "UnknownIssuer";
    let ca_as_leaf = "CaUsedAsEndEntity";
    let root = Some(trusted.pem.as_str());
    let own = Some(self_signed.certificate.as_str());
    let own_expired = Some(pinned_expired.certificate.as_str());

    let table = [
        ("prefer, good", Prefer, &good, None, "localhost", GOOD),
        ("prefer, foreign, CA not used", Prefer, &foreign, root, "localhost", GOOD),
        ("require, good", Require, &good, None, "localhost", GOOD),
        ("require, self-signed", Require, &self_signed, None, "localhost", GOOD),
        ("require, wrong host", Require, &wrong_host, None, "localhost", GOOD),
        ("require, expired", Require, &late, None, "localhost", GOOD),
        ("require, foreign", Require, &foreign, None, "localhost", GOOD),
        ("require with CA, good", Require, &good, root, "localhost", GOOD),
        ("require with CA, wrong host", Require, &wrong_host, root, "localhost", GOOD),
        ("require with CA, foreign", Require, &foreign, root, "localhost", unknown),
        ("require with CA, expired", Require, &late, root, "localhost", old),
        ("verify-ca, good", VerifyCa, &good, root, "localhost", GOOD),
        ("verify-ca, wrong host", VerifyCa, &wrong_host, root, "localhost", GOOD),
        ("verify-ca, self-signed", VerifyCa, &self_signed, root, "localhost", ca_as_leaf),
        ("verify-ca, self-signed is the CA file", VerifyCa, &self_signed, own, "elsewhere", GOOD),
        ("verify-ca, expired is the CA file", VerifyCa, &pinned_expired, own_expired, "localhost", old),
        ("verify-ca, expired", VerifyCa, &late, root, "localhost", old),
        ("verify-ca, foreign", VerifyCa, &foreign, root, "localhost", unknown),
        ("verify-full, good", VerifyFull, &good, root, "localhost", GOOD),
        ("verify-full, good, trailing dot", VerifyFull, &good, root, "localhost.", GOOD),
        ("verify-full, good, address", VerifyFull, &good, root, "127.0.0.1", GOOD),
        ("verify-full, good, other address", VerifyFull, &good, root, "127.0.0.2", name),
        ("verify-full, wrong host though CN is right", VerifyFull, &wrong_host, root, "localhost", name),
        ("verify-full, CN only", VerifyFull, &cn_only, root, "localhost", GOOD),
        ("verify-full, CN only, wrong", VerifyFull, &cn_only, root, "elsewhere", name),
        ("verify-full, CN only, address", VerifyFull, &cn_address, root, "127.0.0.1", GOOD),
        ("verify-full, expired", VerifyFull, &late, root, "localhost", old),
        ("verify-full, foreign", VerifyFull, &foreign, root, "localhost", unknown),
        ("verify-full, self-signed is the CA file", VerifyFull, &self_signed, own, "localhost", GOOD),
        ("verify-full, pinned, wrong host", VerifyFull, &self_signed, own, "elsewhere", name),
    ];
    for (what, mode, pem, ca, host, expected) in table {
        let folder = Folder::new();
        let accepting = listener(&folder, pem, Require, None).load().unwrap();
        let connecting =
            ServerTlsConfig { mode, ca: ca.map(|ca| CaSource::File(folder.write("ca.crt", ca))), ..Default::default() };
        let result = shake(&accepting, &connecting.load().unwrap(), host).await;
        match result {
            Ok(()) => assert_eq!(expected, GOOD, "{what}: accepted"),
            Err(error) => {
                assert_ne!(expected, GOOD, "{what}: {error}");
                assert!(error.contains(expected), "{what}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn client_certificates_are_asked_for_in_the_verify_modes() {
    let trusted = ca("trusted");
    let other = ca("other");
    let server = issue(params(&["localhost"], "x"), Some(&trusted));
    let right = issue(params(&["alice"], "alice"), Some(&trusted));
    let foreign = issue(params(&["alice"], "alice"), Some(&other));
    let late = issue(expired(params(&["alice"], "alice")), Some(&trusted));

    for (mode, client, expected) in [
        (SslMode::Allow, None, GOOD),
        (SslMode::Require, Some(&foreign), GOOD),
        (SslMode::VerifyCa, None, "CertificateRequired"),
        (SslMode::VerifyCa, Some(&right), GOOD),
        (SslMode::VerifyCa, Some(&foreign), "UnknownCA"),
        (SslMode::VerifyFull, Some(&late), "CertificateExpired"),
        (SslMode::VerifyFull, Some(&right), GOOD),
    ] {
        let folder = Folder::new();
        let ca_file = folder.write("ca.crt", &trusted.pem);
        let accepting = listener(&folder, &server, mode, Some(ca_file)).load().unwrap();
        let connecting = ServerTlsConfig {
            mode: SslMode::Require,
            ca: None,
            cert_file: client.map(|pem| folder.write("client.crt", &pem.certificate)),
            key_file: client.map(|pem| folder.write("client.key", &pem.key)),
            ..Default::default()
        };
        let result = shake(&accepting, &connecting.load().unwrap(), "localhost").await;
        match result {
            Ok(()) => assert_eq!(expected, GOOD, "{mode}"),
            Err(error) => assert!(expected != GOOD && error.contains(expected), "{mode}: {error}"),
        }
    }
}

#[test]
fn modes_and_policies() {
    let folder = Folder::new();
    let pem = issue(params(&["localhost"], "x"), None);
    let ca = Some(folder.write("ca.crt", &pem.certificate));
    for (mode, towards_clients, towards_upstreams) in [
        (SslMode::Disable, ClientTlsPolicy::Refused, ServerTlsPolicy::Never),
        (SslMode::Allow, ClientTlsPolicy::Offered, ServerTlsPolicy::PlainFirst),
        (SslMode::Prefer, ClientTlsPolicy::Offered, ServerTlsPolicy::TlsFirst),
        (SslMode::Require, ClientTlsPolicy::Required, ServerTlsPolicy::Always),
        (SslMode::VerifyCa, ClientTlsPolicy::Required, ServerTlsPolicy::Always),
        (SslMode::VerifyFull, ClientTlsPolicy::Required, ServerTlsPolicy::Always),
    ] {
        let listening = listener(&folder, &pem, mode, ca.clone()).load().unwrap();
        assert_eq!(listening.policy(), towards_clients, "{mode}");
        let connecting = ServerTlsConfig { mode, ca: ca.clone().map(CaSource::File), ..Default::default() };
        assert_eq!(connecting.load().unwrap().policy(), towards_upstreams, "{mode}");
    }
}

#[test]
fn bad_configurations_name_the_file_and_the_reason() {
    let folder = Folder::new();
    let one = issue(params(&["localhost"], "x"), None);
    let two = issue(params(&["localhost"], "x"), None);
    let junk = folder.write("junk.pem", "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n");
    let empty = folder.write("empty.pem", "");
    let locked = folder
        .write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let good = listener(&folder, &one, SslMode::Require, None);
    let two_key = folder.write("two.key", &two.key);
    let missing = Path::new("/nonexistent/x.crt").to_owned();

    let edit = |change: &dyn Fn(&mut ClientTlsConfig)| {
        let mut config = good.clone();
        change(&mut config);
        config.load().unwrap_err().to_string()
    };
    let upstream = |mode, ca: Option<&str>| {
        let config = ServerTlsConfig { mode, ca: ca.map(CaSource::from), ..Default::default() };
        config.load().unwrap_err().to_string()
    };
    for (error, parts) in [
        (
            edit(&|c| c.cert_file = Some(missing.clone())),
            ["could not load certificate file \"/nonexistent/x.crt\"", "No such file"],
        ),
        (edit(&|c| c.cert_file = Some(empty.clone())), ["empty.pem", "no certificate in PEM format"]),
        (edit(&|c| c.cert_file = Some(junk.clone())), ["junk.pem", "base64"]),
        (
            edit(&|c| c.key_file = Some(empty.clone())),
            ["could not load private key file", "no private key in PEM format"],
        ),
        (edit(&|c| c.key_file = Some(locked.clone())), ["locked.key", "without a passphrase"]),
        (edit(&|c| c.key_file = Some(two_key.clone())), ["two.key", "the key is not that of the certificate"]),
        (edit(&|c| c.key_file = None), ["sslmode require", "private key file"]),
        (edit(&|c| c.cert_file = None), ["sslmode require", "certificate file"]),
        (edit(&|c| c.mode = SslMode::VerifyCa), ["sslmode verify-ca", "CA file"]),
        (upstream(SslMode::VerifyFull, None), ["sslmode verify-full", "\"system\""]),
        (upstream(SslMode::VerifyCa, Some("system")), ["weak sslmode \"verify-ca\"", "verify-full"]),
        (
            upstream(SslMode::VerifyCa, Some("/nonexistent/ca")),
            ["could not load root certificate file", "No such file"],
        ),
    ] {
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    assert!(pgsluice::tls::client::server_name("a b").is_err());
}

#[tokio::test]
async fn changed_files_are_picked_up_and_broken_ones_are_not() {
    let folder = Folder::new();
    let one = issue(params(&["localhost"], "x"), None);
    let two = issue(params(&["localhost"], "x"), None);
    let config = listener(&folder, &one, SslMode::Require, None);
    let first = config.load().unwrap();
    let mut watch = FileWatch::default();
    assert!(!watch.is_due(&config.files()) && !watch.is_due(&config.files()));

    // The certificate comes first, its key a moment later.
    folder.write("server.crt", &two.certificate);
    assert!(!watch.is_due(&config.files()), "it may still be written");
    assert!(watch.is_due(&config.files()));
    assert!(config.load().is_err());
    watch.is_read();
    assert!(!watch.is_due(&config.files()));
    folder.write("server.key", &two.key);
    assert!(!watch.is_due(&config.files()) && watch.is_due(&config.files()));
    let second = config.load().unwrap();
    watch.is_read();
    assert!(!watch.is_due(&config.files()));
    assert_ne!(second.end_point(), first.end_point());

    let pinned = ServerTlsConfig {
        mode: SslMode::VerifyCa,
        ca: Some(CaSource::File(folder.write("ca.crt", &two.certificate))),
        ..Default::default()
    };
    let connecting = pinned.load().unwrap();
    shake(&second, &connecting, "localhost").await.unwrap();
    assert!(shake(&first, &connecting, "localhost").await.is_err());
}

/// Without a CA anybody's certificate will do, but it must be the peer's own: who has only copied it is refused.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused_in_every_mode() {
    let real = issue(params(&["localhost"], "x"), None);
    let thief = issue(params(&["localhost"], "x"), None);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(thief.key.as_bytes()).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(
        vec![CertificateDer::from_pem_slice(real.certificate.as_bytes()).unwrap()],
        provider.key_provider.load_private_key(key).unwrap(),
    );
    let folder = Folder::new();
    let ca = CaSource::File(folder.write("ca.crt", &real.certificate));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (mode, ca) in [
            (SslMode::Prefer, None),
            (SslMode::Require, None),
            (SslMode::VerifyCa, Some(ca.clone())),
            (SslMode::VerifyFull, Some(ca.clone())),
        ] {
            let resolver = rustls::sign::SingleCertAndKey::from(stolen.clone());
            let impostor = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(resolver));
            let connecting = ServerTlsConfig { mode, ca, ..Default::default() };
            let connecting = connecting.load().unwrap();
            let (near, far) = tokio::io::duplex(1 << 16);
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(impostor));
            let (_, connected) = tokio::join!(acceptor.accept(far), connecting.connect("localhost", near));
            let error = connected.unwrap_err().to_string();
            assert!(error.contains("BadSignature"), "{mode} {version:?}: {error}");
        }
    }
}

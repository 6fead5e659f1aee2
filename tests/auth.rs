//! Both halves of `auth` against each other and against an independent client, and against nonsense.

use pgsluice::auth::client::ChannelBinding;
use pgsluice::auth::error::Refusal;
use pgsluice::auth::md5::Md5Hash;
use pgsluice::auth::scram::ScramVerifier;
use pgsluice::auth::{
    AuthError, Authenticated, ClientAuth, Credential, Decoy, LoginError, LoginStep, Method, Secret, SecretKind,
    ServerLogin, Step, code,
};
use proptest::prelude::*;

const SALT: &[u8; 16] = b"0123456789abcdef";

fn decoy() -> Decoy {
    Decoy::with_key([7; 32], SecretKind::Scram)
}

fn scram(password: &str) -> Secret {
    Secret::from_text(&ScramVerifier::derive(password.as_bytes(), SALT, 64).to_secret_text())
}

fn md5(password: &str) -> Secret {
    Secret::Md5(Md5Hash::of(password.as_bytes(), "alice"))
}

#[derive(Debug)]
enum Failure {
    Server(AuthError),
    Client(LoginError),
}

/// Runs both machines to the end.
fn converse(mut server: ClientAuth, mut client: ServerLogin) -> Result<(Authenticated, Vec<i32>), Failure> {
    let mut codes = Vec::new();
    let mut step = server.start();
    for _ in 0..10 {
        let (body, done) = match step {
            Step::Send(body) => (body, None),
            Step::Done(done) => (code::OK.to_be_bytes().to_vec(), Some(done)),
            Step::SendThenDone(body, done) => {
                codes.push(i32::from_be_bytes(body[..4].try_into().unwrap()));
                assert_eq!(client.receive(&body).map_err(Failure::Client)?, LoginStep::Continue);
                (code::OK.to_be_bytes().to_vec(), Some(done))
            }
            Step::Fail(error) => return Err(Failure::Server(error)),
        };
        codes.push(i32::from_be_bytes(body[..4].try_into().unwrap()));
        match client.receive(&body).map_err(Failure::Client)? {
            LoginStep::Send(answer) => step = server.receive(&answer),
            LoginStep::Ok => return Ok((done.unwrap(), codes)),
            LoginStep::Continue => panic!("nothing to continue with"),
        }
    }
    panic!("no end");
}

fn attempt(
    method: Method,
    secret: Option<Secret>,
    credential: Credential,
) -> Result<(Authenticated, Vec<i32>), Failure> {
    converse(ClientAuth::new(method, "alice", secret, &decoy()), ServerLogin::new("alice", credential))
}

#[test]
fn every_method_with_every_secret() {
    use Method::{Md5, Password, ScramSha256, Trust};
    let plain = || Secret::from_text("secret");
    let sasl: &[i32] = &[code::SASL, code::SASL_CONTINUE, code::SASL_FINAL, code::OK];
    let clear: &[i32] = &[code::CLEARTEXT, code::OK];
    let hash: &[i32] = &[code::MD5, code::OK];
    for (method, secret, codes, passes_on) in [
        (Trust, plain(), &[code::OK][..], "Password(Password(..))"),
        (Trust, scram("secret"), &[code::OK][..], "None"),
        (Password, plain(), clear, "Password(Password(..))"),
        (Password, md5("secret"), clear, "Password(Password(..))"),
        (Password, scram("secret"), clear, "Password(Password(..))"),
        (Md5, plain(), hash, "Password(Password(..))"),
        (Md5, md5("secret"), hash, "Md5Hash(Md5Hash(..))"),
        (Md5, scram("secret"), sasl, "ScramKeys(ScramKeys(..))"),
        (ScramSha256, plain(), sasl, "Password(Password(..))"),
        (ScramSha256, scram("secret"), sasl, "ScramKeys(ScramKeys(..))"),
    ] {
        let what = format!("{method} with {secret:?}");
        let (done, seen) = attempt(method, Some(secret.clone()), Credential::password("secret")).unwrap();
        assert_eq!(seen, codes, "{what}");
        assert_eq!(format!("{:?}", done.credential), passes_on, "{what}");
        if method == Trust {
            continue;
        }
        let Err(Failure::Server(error)) = attempt(method, Some(secret), Credential::password("wrong")) else {
            panic!("{what}: a wrong password was accepted");
        };
        assert_eq!(error.to_string(), "password authentication failed for user \"alice\"");
        assert_eq!(error.sqlstate(), "28P01");
        assert_eq!(error.log_detail().unwrap(), "Password does not match for user \"alice\".");
    }
}

#[test]
fn scram_keys_that_a_log_in_uncovers_open_the_next_server() {
    let (done, _) = attempt(Method::ScramSha256, Some(scram("secret")), Credential::password("secret")).unwrap();
    let keys = done.credential;
    let (again, _) = attempt(Method::ScramSha256, Some(scram("secret")), keys.clone()).unwrap();
    assert!(matches!(again.credential, Credential::ScramKeys(_)));
    // Another salt is another verifier: keys do not fit, and no other method takes them.
    let other = Secret::from_text(&ScramVerifier::derive(b"secret", b"another salt", 64).to_secret_text());
    assert!(matches!(attempt(Method::ScramSha256, Some(other), keys.clone()), Err(Failure::Server(_))));
    let error = attempt(Method::Md5, Some(md5("secret")), keys).unwrap_err();
    let Failure::Client(error) = error else { panic!("{error:?}") };
    assert_eq!(error.to_string(), "the server asks for md5, but for this user there is only SCRAM keys");
}

#[test]
fn who_does_not_exist_looks_like_who_does() {
    for (method, secret, why) in [
        (Method::ScramSha256, None, Refusal::UnknownUser),
        (Method::Md5, None, Refusal::UnknownUser),
        (Method::Password, None, Refusal::UnknownUser),
        (Method::ScramSha256, Some(Secret::Empty), Refusal::NoPassword),
        (Method::ScramSha256, Some(md5("secret")), Refusal::UnsuitableSecret),
    ] {
        let result = attempt(method, secret, Credential::password("secret"));
        let Err(Failure::Server(error)) = result else { panic!("{method}: {result:?}") };
        assert_eq!(error, AuthError::Refused { user: "alice".into(), why });
        assert_eq!(error.to_string(), "password authentication failed for user \"alice\"");
    }

    // The challenge: same shape, same salt each time, another one per user and per key, no change by a reload.
    let challenge = |user: &str, secret: Option<Secret>, decoy: &Decoy| {
        let mut server = ClientAuth::new(Method::ScramSha256, user, secret, decoy);
        let mut client = ServerLogin::new(user, Credential::password("x"));
        let Step::Send(offer) = server.start() else { panic!() };
        let Ok(LoginStep::Send(first)) = client.receive(&offer) else { panic!() };
        let Step::Send(challenge) = server.receive(&first) else { panic!() };
        let text = String::from_utf8(challenge[4..].to_vec()).unwrap();
        (text.len(), text.split_once(",s=").unwrap().1.to_owned())
    };
    let unknown = challenge("bob", None, &decoy());
    assert_eq!(unknown, challenge("bob", None, &decoy()));
    assert_eq!(unknown, challenge("bob", Some(Secret::from_text("secret")), &decoy()));
    assert_ne!(unknown, challenge("eve", None, &decoy()));
    let (length, salt) = challenge("bob", None, &Decoy::random(SecretKind::Scram).unwrap());
    assert_eq!(length, unknown.0);
    assert_ne!(salt, unknown.1);
}

#[test]
fn an_independent_client_gets_in() {
    use postgres_protocol::authentication::sasl::{ChannelBinding as Binding, ScramSha256};
    for (binding, mechanism, end_point) in [
        (Binding::unsupported(), "SCRAM-SHA-256", None),
        (Binding::unrequested(), "SCRAM-SHA-256", None),
        (Binding::unsupported(), "SCRAM-SHA-256", Some(vec![5; 32])),
        (Binding::tls_server_end_point(vec![5; 32]), "SCRAM-SHA-256-PLUS", Some(vec![5; 32])),
    ] {
        let mut server =
            ClientAuth::new(Method::ScramSha256, "alice", Some(Secret::from_text("pässwörd\u{ad}")), &decoy())
                .with_channel_binding(end_point);
        let mut client = ScramSha256::new("pässwörd\u{ad}".as_bytes(), binding);
        let Step::Send(_) = server.start() else { panic!() };
        let mut initial = mechanism.as_bytes().to_vec();
        initial.push(0);
        initial.extend_from_slice(&i32::try_from(client.message().len()).unwrap().to_be_bytes());
        initial.extend_from_slice(client.message());
        let Step::Send(challenge) = server.receive(&initial) else { panic!() };
        client.update(&challenge[4..]).unwrap();
        let Step::SendThenDone(last, _) = server.receive(client.message()) else { panic!() };
        client.finish(&last[4..]).unwrap();
    }
}

#[test]
fn channel_binding_between_the_halves() {
    let secret = || Some(Secret::from_text("secret"));
    let run = |ours: Option<Vec<u8>>, theirs: ChannelBinding| {
        converse(
            ClientAuth::new(Method::ScramSha256, "alice", secret(), &decoy()).with_channel_binding(ours),
            ServerLogin::new("alice", Credential::password("secret")).with_channel_binding(theirs),
        )
    };
    assert!(run(Some(vec![1]), ChannelBinding::EndPoint(vec![1])).is_ok());
    assert!(run(Some(vec![1]), ChannelBinding::Impossible).is_ok());
    assert!(run(None, ChannelBinding::EndPoint(vec![1])).is_ok());
    let between = run(Some(vec![1]), ChannelBinding::EndPoint(vec![2]));
    assert!(matches!(between, Err(Failure::Server(AuthError::ChannelBindingMismatch))), "{between:?}");
}

#[test]
fn malformed_password_and_sasl_messages() {
    let refused = |method, message: &[u8]| {
        let mut server = ClientAuth::new(method, "alice", Some(Secret::from_text("secret")), &decoy());
        assert!(matches!(server.start(), Step::Send(_)));
        match server.receive(message) {
            Step::Fail(error) => {
                assert!(matches!(server.receive(b"secret\0"), Step::Fail(_)), "goes on after a failure");
                format!("{} {error}", error.sqlstate())
            }
            _ => "accepted".into(),
        }
    };
    let long = vec![b'x'; 70_000];
    for (method, message, expected) in [
        (Method::Password, &b"secret\0"[..], "accepted"),
        (Method::Password, b"", "08P01 invalid password packet size"),
        (Method::Password, b"secret", "08P01 invalid password packet size"),
        (Method::Password, b"secret\0x\0", "08P01 invalid password packet size"),
        (Method::Password, b"\0", "28P01 empty password returned by client"),
        (Method::Password, &long, "08P01 invalid message length"),
        (Method::Md5, b"\0", "28P01 empty password returned by client"),
        (Method::Md5, b"md5\0", "28P01 password authentication failed for user \"alice\""),
        (Method::ScramSha256, b"", "08P01 invalid string in message"),
        (
            Method::ScramSha256,
            b"SCRAM-SHA-1\0\0\0\0\0",
            "08P01 client selected an invalid SASL authentication mechanism",
        ),
        (
            Method::ScramSha256,
            b"SCRAM-SHA-256-PLUS\0\0\0\0\0",
            "08P01 client selected an invalid SASL authentication mechanism",
        ),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\0\0", "08P01 insufficient data left in message"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\0\0\0\x05abc", "08P01 insufficient data left in message"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\x80\0\0\0abc", "08P01 insufficient data left in message"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\0\0\0\x01abc", "08P01 invalid message format"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\xff\xff\xff\xffabc", "08P01 invalid message format"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\xff\xff\xff\xff", "accepted"),
        (Method::ScramSha256, b"SCRAM-SHA-256\0\0\0\0\0", "08P01 malformed SCRAM message"),
        (Method::ScramSha256, &long[..2000], "08P01 invalid message length"),
    ] {
        assert_eq!(refused(method, message), expected, "{method} {:?}", message.get(..40).unwrap_or(message));
    }
}

/// A body of an `R` message.
fn body(code: i32, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), data].concat()
}

#[test]
fn a_server_that_cheats_is_not_logged_in_to() {
    let login = |bodies: &[&[u8]]| {
        let mut login = ServerLogin::new("alice", Credential::password("secret"));
        let mut nonce = String::new();
        for body in bodies {
            // NONCE stands for what the client sent.
            let text = String::from_utf8_lossy(body);
            let body = match text.contains("NONCE") {
                true => text.replace("NONCE", &nonce).into_bytes(),
                false => body.to_vec(),
            };
            match login.receive(&body) {
                Ok(LoginStep::Send(sent)) => {
                    if let Some((_, sent)) = String::from_utf8_lossy(&sent).split_once("n=,r=") {
                        nonce = sent.to_owned();
                    }
                }
                Ok(LoginStep::Ok) => return "let in".to_owned(),
                Ok(LoginStep::Continue) => {}
                Err(error) => return error.to_string(),
            }
        }
        "waits".to_owned()
    };
    let offer = body(10, b"SCRAM-SHA-256\0\0");
    let ok = body(0, b"");
    let fine = body(11, b"r=NONCEx,s=AAAA,i=4096");
    let cont = |text: &str| body(11, text.as_bytes());
    let malformed = "malformed authentication message from the server: ";
    for (bodies, expected) in [
        (vec![ok.clone()], "let in".to_owned()),
        (
            vec![offer.clone(), ok.clone()],
            "unexpected authentication message from the server: AuthenticationOk before the server has proven itself"
                .into(),
        ),
        (
            vec![offer.clone(), fine.clone(), ok.clone()],
            "unexpected authentication message from the server: AuthenticationOk before the server has proven itself"
                .into(),
        ),
        (
            vec![offer.clone(), fine.clone(), body(12, format!("v={}", "A".repeat(43) + "=").as_bytes())],
            "incorrect server signature: the server could not prove that it knows the user".into(),
        ),
        (
            vec![offer.clone(), fine.clone(), body(12, b"e=other-error")],
            "the server ended the SCRAM exchange: other-error".into(),
        ),
        (
            vec![offer.clone(), fine.clone(), body(12, b"v=AAAA")],
            format!("{malformed}server-final-message: no signature"),
        ),
        (vec![offer.clone(), cont("r=NONCE,s=AAAA,i=4096")], format!("{malformed}the nonce does not continue ours")),
        (vec![offer.clone(), cont("r=abc,s=AAAA,i=4096")], format!("{malformed}the nonce does not continue ours")),
        (vec![offer.clone(), cont("r=NONCEx,s=AAAA,i=0")], format!("{malformed}invalid iteration count")),
        (vec![offer.clone(), cont("r=NONCEx,s=AAAA,i=+5")], format!("{malformed}invalid iteration count")),
        (
            vec![offer.clone(), cont("r=NONCEx,s=AAAA,i=1000001")],
            "the server asks for more than 1000000 SCRAM iterations".into(),
        ),
        (
            vec![offer.clone(), cont("r=NONCEx,s=AAAA,i=99999999999999999999")],
            "the server asks for more than 1000000 SCRAM iterations".into(),
        ),
        (vec![offer.clone(), cont("r=NONCEx,s=,i=4096")], format!("{malformed}invalid salt")),
        (vec![offer.clone(), cont("r=NONCEx,s=AAAA,i=4096,x=1")], format!("{malformed}garbage at the end")),
        (vec![offer.clone(), cont("m=x,r=NONCEx,s=AAAA,i=4096")], format!("{malformed}no nonce")),
        (
            vec![body(10, b"SCRAM-SHA-1\0OTHER\0\0")],
            "the server asks for SASL mechanisms SCRAM-SHA-1, OTHER authentication, which is not supported".into(),
        ),
        (vec![body(10, b"SCRAM-SHA-256\0")], format!("{malformed}AuthenticationSASL without a list of mechanisms")),
        (vec![body(5, b"abc")], format!("{malformed}AuthenticationMD5Password without four bytes of salt")),
        (vec![body(3, b""), body(3, b"")], "unexpected authentication message from the server: out of order".into()),
        (vec![body(7, b"")], "the server asks for GSSAPI authentication, which is not supported".into()),
        (vec![body(9, b"")], "the server asks for SSPI authentication, which is not supported".into()),
        (vec![vec![0, 0]], format!("{malformed}shorter than its code")),
    ] {
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        assert_eq!(login(&bodies), expected);
    }
}

#[test]
fn heavy_iterations_are_told_before_they_are_done() {
    let credential = Credential::password("secret");
    let mut login = ServerLogin::new("alice", credential);
    let Ok(LoginStep::Send(first)) = login.receive(&body(10, b"SCRAM-SHA-256\0\0")) else { panic!() };
    let first = String::from_utf8_lossy(&first).into_owned();
    let nonce = first.split_once("n=,r=").unwrap().1;
    let challenge = |rounds| body(11, format!("r={nonce}x,s=AAAA,i={rounds}").as_bytes());
    assert!(!login.is_heavy(&challenge(4096)));
    assert!(login.is_heavy(&challenge(100_000)));
    assert!(!login.is_heavy(&challenge(100_000_000)), "refused, not computed");
}

#[test]
fn method_words() {
    assert_eq!("plain".parse(), Ok(Method::Password));
    let error = "scram".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("scram-sha-256, md5"), "{error}");
}

proptest! {
    #[test]
    fn no_client_bytes_make_it_panic(
        which in 0..3usize,
        messages in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|tail| [&b"SCRAM-SHA-256\0"[..], &tail].concat()),
            "n,,n=,r=[a-z,=]{0,10}".prop_map(|text| {
                let length = u32::try_from(text.len()).unwrap().to_be_bytes();
                [&b"SCRAM-SHA-256\0"[..], &length, text.as_bytes()].concat()
            }),
            "c=biws,r=[a-z,=p]{0,10}".prop_map(String::into_bytes),
        ], 1..4),
    ) {
        let method = [Method::Password, Method::Md5, Method::ScramSha256][which];
        let mut server = ClientAuth::new(method, "alice", Some(scram("secret")), &decoy());
        server.start();
        for message in messages {
            let step = server.receive(&message);
            prop_assert!(!matches!(step, Step::Done(_) | Step::SendThenDone(..)));
        }
    }

    #[test]
    fn no_server_bytes_make_it_panic(
        messages in proptest::collection::vec(prop_oneof![
            (0..13i32, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(code, data)| body(code, &data)),
            proptest::collection::vec(any::<u8>(), 0..8),
            Just(body(10, b"SCRAM-SHA-256\0\0")),
            "r=[a-z,=s]{0,30},i=[0-9]{0,3}".prop_map(|text| body(11, text.as_bytes())),
            "[ve]=[A-Za-z=]{0,50}".prop_map(|text| body(12, text.as_bytes())),
        ], 1..5),
    ) {
        let mut login = ServerLogin::new("alice", Credential::password("secret"));
        for message in messages {
            let _ = login.is_heavy(&message);
            if login.receive(&message).is_err() {
                break;
            }
        }
    }
}

//! The server's half of a SCRAM exchange (RFC 5802), with PostgreSQL's checks, order of checks and error texts.

use subtle::ConstantTimeEq;

use super::error::AuthError;
use super::scram::{CHANNEL_BINDING_TYPE, Key, ScramKeys, ScramVerifier, decode_key, encode, is_printable, nonce};

/// Which mechanism was agreed on, and over what kind of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// SCRAM-SHA-256 where SCRAM-SHA-256-PLUS was not offered.
    NotOffered,
    /// SCRAM-SHA-256 although SCRAM-SHA-256-PLUS was offered.
    Declined,
    /// SCRAM-SHA-256-PLUS, with the hash of our certificate.
    Bound(Vec<u8>),
}

/// One exchange, from the client's first message on.
pub(crate) struct ScramServer {
    verifier: ScramVerifier,
    binding: Binding,
    state: State,
}

enum State {
    Start,
    Challenged(Challenge),
    Over,
}

struct Challenge {
    flag: BindingFlag,
    client_first_bare: Vec<u8>,
    server_first: String,
    nonce: Vec<u8>,
}

/// RFC 5802's gs2-cbind-flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BindingFlag {
    /// `n`: the client cannot.
    Unsupported,
    /// `y`: the client can and believes that we cannot.
    Unoffered,
    /// `p`: used.
    Used,
}

/// What a message of the client leads to.
pub(crate) enum Outcome {
    /// Send this challenge.
    Challenge(Vec<u8>),
    /// The proof is right: send this, and the client is in.
    Proven(Vec<u8>, ScramKeys),
    /// The proof is wrong.
    Refused,
}

impl ScramServer {
    pub(crate) fn new(verifier: ScramVerifier, binding: Binding) -> Self {
        Self { verifier, binding, state: State::Start }
    }

    pub(crate) fn receive(&mut self, message: &[u8]) -> Result<Outcome, AuthError> {
        if message.is_empty() {
            return Err(AuthError::malformed("The message is empty."));
        }
        if message.contains(&0) {
            return Err(AuthError::malformed("Message length does not match input length."));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => self.first(message),
            State::Challenged(challenge) => self.last(&challenge, message),
            State::Over => Err(AuthError::protocol("unexpected SASL response message")),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Outcome, AuthError> {
        let mut input = Input(message);
        let flag = self.binding_flag(&mut input)?;
        if input.peek() == b'a' {
            return Err(AuthError::Unsupported("client uses authorization identity, but it is not supported"));
        }
        if input.peek() != b',' {
            return Err(AuthError::malformed(format!(
                "Unexpected attribute \"{}\" in client-first-message.",
                show_char(input.peek())
            )));
        }
        input.skip();

        let client_first_bare = input.0.to_vec();
        if input.peek() == b'm' {
            return Err(AuthError::Unsupported("client requires an unsupported SCRAM extension"));
        }
        // The user name is that of the start-up packet, whatever stands here.
        input.attribute(b'n')?;
        let client_nonce = input.attribute(b'r')?;
        if !is_printable(client_nonce) {
            return Err(AuthError::protocol("non-printable characters in SCRAM nonce"));
        }
        while !input.is_empty() {
            input.any_attribute()?;
        }

        let mut agreed = client_nonce.to_vec();
        agreed.extend_from_slice(nonce().ok_or(AuthError::NoRandomness)?.as_bytes());
        let server_first = format!(
            "r={},s={},i={}",
            // Printable ASCII, checked above.
            String::from_utf8_lossy(&agreed),
            encode(&self.verifier.salt),
            self.verifier.iterations
        );
        self.state =
            State::Challenged(Challenge { flag, client_first_bare, server_first: server_first.clone(), nonce: agreed });
        Ok(Outcome::Challenge(server_first.into_bytes()))
    }

    /// The gs2-cbind-flag and the comma after it.
    fn binding_flag(&self, input: &mut Input<'_>) -> Result<BindingFlag, AuthError> {
        let bound = matches!(self.binding, Binding::Bound(_));
        let flag = match input.peek() {
            b'n' | b'y' if bound => {
                return Err(AuthError::malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            b'n' => BindingFlag::Unsupported,
            b'y' if self.binding == Binding::Declined => {
                return Err(AuthError::ChannelBindingDowngrade);
            }
            b'y' => BindingFlag::Unoffered,
            b'p' if !bound => {
                return Err(AuthError::malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                ));
            }
            b'p' => {
                let kind = input.attribute(b'p')?;
                if kind != CHANNEL_BINDING_TYPE.as_bytes() {
                    return Err(AuthError::protocol(format!(
                        "unsupported SCRAM channel-binding type \"{}\"",
                        show_text(kind)
                    )));
                }
                return Ok(BindingFlag::Used);
            }
            other => {
                return Err(AuthError::malformed(format!("Unexpected channel-binding flag \"{}\".", show_char(other))));
            }
        };
        input.skip();
        if input.peek() != b',' {
            return Err(AuthError::malformed(format!(
                "Comma expected, but found character \"{}\".",
                show_char(input.peek())
            )));
        }
        input.skip();
        Ok(flag)
    }

    fn last(&self, challenge: &Challenge, message: &[u8]) -> Result<Outcome, AuthError> {
        let mut input = Input(message);
        self.check_binding(challenge.flag, input.attribute(b'c')?)?;
        let final_nonce = input.attribute(b'r')?;
        let (without_proof, proof) = loop {
            let before = message.len().saturating_sub(input.0.len() + 1);
            let (name, value) = input.any_attribute()?;
            if name == b'p' {
                break (message.get(..before).unwrap_or_default(), value);
            }
        };
        let proof: Key =
            decode_key(proof).ok_or_else(|| AuthError::malformed("Malformed proof in client-final-message."))?;
        if !input.is_empty() {
            return Err(AuthError::malformed("Garbage found at the end of client-final-message."));
        }
        if !bool::from(final_nonce.ct_eq(&challenge.nonce)) {
            return Err(AuthError::NonceMismatch);
        }

        let auth_message: [&[u8]; 5] =
            [&challenge.client_first_bare, b",", challenge.server_first.as_bytes(), b",", without_proof];
        Ok(match self.verifier.verify_proof(&proof, &auth_message) {
            Some(keys) => {
                let signature = encode(&self.verifier.server_signature(&auth_message));
                Outcome::Proven(format!("v={signature}").into_bytes(), keys)
            }
            None => Outcome::Refused,
        })
    }

    fn check_binding(&self, flag: BindingFlag, value: &[u8]) -> Result<(), AuthError> {
        let right = match (flag, &self.binding) {
            (BindingFlag::Used, Binding::Bound(hash)) => {
                let mut expected = format!("p={CHANNEL_BINDING_TYPE},,").into_bytes();
                expected.extend_from_slice(hash);
                return if bool::from(encode(&expected).as_bytes().ct_eq(value)) {
                    Ok(())
                } else {
                    Err(AuthError::ChannelBindingMismatch)
                };
            }
            (BindingFlag::Unsupported, _) => value == b"biws",
            (BindingFlag::Unoffered, _) => value == b"eSws",
            (BindingFlag::Used, _) => false,
        };
        if right {
            Ok(())
        } else {
            Err(AuthError::protocol("unexpected SCRAM channel-binding attribute in client-final-message"))
        }
    }
}

/// What is left of a message. The end reads as NUL, which cannot stand inside.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    fn skip(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    /// The value of an attribute that must come now.
    fn attribute(&mut self, name: u8) -> Result<&'a [u8], AuthError> {
        if self.peek() != name {
            return Err(AuthError::malformed(format!(
                "Expected attribute \"{}\" but found \"{}\".",
                char::from(name),
                show_char(self.peek())
            )));
        }
        self.value(name)
    }

    /// Whatever attribute comes now.
    fn any_attribute(&mut self) -> Result<(u8, &'a [u8]), AuthError> {
        let name = self.peek();
        if name == 0 {
            return Err(AuthError::malformed("Attribute expected, but found end of string."));
        }
        if !name.is_ascii_alphabetic() {
            return Err(AuthError::malformed(format!(
                "Attribute expected, but found invalid character \"{}\".",
                show_char(name)
            )));
        }
        Ok((name, self.value(name)?))
    }

    fn value(&mut self, name: u8) -> Result<&'a [u8], AuthError> {
        self.skip();
        if self.peek() != b'=' {
            return Err(AuthError::malformed(format!(
                "Expected character \"=\" for attribute \"{}\".",
                char::from(name)
            )));
        }
        self.skip();
        let end = self.0.iter().position(|&c| c == b',');
        let (value, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(value)
    }
}

/// PostgreSQL's `sanitize_char`.
fn show_char(c: u8) -> String {
    if (0x21..=0x7e).contains(&c) { format!("'{}'", char::from(c)) } else { format!("0x{c:02x}") }
}

/// PostgreSQL's `sanitize_str`.
fn show_text(text: &[u8]) -> String {
    let show = |&c: &u8| {
        if (0x21..=0x7e).contains(&c) { char::from(c) } else { '?' }
    };
    text.iter().take(30).map(show).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(binding: Binding) -> ScramServer {
        ScramServer::new(ScramVerifier::derive(b"pencil", b"0123456789abcdef", 2), binding)
    }

    fn complaint(outcome: Result<Outcome, AuthError>) -> String {
        match outcome {
            Err(error) => format!("{} {error} {}", error.sqlstate(), error.detail().unwrap_or_default()),
            Ok(_) => "accepted".into(),
        }
    }

    const MALFORMED: &str = "08P01 malformed SCRAM message ";

    #[test]
    fn first_messages_are_refused_in_the_words_of_postgresql() {
        let none = Binding::NotOffered;
        let bound = Binding::Bound(vec![1]);
        for (binding, message, expected) in [
            (&none, "", format!("{MALFORMED}The message is empty.")),
            (&none, "n,,n=\0,r=x", format!("{MALFORMED}Message length does not match input length.")),
            (&none, "x,,", format!("{MALFORMED}Unexpected channel-binding flag \"'x'\".")),
            (&none, "n", format!("{MALFORMED}Comma expected, but found character \"0x00\".")),
            (&none, "n,a=joe,n=,r=x", "0A000 client uses authorization identity, but it is not supported ".into()),
            (&none, "n,b,n=", format!("{MALFORMED}Unexpected attribute \"'b'\" in client-first-message.")),
            (&none, "n,,m=1,n=,r=x", "0A000 client requires an unsupported SCRAM extension ".into()),
            (&none, "n,,r=x", format!("{MALFORMED}Expected attribute \"n\" but found \"'r'\".")),
            (&none, "n,,n", format!("{MALFORMED}Expected character \"=\" for attribute \"n\".")),
            (&none, "n,,n=", format!("{MALFORMED}Expected attribute \"r\" but found \"0x00\".")),
            (&none, "n,,n=,r=a b", "08P01 non-printable characters in SCRAM nonce ".into()),
            (&none, "n,,n=,r=a,1=x", format!("{MALFORMED}Attribute expected, but found invalid character \"'1'\".")),
            (&none, "n,,n=,r=a,x=1", "accepted".into()),
            (&none, "y,,n=,r=a", "accepted".into()),
            (&none, "p=tls-server-end-point,,n=,r=a", format!("{MALFORMED}The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.")),
            (&bound, "n,,n=,r=a", format!("{MALFORMED}The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.")),
            (&bound, "p=tls-unique\u{e9},,n=,r=a", "08P01 unsupported SCRAM channel-binding type \"tls-unique??\" ".into()),
            (&bound, "p=tls-server-end-point,,n=,r=a", "accepted".into()),
            (&Binding::Declined, "y,,n=,r=a", "28000 SCRAM channel binding negotiation error The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.".into()),
            (&Binding::Declined, "n,,n=,r=a", "accepted".into()),
        ] {
            let mut server = server(binding.clone());
            assert_eq!(complaint(server.receive(message.as_bytes())), expected, "{message}");
        }
    }

    #[test]
    fn final_messages_are_refused_in_the_words_of_postgresql() {
        let zeros = encode(&[0; 32]);
        for (first, message, expected) in [
            ("n", "r=NONCE".to_owned(), format!("{MALFORMED}Expected attribute \"c\" but found \"'r'\".")),
            (
                "n",
                format!("c=eSws,r=NONCE,p={zeros}"),
                "08P01 unexpected SCRAM channel-binding attribute in client-final-message ".into(),
            ),
            (
                "y",
                format!("c=biws,r=NONCE,p={zeros}"),
                "08P01 unexpected SCRAM channel-binding attribute in client-final-message ".into(),
            ),
            ("n", "c=biws,r=NONCE".into(), format!("{MALFORMED}Attribute expected, but found end of string.")),
            ("n", "c=biws,r=NONCE,p=AAAA".into(), format!("{MALFORMED}Malformed proof in client-final-message.")),
            (
                "n",
                format!("c=biws,r=NONCE,p={zeros},x=1"),
                format!("{MALFORMED}Garbage found at the end of client-final-message."),
            ),
            ("n", format!("c=biws,r=NONCEx,p={zeros}"), "08P01 invalid SCRAM response Nonce does not match.".into()),
            ("n", format!("c=biws,r=mine,p={zeros}"), "08P01 invalid SCRAM response Nonce does not match.".into()),
        ] {
            let mut server = server(Binding::NotOffered);
            let Ok(Outcome::Challenge(challenge)) = server.receive(format!("{first},,n=,r=mine").as_bytes()) else {
                panic!("first message refused");
            };
            let challenge = String::from_utf8(challenge).unwrap();
            let nonce = challenge.split(',').next().unwrap().trim_start_matches("r=");
            let message = message.replace("NONCE", nonce);
            assert_eq!(complaint(server.receive(message.as_bytes())), expected, "{message}");
            assert_eq!(complaint(server.receive(b"n,,n=,r=a")), "08P01 unexpected SASL response message ");
        }
    }

    #[test]
    fn a_wrong_proof_and_a_foreign_certificate_are_refused() {
        let mut server = server(Binding::Bound(b"ours".to_vec()));
        let first = b"p=tls-server-end-point,,n=,r=a";
        assert!(matches!(server.receive(first), Ok(Outcome::Challenge(_))));
        let cbind = encode(b"p=tls-server-end-point,,theirs");
        let last = format!("c={cbind},r=x,p={}", encode(&[0; 32]));
        assert_eq!(complaint(server.receive(last.as_bytes())), "28000 SCRAM channel binding check failed ");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            first in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "[nyp,=ra]{0,30}".prop_map(String::into_bytes),
                Just(b"n,,n=,r=a".to_vec()),
            ],
            last in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "c=biws,r=[a,=p]{0,30}".prop_map(String::into_bytes),
            ],
        ) {
            let mut server = server(Binding::NotOffered);
            let _ = server.receive(&first);
            let proven = matches!(server.receive(&last), Ok(Outcome::Proven(..)));
            prop_assert!(!proven);
        }
    }
}

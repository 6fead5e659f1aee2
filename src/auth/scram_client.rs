//! The client's half of a SCRAM exchange (RFC 5802), by password or by keys, with an upper bound on what a server may
//! ask us to compute.

use subtle::ConstantTimeEq;

use super::client::LoginError;
use super::scram::{
    CHANNEL_BINDING_TYPE, MECHANISM, MECHANISM_PLUS, ScramKeys, decode, decode_key, encode, is_printable, nonce,
};
use super::secret::Credential;

/// The most PBKDF2 rounds a server may ask for: some 250 times PostgreSQL's default and above what OWASP advises
/// (600,000), yet less than a second of one core.
pub const MAX_ITERATIONS: u32 = 1_000_000;
/// Rounds that take few enough milliseconds to be done where they are asked for.
pub(crate) const CHEAP_ITERATIONS: u32 = 16_384;
/// The longest salt in bytes; PostgreSQL's have 16.
const MAX_SALT_LEN: usize = 256;

/// What we know of the line, for channel binding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// No TLS, or a certificate without a hash function of its own (Ed25519): binding is not possible.
    #[default]
    Impossible,
    /// TLS; the `tls-server-end-point` hash of the server's certificate (RFC 5929).
    EndPoint(Vec<u8>),
}

pub(crate) struct ScramClient {
    credential: Credential,
    /// The gs2 header and, if bound, the hash: what `c=` repeats.
    binding_input: Vec<u8>,
    nonce: String,
}

pub(crate) struct ExpectSignature {
    signature: [u8; 32],
}

/// What a server's first message asks for.
pub(crate) struct ServerFirst<'a> {
    nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

/// Chooses a mechanism and opens the exchange: the mechanism's name, the first message, and what waits for the answer.
pub(crate) fn begin(
    offered: &[&str],
    credential: Credential,
    binding: &ChannelBinding,
) -> Result<(&'static str, Vec<u8>, ScramClient), LoginError> {
    let nonce = nonce().ok_or(LoginError::NoRandomness)?;
    let plus = offered.contains(&MECHANISM_PLUS);
    let (mechanism, header, hash): (_, String, &[u8]) = match binding {
        ChannelBinding::EndPoint(hash) if plus => (MECHANISM_PLUS, format!("p={CHANNEL_BINDING_TYPE},,"), hash),
        // We could and the server did not offer: it will know if somebody took the offer away.
        ChannelBinding::EndPoint(_) => (MECHANISM, "y,,".to_owned(), &[]),
        ChannelBinding::Impossible => (MECHANISM, "n,,".to_owned(), &[]),
    };
    if !offered.contains(&mechanism) {
        return Err(LoginError::Unsupported(format!("SASL mechanisms {}", offered.join(", ").escape_debug())));
    }
    let first = format!("{header}n=,r={nonce}").into_bytes();
    let mut binding_input = header.into_bytes();
    binding_input.extend_from_slice(hash);
    let exchange = ScramClient { credential, binding_input, nonce };
    Ok((mechanism, first, exchange))
}

impl<'a> ServerFirst<'a> {
    /// Reads `r=…,s=…,i=…`, with nothing before or after.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, LoginError> {
        let text = std::str::from_utf8(message).map_err(|_| broken("not ASCII"))?;
        let mut fields = text.split(',');
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name));
        let nonce = field("r=").ok_or(broken("no nonce"))?;
        let salt = field("s=").ok_or(broken("no salt"))?;
        let iterations = field("i=").ok_or(broken("no iteration count"))?;
        if fields.next().is_some() {
            return Err(broken("garbage at the end"));
        }
        if !is_printable(nonce.as_bytes()) {
            return Err(broken("non-printable characters in the nonce"));
        }
        let salt = decode(salt.as_bytes())
            .filter(|salt| !salt.is_empty() && salt.len() <= MAX_SALT_LEN)
            .ok_or(broken("invalid salt"))?;
        let digits = !iterations.is_empty() && iterations.bytes().all(|c| c.is_ascii_digit());
        let iterations = match iterations.parse() {
            Ok(rounds @ 1..=MAX_ITERATIONS) if digits => rounds,
            _ if digits && iterations.bytes().any(|c| c != b'0') => {
                return Err(LoginError::TooManyIterations);
            }
            _ => return Err(broken("invalid iteration count")),
        };
        Ok(Self { nonce, salt, iterations })
    }
}

impl ScramClient {
    /// Whether the answer needs more rounds than may be done on an event loop.
    pub(crate) fn is_heavy(&self, message: &[u8]) -> bool {
        let Credential::Password(password) = &self.credential else {
            return false;
        };
        ServerFirst::parse(message)
            .is_ok_and(|first| first.iterations > CHEAP_ITERATIONS && !password.has_keys(&first.salt, first.iterations))
    }

    /// Answers the server's first message.
    pub(crate) fn answer(self, message: &[u8]) -> Result<(Vec<u8>, ExpectSignature), LoginError> {
        let first = ServerFirst::parse(message)?;
        // A nonce that is ours alone would let an old exchange be replayed to us.
        let ours = first.nonce.strip_prefix(self.nonce.as_str());
        if ours.is_none_or(str::is_empty) {
            return Err(broken("the nonce does not continue ours"));
        }
        let keys: ScramKeys = match &self.credential {
            Credential::Password(password) => password.keys(&first.salt, first.iterations),
            Credential::ScramKeys(keys) => ScramKeys::clone(keys),
            other @ (Credential::None | Credential::Md5Hash(_)) => {
                return Err(LoginError::missing(other, "SCRAM-SHA-256"));
            }
        };
        let without_proof = format!("c={},r={}", encode(&self.binding_input), first.nonce);
        let client_first_bare = format!("n=,r={}", self.nonce);
        let auth_message: [&[u8]; 5] = [client_first_bare.as_bytes(), b",", message, b",", without_proof.as_bytes()];
        let proof = encode(&keys.proof(&auth_message));
        let expected = ExpectSignature { signature: keys.server_signature(&auth_message) };
        Ok((format!("{without_proof},p={proof}").into_bytes(), expected))
    }
}

impl ExpectSignature {
    /// Checks the server's final message: only who has the user's verifier can make it.
    pub(crate) fn check(&self, message: &[u8]) -> Result<(), LoginError> {
        if let Some(error) = message.strip_prefix(b"e=") {
            let error: String = String::from_utf8_lossy(error).chars().take(100).collect();
            return Err(LoginError::Refused(error.escape_debug().to_string()));
        }
        let signature = message
            .strip_prefix(b"v=")
            .and_then(decode_key)
            .ok_or(LoginError::Malformed("server-final-message: no signature"))?;
        if bool::from(signature.ct_eq(&self.signature)) { Ok(()) } else { Err(LoginError::WrongServerSignature) }
    }
}

fn broken(what: &'static str) -> LoginError {
    LoginError::Malformed(what)
}

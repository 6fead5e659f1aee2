//! How a client's certificate is judged: as rustls does, and one of X.509's first version by what OpenSSL would say.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::first_version;

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tls) enum Insists {
    Yes,
    No,
}

#[derive(Debug)]
pub(in crate::tls) struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    roots: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// For certificates that these authorities have signed.
    ///
    /// # Errors
    /// The authorities are none.
    pub(in crate::tls) fn new(
        (store, roots): (RootCertStore, Vec<CertificateDer<'static>>),
        insists: Insists,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, rustls::server::VerifierBuilderError> {
        let algorithms = provider.signature_verification_algorithms;
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
        let inner = if insists == Insists::Yes { inner } else { inner.allow_unauthenticated() };
        Ok(Arc::new(Self { inner: inner.build()?, roots, algorithms }))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if first_version::read(end_entity).is_none() {
            return self.inner.verify_client_cert(end_entity, intermediates, now);
        }
        first_version::check(end_entity, &self.roots, now, self.algorithms.all)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        first_version::check_signature_12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        first_version::check_signature_13(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

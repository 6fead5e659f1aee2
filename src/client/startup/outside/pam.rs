//! PAM. Its modules may do anything and take any time: they run on a thread of their own.

use std::ffi::{OsStr, OsString};

use nonstick::{AuthnFlags, ConversationAdapter, ErrorCode, Transaction as _, TransactionBuilder};
use zeroize::Zeroizing;

/// PostgreSQL's default for `pamservice`.
const SERVICE: &str = "postgresql";

/// Gives the password to whatever asks in secret, and nothing to anything else.
struct Answers(Zeroizing<String>);

impl ConversationAdapter for Answers {
    fn prompt(&self, _: impl AsRef<OsStr>) -> nonstick::Result<OsString> {
        Err(ErrorCode::ConversationError)
    }
    fn masked_prompt(&self, _: impl AsRef<OsStr>) -> nonstick::Result<OsString> {
        Ok(OsString::from(self.0.as_str()))
    }
    fn error_msg(&self, _: impl AsRef<OsStr>) {}
    fn info_msg(&self, _: impl AsRef<OsStr>) {}
}

/// Whether the password is the user's, and whether it may log in. Err: why not, for the log.
pub(super) async fn judge(service: Option<&str>, user: &str, password: &str) -> Result<(), String> {
    let (service, user) = (service.unwrap_or(SERVICE).to_owned(), user.to_owned());
    let answers = Answers(password.to_owned().into());
    let judged = tokio::task::spawn_blocking(move || {
        let mut transaction = TransactionBuilder::new_with_service(service)
            .username(user)
            .build(answers.into_conversation())
            .map_err(|error| format!("could not create PAM authenticator: {error}"))?;
        transaction.authenticate(AuthnFlags::SILENT).map_err(|error| format!("pam_authenticate failed: {error}"))?;
        transaction.account_management(AuthnFlags::SILENT).map_err(|error| format!("pam_acct_mgmt failed: {error}"))
    });
    judged.await.unwrap_or_else(|_| Err("PAM has failed".to_owned()))
}

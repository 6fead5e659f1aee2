//! What the pools of a role log in with: a person may change a password, on the servers and here, while pgsluice runs.

use std::sync::Arc;

use super::database::{Database, Databases};
use crate::auth::{Credential, Userlist};
use crate::config::ServerLogin;
use crate::topology::roles::Role;

impl Database {
    /// A client has just proved with that who it is.
    pub fn note_credential(&self, user: &Arc<str>, credential: &Credential) {
        let proves = !matches!(credential, Credential::None);
        if proves && matches!(self.peek_setup().settings.server_login(), ServerLogin::Client) {
            self.each_pool_of(user, |pool| pool.take_credential(credential));
        }
        self.offer_role(user, credential);
    }

    /// A cluster without a role for its monitor may be watched through this one.
    fn offer_role(&self, user: &Arc<str>, credential: &Credential) {
        let setup = self.peek_setup();
        if setup.cluster.roles.are_wanted() && matches!(setup.settings.server_login(), ServerLogin::Client) {
            let dbname = setup.settings.server_dbname(&self.name).to_owned();
            setup.cluster.offer_role(Role { user: user.clone(), credential: credential.clone(), dbname });
        }
    }

    fn note_userlist(&self, userlist: &Userlist) {
        let setup = self.setup();
        let server_user = match setup.settings.server_login() {
            ServerLogin::Client => None,
            ServerLogin::Forced { user, password: None } => Some(user),
            ServerLogin::Forced { .. } => return,
        };
        for pool in self.pools() {
            let known = userlist.get(server_user.unwrap_or(&pool.user)).map(|secret| secret.credential());
            // Of who has a verifier here only its own log-in tells more.
            if let Some(credential) = known.filter(|known| !matches!(known, Credential::None)) {
                pool.take_credential(&credential);
            }
        }
    }
}

impl Databases {
    /// The file of users has been read anew.
    pub fn note_userlist(&self, userlist: &Userlist) {
        self.all().iter().for_each(|database| database.note_userlist(userlist));
    }
}

//! The project's API keys.

use std::fmt;

use sync_http::{Credentials, Secret};

/// An API key of a project: `sb_publishable_...` for apps, `sb_secret_...` for servers, or one of the older
/// keys, which are JSON web tokens.
///
/// `Debug` hides it. A key says which project calls; who calls is told by the user's token, which is another thing.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// Takes the text of a key.
    pub fn new(key: impl Into<Secret>) -> Self {
        Self(key.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What goes into the header `apikey`.
    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }

    /// Whether the key has the rights of the service role.
    #[cfg(feature = "supabase_rs")]
    pub(crate) fn is_of_a_server(&self) -> bool {
        self.0.reveal().starts_with("sb_secret_") || self.authorization_when_signed_out().is_some()
    }

    /// What goes into `Authorization` when nobody is signed in: nothing, save for the older key of servers, which the
    /// gateway does not turn into a role by itself.
    pub(crate) fn authorization_when_signed_out(&self) -> Option<&Secret> {
        let is_new = self.0.reveal().starts_with("sb_");
        let role = Credentials::new(self.0.clone()).claim("role");
        (!is_new && role.as_deref() == Some("service_role")).then_some(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_older_key_of_servers_is_a_token_too() {
        // Claims {"role":"service_role"} and {"role":"anon"}.
        let old_secret = ApiKey::new("e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln");
        assert!(old_secret.authorization_when_signed_out().is_some());
        for key in [
            "e30.eyJyb2xlIjoiYW5vbiJ9.c2ln",
            "sb_publishable_x",
            "sb_secret_x",
            "sb_secret_a.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.b",
        ] {
            assert!(
                ApiKey::new(key).authorization_when_signed_out().is_none(),
                "{key}"
            );
        }
        assert_eq!(format!("{old_secret:?}"), "ApiKey(***)");
    }
}

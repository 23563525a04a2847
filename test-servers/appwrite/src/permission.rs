//! Who may do what: permission strings, and the roles of a caller.

use serde_json::Value;

use crate::error::{ApiError, Result};

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    Read,
    Update,
    Delete,
}

impl Action {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Splits `read("user:alice")` into `read` and `user:alice`.
fn parts(permission: &str) -> Option<(&str, &str)> {
    let (action, rest) = permission.split_once("(\"")?;
    Some((action, rest.strip_suffix("\")")?))
}

/// The roles to which a list of permissions allows an action.
pub(crate) fn roles_allowed(permissions: &[String], action: Action) -> Vec<&str> {
    permissions
        .iter()
        .filter_map(|permission| parts(permission))
        .filter(|(name, _)| *name == action.name())
        .map(|(_, role)| role)
        .collect()
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Nobody in particular.
    Guest,
    /// An API key, which skips all permissions.
    Key,
    /// A key that does not exist.
    UnknownKey,
    /// A user, with his roles.
    User { id: String, roles: Vec<String> },
}

impl Principal {
    pub(crate) fn is_key(&self) -> bool {
        *self == Self::Key
    }

    /// The name under which transactions and rate limits know the caller.
    pub(crate) fn owner(&self) -> &str {
        match self {
            Self::Guest | Self::UnknownKey => "guests",
            Self::Key => "key",
            Self::User { id, .. } => id,
        }
    }

    pub(crate) fn roles(&self) -> Vec<String> {
        match self {
            Self::Guest | Self::UnknownKey | Self::Key => vec!["any".into(), "guests".into()],
            Self::User { roles, .. } => roles.clone(),
        }
    }

    /// Whether a list of permissions allows this caller an action.
    pub(crate) fn may(&self, action: Action, permissions: &[String]) -> bool {
        if self.is_key() {
            return true;
        }
        let roles = self.roles();
        roles_allowed(permissions, action)
            .iter()
            .any(|allowed| roles.iter().any(|role| role == allowed))
    }

    /// What a created row is given when its creator names no permissions.
    pub(crate) fn default_permissions(&self) -> Vec<String> {
        match self {
            Self::User { id, .. } => ["read", "update", "delete"]
                .iter()
                .map(|action| format!("{action}(\"user:{id}\")"))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Refuses permissions for roles that the caller does not have himself.
    pub(crate) fn check_may_give(&self, permissions: &[String]) -> Result<()> {
        if self.is_key() {
            return Ok(());
        }
        let roles = self.roles();
        for permission in permissions {
            if let Some((_, role)) = parts(permission)
                && !roles.iter().any(|own| own == role)
            {
                return Err(ApiError::new(
                    401,
                    "user_unauthorized",
                    format!("Permissions must be one of: ({})", roles.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// Refuses a create that the table does not allow to the caller.
    pub(crate) fn check_may_create(&self, table_permissions: &[String]) -> Result<()> {
        if self.may(Action::Create, table_permissions) {
            return Ok(());
        }
        let allowed = roles_allowed(table_permissions, Action::Create);
        let Some(last) = allowed.last() else {
            return Err(ApiError::unauthorized());
        };
        let own = Value::from(self.roles());
        let wanted = Value::from(allowed.clone());
        Err(ApiError::new(
            401,
            "user_unauthorized",
            format!(
                "Missing \"create\" permission for role \"{last}\". Only \"{own}\" scopes are allowed and \"{wanted}\" \
                 was given."
            ),
        ))
    }
}

/// Reads the `permissions` of a request; `write` stands for update and delete.
pub(crate) fn parse_permissions(value: Option<&Value>) -> Result<Option<Vec<String>>> {
    let list = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => {
            return Err(ApiError::argument(
                "Invalid `permissions` param: Value must be a valid array",
            ));
        }
    };
    let mut permissions = Vec::new();
    for entry in list {
        let text = entry.as_str().unwrap_or_default();
        match parts(text) {
            Some(("read" | "update" | "delete", _)) => permissions.push(text.to_owned()),
            Some(("write", role)) => {
                permissions.extend(
                    ["update", "delete"]
                        .iter()
                        .map(|action| format!("{action}(\"{role}\")")),
                );
            }
            _ => {
                return Err(ApiError::argument(format!(
                    "Invalid `permissions` param: Permission \"{text}\" is not allowed. Must be one of: read, \
                     update, delete, write. or null"
                )));
            }
        }
    }
    permissions.dedup();
    Ok(Some(permissions))
}

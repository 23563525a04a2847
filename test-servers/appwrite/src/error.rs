//! Errors as Appwrite sends them: a status, a type and a message.

use serde_json::{Value, json};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn to_json(&self, version: &str) -> Value {
        json!({"message": self.message, "code": self.status, "type": self.kind, "version": version})
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(400, "general_argument_invalid", message)
    }

    /// The refusal of an id or of the key of a column.
    pub(crate) fn key_rule(parameter: &str) -> Self {
        Self::argument(format!(
            "Invalid `{parameter}` param: Parameter must contain at most 36 chars. Valid chars are a-z, A-Z, 0-9, \
             period, hyphen, and underscore. Can't start with a special char"
        ))
    }

    /// The refusal of a database, table or column whose id is taken. It was not recorded.
    pub(crate) fn already_exists(what: &'static str, id: &str) -> Self {
        let kind = match what {
            "Database" => "database_already_exists",
            "Table" => "table_already_exists",
            _ => "column_already_exists",
        };
        Self::new(
            409,
            kind,
            format!("{what} with the requested ID '{id}' already exists."),
        )
    }

    /// The refusal of an index on a column that is being built, or that there is not. It was not recorded.
    pub(crate) fn unusable_column(key: &str, made: bool) -> Self {
        if made {
            let message =
                format!("The requested column '{key}' is not yet available. Please try again later.");
            Self::new(400, "column_not_available", message)
        } else {
            Self::new(400, "column_unknown", format!("Unknown column: {key}"))
        }
    }

    pub(crate) fn query(message: impl Into<String>) -> Self {
        Self::new(400, "general_query_invalid", message)
    }

    pub(crate) fn structure(message: impl std::fmt::Display) -> Self {
        Self::new(
            400,
            "row_invalid_structure",
            format!("Invalid document structure: {message}"),
        )
    }

    pub(crate) fn row_not_found(id: &str) -> Self {
        Self::new(
            404,
            "row_not_found",
            format!("Row with the requested ID '{id}' could not be found."),
        )
    }

    pub(crate) fn row_already_exists(id: &str) -> Self {
        Self::new(
            409,
            "row_already_exists",
            format!(
                "Row with the requested ID '{id}' already exists. Try again with a different ID or use ID.unique() \
                 to generate a unique ID."
            ),
        )
    }

    pub(crate) fn missing_data() -> Self {
        Self::new(
            400,
            "row_missing_data",
            "The row data is missing. Try again with row data populated.",
        )
    }

    pub(crate) fn missing_payload() -> Self {
        Self::new(
            400,
            "row_missing_payload",
            "The row data and permissions are missing. You must provide either row data or permissions to be \
             updated.",
        )
    }

    pub(crate) fn newer_row() -> Self {
        Self::new(409, "row_update_conflict", "Remote row is newer than local.")
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            401,
            "user_unauthorized",
            "The current user is not authorized to perform the requested action.",
        )
    }

    pub(crate) fn missing_scope(scope: &str) -> Self {
        Self::new(
            401,
            "general_unauthorized_scope",
            format!("User (role: guests) missing scopes ([\"{scope}\"])"),
        )
    }

    pub(crate) fn database_not_found(id: &str) -> Self {
        Self::new(
            404,
            "database_not_found",
            format!("Database with the requested ID '{id}' could not be found."),
        )
    }

    pub(crate) fn table_not_found(id: &str) -> Self {
        Self::new(
            404,
            "table_not_found",
            format!("Table with the requested ID '{id}' could not be found."),
        )
    }

    pub(crate) fn transaction_not_found(id: &str) -> Self {
        Self::new(
            404,
            "transaction_not_found",
            format!("Transaction with the requested ID '{id}' could not be found."),
        )
    }

    pub(crate) fn transaction_conflict() -> Self {
        Self::new(
            409,
            "transaction_conflict",
            "The transaction has a conflict. Please resolve the conflict and try again.",
        )
    }
}

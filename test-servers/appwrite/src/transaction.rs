//! Transactions: operations are staged, and applied together at the commit.

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::permission::{Action, parse_permissions};
use crate::quirk::Quirk;
use crate::single::body_of;
use crate::time::Timestamp;

/// The most operations of a transaction.
const OPERATION_LIMIT: usize = 100;
/// The life of a transaction that names none, in seconds.
const DEFAULT_LIFE: i64 = 300;

/// What a staged operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StagedAction {
    Create,
    Update,
    Upsert,
    Delete,
    Increment,
    Decrement,
    BulkCreate,
    BulkUpdate,
    BulkUpsert,
    BulkDelete,
}

impl StagedAction {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "create" => Self::Create,
            "update" => Self::Update,
            "upsert" => Self::Upsert,
            "delete" => Self::Delete,
            "increment" => Self::Increment,
            "decrement" => Self::Decrement,
            "bulkCreate" => Self::BulkCreate,
            "bulkUpdate" => Self::BulkUpdate,
            "bulkUpsert" => Self::BulkUpsert,
            "bulkDelete" => Self::BulkDelete,
            _ => return None,
        })
    }

    pub(crate) fn is_bulk(self) -> bool {
        matches!(
            self,
            Self::BulkCreate | Self::BulkUpdate | Self::BulkUpsert | Self::BulkDelete
        )
    }

    /// Whether the row must exist when the operation is staged.
    fn needs_row(self) -> bool {
        matches!(
            self,
            Self::Update | Self::Delete | Self::Increment | Self::Decrement
        )
    }
}

/// A staged operation.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(crate) place: Place,
    pub(crate) action: StagedAction,
    pub(crate) row_id: String,
    pub(crate) data: Value,
    pub(crate) staged_at: Timestamp,
}

impl Staged {
    /// The data as one row.
    pub(crate) fn row_data(&self) -> Map<String, Value> {
        self.data.as_object().cloned().unwrap_or_default()
    }
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Committed,
    Failed,
}

/// A transaction.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) id: String,
    owner: String,
    pub(crate) status: Status,
    pub(crate) staged: Vec<Staged>,
    created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    expires_at: Timestamp,
}

impl Transaction {
    fn show(&self) -> Value {
        json!({
            "$id": self.id,
            "$createdAt": self.created_at.to_wire(),
            "$updatedAt": self.updated_at.to_wire(),
            "status": match self.status {
                Status::Pending => "pending",
                Status::Committed => "committed",
                Status::Failed => "failed",
            },
            "operations": self.staged.len(),
            "expiresAt": self.expires_at.to_wire(),
        })
    }
}

fn bad_request(message: &str) -> ApiError {
    ApiError::new(400, "general_bad_request", message)
}

impl Machine {
    pub(crate) fn route_transactions(&mut self, context: &Context<'_>, rest: &[&str]) -> Result<Response> {
        match (context.request.method.as_str(), rest) {
            ("POST", []) => self.create_transaction(context),
            ("GET", [id]) => Ok(Response::json(200, self.transaction(context, id)?.show())),
            ("DELETE", [id]) => {
                self.transaction(context, id)?;
                self.transactions.remove(*id);
                Ok(Response::empty(204))
            }
            ("POST", [id, "operations"]) => self.stage_operations(context, id),
            ("PATCH", [id]) => self.finish_transaction(context, id),
            _ => self.unknown_route(),
        }
    }

    fn create_transaction(&mut self, context: &Context<'_>) -> Result<Response> {
        let body = body_of(self, context)?;
        let seconds = body.get("ttl").map_or(Some(DEFAULT_LIFE), Value::as_i64);
        let Some(seconds) = seconds.filter(|seconds| (60..=3600).contains(seconds)) else {
            return Err(ApiError::argument(
                "Invalid `ttl` param: Value must be a valid range between 60 and 3,600",
            ));
        };
        let created_at = self.stamp(context.arrival);
        let transaction = Transaction {
            id: self.ids.next(),
            owner: context.principal.owner().to_owned(),
            status: Status::Pending,
            staged: Vec::new(),
            created_at,
            updated_at: created_at,
            expires_at: context.arrival.at.plus_millis(seconds * 1000),
        };
        let shown = transaction.show();
        self.transactions.insert(transaction.id.clone(), transaction);
        Ok(Response::json(201, shown))
    }

    /// A transaction of the caller; those of others do not exist for him.
    fn transaction(&self, context: &Context<'_>, id: &str) -> Result<&Transaction> {
        self.transactions
            .get(id)
            .filter(|found| context.principal.is_key() || found.owner == context.principal.owner())
            .ok_or_else(|| ApiError::transaction_not_found(id))
    }

    /// A transaction that still takes operations.
    fn pending_transaction(&self, context: &Context<'_>, id: &str) -> Result<&Transaction> {
        let found = self.transaction(context, id)?;
        if found.status != Status::Pending {
            return Err(ApiError::new(
                400,
                "transaction_not_ready",
                "The transaction is not ready yet. Please try again later.",
            ));
        }
        if found.expires_at < context.arrival.at {
            return Err(ApiError::new(
                410,
                "transaction_expired",
                "The transaction has expired. Please create a new transaction and try again.",
            ));
        }
        Ok(found)
    }

    fn stage_operations(&mut self, context: &Context<'_>, id: &str) -> Result<Response> {
        let body = body_of(self, context)?;
        let listed = body
            .get("operations")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let text = |operation: &Value, name: &str| {
            operation
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let actions: Option<Vec<_>> = listed
            .iter()
            .map(|operation| StagedAction::parse(&text(operation, "action")))
            .collect();
        let Some(actions) = actions else {
            return Err(ApiError::argument(
                "Invalid `operations` param: Value must a valid array and Key 'action' must be one of: create, \
                 update, upsert, delete, increment, decrement, bulkCreate, bulkUpdate, bulkUpsert, bulkDelete",
            ));
        };
        if listed.is_empty() {
            return Err(bad_request("Operations array cannot be empty"));
        }
        let staged_at = self.stamp(context.arrival);
        let staged = listed.iter().zip(actions).map(|(operation, action)| Staged {
            place: Place::new(&text(operation, "databaseId"), &text(operation, "tableId")),
            action,
            row_id: text(operation, "rowId"),
            data: operation.get("data").cloned().unwrap_or_default(),
            staged_at,
        });
        let shown = self.stage(context, id, staged.collect())?;
        Ok(Response::json(201, shown))
    }

    /// Adds operations to a transaction and returns it as the answer shows it.
    pub(crate) fn stage(&mut self, context: &Context<'_>, id: &str, added: Vec<Staged>) -> Result<Value> {
        let found = self.pending_transaction(context, id)?;
        let existing = found.staged.len();
        if existing + added.len() > OPERATION_LIMIT {
            return Err(ApiError::new(
                400,
                "transaction_limit_exceeded",
                format!(
                    "Transaction already has {existing} operations, adding {} would exceed the maximum of \
                     {OPERATION_LIMIT}",
                    added.len()
                ),
            ));
        }
        let mut staged = found.staged.clone();
        for operation in added {
            self.check_stageable(context, &staged, &operation)?;
            staged.push(operation);
        }
        let stamp = staged.last().map(|operation| operation.staged_at);
        let answers_old = self.has(Quirk::StagingAnswersOldStamp);
        let transaction = self
            .transactions
            .get_mut(id)
            .ok_or_else(|| ApiError::transaction_not_found(id))?;
        transaction.staged = staged;
        let old = transaction.show();
        transaction.updated_at = stamp.unwrap_or(transaction.updated_at);
        Ok(if answers_old { old } else { transaction.show() })
    }

    fn finish_transaction(&mut self, context: &Context<'_>, id: &str) -> Result<Response> {
        let body = body_of(self, context)?;
        let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
        match (flag("commit"), flag("rollback")) {
            (false, false) => return Err(bad_request("Either commit or rollback must be true")),
            (true, true) => return Err(bad_request("Cannot commit and rollback at the same time")),
            _ => {}
        }
        let staged = self.pending_transaction(context, id)?.staged.clone();
        if flag("rollback") {
            return Ok(Response::json(200, self.end_transaction(id, Status::Failed)?));
        }
        match self.commit(context, &staged) {
            Ok(told) => {
                let shown = self.end_transaction(id, Status::Committed)?;
                for event in told {
                    self.tell_committed(event);
                }
                Ok(Response::json(200, shown))
            }
            Err(error) => {
                self.end_transaction(id, Status::Failed)?;
                Err(error)
            }
        }
    }

    fn end_transaction(&mut self, id: &str, status: Status) -> Result<Value> {
        let stamp = self.clock.now();
        let transaction = self
            .transactions
            .get_mut(id)
            .ok_or_else(|| ApiError::transaction_not_found(id))?;
        transaction.status = status;
        transaction.updated_at = stamp;
        Ok(transaction.show())
    }

    /// Refuses an operation that cannot be staged after those before it.
    fn check_stageable(&self, context: &Context<'_>, before: &[Staged], operation: &Staged) -> Result<()> {
        let table = self.table(&operation.place)?;
        if operation.action.is_bulk() {
            return if context.principal.is_key() {
                Ok(())
            } else {
                Err(ApiError::unauthorized())
            };
        }
        let given = parse_permissions(operation.data.get("$permissions"))?;
        context.principal.check_may_give(&given.unwrap_or_default())?;
        let made_before = before.iter().any(|other| {
            other.place == operation.place
                && other.row_id == operation.row_id
                && matches!(other.action, StagedAction::Create | StagedAction::Upsert)
        });
        match table.row(&operation.row_id) {
            Some(_) if operation.action == StagedAction::Create => {
                context.principal.check_may_create(&table.permissions)
            }
            Some(row) => {
                let deletes = operation.action == StagedAction::Delete;
                let action = if deletes { Action::Delete } else { Action::Update };
                self.check_allowed(context, &operation.place, row, action)
            }
            None if made_before => Ok(()),
            None if operation.action.needs_row() => {
                Err(self.named_for_documents(ApiError::row_not_found(&operation.row_id)))
            }
            None => context.principal.check_may_create(&table.permissions),
        }
    }

    /// Errors of transactions speak of documents.
    pub(crate) fn named_for_documents(&self, error: ApiError) -> ApiError {
        if !self.has(Quirk::TransactionErrorsSayDocument) {
            return error;
        }
        match error.kind {
            "row_not_found" => ApiError {
                kind: "document_not_found",
                message: error.message.replacen("Row", "Document", 1),
                ..error
            },
            "row_invalid_structure" => ApiError {
                kind: "document_invalid_structure",
                ..error
            },
            _ => error,
        }
    }
}

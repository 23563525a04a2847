//! Calls of the feed's functions as a client makes them: each in a transaction of its own, under a role.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use sqlx::PgPool;

static OPERATIONS: AtomicU64 = AtomicU64::new(1);

/// What went wrong, by the code that a client goes by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Clone)]
pub(crate) struct Caller {
    pool: PgPool,
    role: &'static str,
    user: Option<String>,
}

impl Caller {
    pub(crate) fn new(pool: PgPool, role: &'static str, user: Option<&str>) -> Self {
        Self {
            pool,
            role,
            user: user.map(str::to_owned),
        }
    }

    /// Opens a transaction under the role, as the API does for each request.
    pub(crate) async fn begin(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut transaction = self.pool.begin().await.unwrap();
        let claims = json!({"sub": self.user, "role": self.role}).to_string();
        sqlx::query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)")
            .bind(self.role)
            .bind(claims)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction
    }

    /// Calls a function with its arguments by name.
    pub(crate) async fn call(&self, sql: &'static str, arguments: Value) -> Result<Value, Refusal> {
        let mut transaction = self.begin().await;
        let answer = sqlx::query_scalar(sql)
            .bind(arguments)
            .fetch_one(&mut *transaction)
            .await;
        let answer = answer.map_err(refusal)?;
        transaction.commit().await.map_err(refusal)?;
        Ok(answer)
    }

    pub(crate) async fn try_pull(
        &self,
        target: (&str, &str),
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Value, Refusal> {
        self.pull_with(target, cursor, limit, false).await
    }

    pub(crate) async fn pull_with(
        &self,
        (scope, collection): (&str, &str),
        cursor: Option<&str>,
        limit: i64,
        holds_nothing: bool,
    ) -> Result<Value, Refusal> {
        let sql = "select public.sync_pull($1 ->> 's', $1 ->> 'c', $1 ->> 'at', ($1 ->> 'n')::int, ($1 ->> 'new')::boolean)";
        let arguments = json!({"s": scope, "c": collection, "at": cursor, "n": limit, "new": holds_nothing});
        self.call(sql, arguments).await
    }

    pub(crate) async fn pull(&self, scope: &str, cursor: Option<&str>, limit: i64) -> Value {
        self.try_pull((scope, "todo"), cursor, limit).await.unwrap()
    }

    pub(crate) async fn try_push(
        &self,
        scope: &str,
        ops: Value,
        atomic: bool,
    ) -> Result<Vec<Value>, Refusal> {
        let sql = "select public.sync_push($1 ->> 's', $1 -> 'ops', ($1 ->> 'atomic')::boolean)";
        let answer = self
            .call(sql, json!({"s": scope, "ops": ops, "atomic": atomic}))
            .await?;
        Ok(answer["results"].as_array().unwrap().clone())
    }

    pub(crate) async fn push(&self, scope: &str, ops: &[Value]) -> Vec<Value> {
        self.try_push(scope, json!(ops), false).await.unwrap()
    }

    /// Pushes one operation that must apply, and gives its version.
    pub(crate) async fn apply(&self, scope: &str, op: Value) -> String {
        let results = self.push(scope, &[op]).await;
        assert_eq!(results[0]["st"], "applied", "{results:?}");
        results[0]["v"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, scope: &str, ids: &[&str]) -> Vec<Value> {
        let sql = "select public.sync_get($1 ->> 's', 'todo', $1 -> 'ids')";
        let answer = self.call(sql, json!({"s": scope, "ids": ids})).await.unwrap();
        answer["states"].as_array().unwrap().clone()
    }
}

pub(crate) fn refusal(error: sqlx::Error) -> Refusal {
    match error.as_database_error() {
        Some(error) => Refusal {
            code: error.code().unwrap_or_default().into_owned(),
            message: error.message().to_owned(),
        },
        None => panic!("not an answer of the server: {error}"),
    }
}

/// An id that is the same in every run.
pub(crate) fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// An operation id that no other operation of this run has.
pub(crate) fn op_id() -> String {
    let number = OPERATIONS.fetch_add(1, Ordering::Relaxed);
    format!("01900000-0000-7000-8000-{number:012x}")
}

/// The create of a note, which may belong to a todo.
pub(crate) fn note(id: &str, todo: Option<&str>) -> Value {
    json!({"op": op_id(), "kind": "create", "collection": "note", "id": id, "row": {"todo": todo, "text": "t"}})
}

pub(crate) fn create(id: &str, row: Value) -> Value {
    json!({"op": op_id(), "kind": "create", "collection": "todo", "id": id, "row": row, "stamp": "made"})
}

pub(crate) fn update(id: &str, base: Option<&str>, row: Value) -> Value {
    let fields: Vec<_> = row.as_object().unwrap().keys().collect();
    json!({"op": op_id(), "kind": "update", "collection": "todo", "id": id, "base": base, "row": row, "fields": fields, "stamp": "changed"})
}

pub(crate) fn delete(id: &str, base: Option<&str>) -> Value {
    json!({"op": op_id(), "kind": "delete", "collection": "todo", "id": id, "base": base, "stamp": "gone"})
}

/// The results' kinds.
pub(crate) fn kinds(results: &[Value]) -> Vec<&str> {
    results
        .iter()
        .map(|result| result["st"].as_str().unwrap())
        .collect()
}

/// What a client holds of one collection in one scope.
#[derive(Debug, Default)]
pub(crate) struct Replica {
    pub(crate) cursor: Option<String>,
    pub(crate) rows: BTreeMap<String, Value>,
    /// How many changes were delivered in all.
    pub(crate) delivered: usize,
}

impl Replica {
    /// Pulls one page; says whether there are more.
    pub(crate) async fn page(
        &mut self,
        caller: &Caller,
        target: (&str, &str),
        limit: i64,
    ) -> Result<bool, Refusal> {
        let page = caller.try_pull(target, self.cursor.as_deref(), limit).await?;
        for change in page["changes"].as_array().unwrap() {
            let id = change["id"].as_str().unwrap().to_owned();
            match change.get("row") {
                Some(row) => self.rows.insert(id, row.clone()),
                None => self.rows.remove(&id),
            };
            self.delivered += 1;
        }
        self.cursor = Some(page["cursor"].as_str().unwrap().to_owned());
        Ok(page["more"].as_bool().unwrap())
    }

    pub(crate) async fn sync(&mut self, caller: &Caller, scope: &str) {
        while self.page(caller, (scope, "todo"), 37).await.unwrap() {}
    }

    pub(crate) fn titles(&self) -> Vec<&str> {
        self.rows
            .values()
            .map(|row| row["title"].as_str().unwrap())
            .collect()
    }
}

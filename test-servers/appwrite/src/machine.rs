//! The server as a state machine: an answer follows from the state, the request, the clock and the ids alone.

use std::collections::BTreeMap;

use serde_json::json;

use crate::account::Accounts;
use crate::effects::{Clock, Ids};
use crate::error::{ApiError, Result};
use crate::exchange::{Request, Response};
use crate::list::ListCache;
use crate::permission::Principal;
use crate::quirk::{Profile, Quirk, Quirks};
use crate::rate::{RateLimiter, RateRule, RateState, limit_exceeded};
use crate::realtime::Realtime;
use crate::row::{Row, RowForm};
use crate::schema::{Database, Table, TableRules};
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// The page of an unknown route.
const UNKNOWN_ROUTE_PAGE: &str =
    "<!DOCTYPE html><html lang=\"en\"><head><title>Page Not Found</title></head><body></body></html>";

/// What is fixed when a request reaches the server, before it waits for any lock.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub(crate) at: Timestamp,
    /// How far the clock of the application server that took the request is ahead.
    pub(crate) skew_millis: i64,
    /// Set for a write that waits: its stamp, and the row as it was read before the wait.
    pub(crate) early: Option<Early>,
}

/// What a waiting write took with it.
#[derive(Debug, Clone)]
pub(crate) struct Early {
    stamp: Timestamp,
    row: Option<Row>,
}

/// A request with what is known about it.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) request: &'a Request,
    pub(crate) arrival: &'a Arrival,
    pub(crate) principal: Principal,
    /// The `$updatedAt` of the user from before, if this request is the first of the day.
    pub(crate) first_access: Option<Timestamp>,
}

impl Context<'_> {
    /// The row as a waiting write saw it before it waited.
    pub(crate) fn early_row(&self) -> Option<Option<&Row>> {
        self.arrival.early.as_ref().map(|early| early.row.as_ref())
    }

    /// The time of `X-Appwrite-Timestamp`.
    pub(crate) fn unchanged_since(&self) -> Option<Timestamp> {
        self.request
            .headers
            .get("x-appwrite-timestamp")
            .and_then(|text| Timestamp::parse(text))
    }
}

/// Where a row lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) table: String,
}

impl Place {
    pub(crate) fn new(database: &str, table: &str) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
        }
    }
}

/// The whole server, without a socket.
#[derive(Debug)]
pub struct Machine {
    pub(crate) profile: Profile,
    pub(crate) quirks: Quirks,
    pub(crate) project: String,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) ids: Box<dyn Ids>,
    pub(crate) databases: BTreeMap<String, Database>,
    pub(crate) accounts: Accounts,
    pub(crate) transactions: BTreeMap<String, Transaction>,
    pub(crate) rates: RateLimiter,
    pub(crate) lists: ListCache,
    pub(crate) realtime: Realtime,
    pub(crate) tuning: Tuning,
}

/// What a test changes about the server that no real server has.
#[derive(Debug, Default)]
pub(crate) struct Tuning {
    /// The last stamp, if every write is to get a later one than the write before.
    pub(crate) last_stamp: Option<Timestamp>,
    /// The most rows of any list, whatever it asks for.
    pub(crate) page_cap: Option<usize>,
}

impl Machine {
    /// An empty server.
    #[must_use]
    pub fn new(profile: Profile, quirks: Quirks, clock: Box<dyn Clock>, ids: Box<dyn Ids>) -> Self {
        Self {
            profile,
            quirks,
            project: "proj1".to_owned(),
            clock,
            ids,
            databases: BTreeMap::new(),
            accounts: Accounts::default(),
            transactions: BTreeMap::new(),
            rates: RateLimiter::default(),
            lists: ListCache::default(),
            realtime: Realtime::default(),
            tuning: Tuning::default(),
        }
    }

    /// Takes a request at the door of an application server whose clock is ahead by so many milliseconds.
    pub fn arrive(&mut self, skew_millis: i64) -> Arrival {
        Arrival {
            at: self.clock.now().plus_millis(skew_millis),
            skew_millis,
            early: None,
        }
    }

    /// Takes a write that will wait for a row lock: its stamp is set now, and so is what an upsert reads.
    pub fn arrive_early(&mut self, request: &Request, skew_millis: i64) -> Arrival {
        let segments: Vec<&str> = request.path.trim_matches('/').split('/').skip(1).collect();
        let row = match segments.as_slice() {
            ["tablesdb", database, "tables", table, "rows", rest @ ..] => {
                let body = request.body_json().unwrap_or_default();
                let id = rest.first().copied().or_else(|| body["rows"][0]["$id"].as_str());
                let table = self
                    .databases
                    .get(*database)
                    .and_then(|found| found.tables.get(*table));
                table.and_then(|table| table.row(id?)).cloned()
            }
            _ => None,
        };
        let at = self.clock.now().plus_millis(skew_millis);
        let stamp = self.clock.now().plus_millis(skew_millis);
        Arrival {
            at,
            skew_millis,
            early: Some(Early { stamp, row }),
        }
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &Request, arrival: &Arrival) -> Response {
        let mut response = match self.handle_checked(request, arrival) {
            Ok(response) => response,
            Err(error) => self.refuse(&error),
        };
        response.headers.insert("server".into(), "Appwrite".into());
        response.headers.insert("date".into(), arrival.at.to_http_date());
        response
            .headers
            .insert("content-type".into(), response.content_type().into());
        if response.status >= 400 {
            response.headers.insert(
                "cache-control".into(),
                "no-cache, no-store, must-revalidate".into(),
            );
        }
        response
    }

    /// Answers a request that does not wait.
    pub fn answer(&mut self, request: &Request) -> Response {
        let arrival = self.arrive(0);
        self.handle(request, &arrival)
    }

    pub(crate) fn refuse(&self, error: &ApiError) -> Response {
        Response::json(error.status, error.to_json(self.profile.version()))
    }

    pub(crate) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.has(quirk)
    }

    /// The stamp of a write: set at its arrival if it waited, and now otherwise.
    pub(crate) fn stamp(&mut self, arrival: &Arrival) -> Timestamp {
        if let Some(early) = &arrival.early {
            return early.stamp;
        }
        let now = self.clock.now().plus_millis(arrival.skew_millis);
        match &mut self.tuning.last_stamp {
            Some(last) => {
                *last = now.max(last.plus_millis(1));
                *last
            }
            None => now,
        }
    }

    pub(crate) fn table_rules(&self) -> TableRules {
        TableRules::of(&self.quirks)
    }

    pub(crate) fn database(&self, id: &str) -> Result<&Database> {
        self.databases
            .get(id)
            .ok_or_else(|| ApiError::database_not_found(id))
    }

    pub(crate) fn table(&self, place: &Place) -> Result<&Table> {
        self.database(&place.database)?.table(&place.table)
    }

    pub(crate) fn table_mut(&mut self, place: &Place) -> Result<&mut Table> {
        let database = self.databases.get_mut(&place.database);
        database
            .ok_or_else(|| ApiError::database_not_found(&place.database))?
            .table_mut(&place.table)
    }

    pub(crate) fn row_form<'a>(&self, place: &'a Place) -> RowForm<'a> {
        RowForm {
            database: &place.database,
            table: &place.table,
            sequence_is_text: self.has(Quirk::SequenceIsText),
        }
    }

    fn handle_checked(&mut self, request: &Request, arrival: &Arrival) -> Result<Response> {
        match request
            .headers
            .get("x-appwrite-project")
            .or(request.headers.get("x-appwrite-project-id"))
        {
            None => {
                return Err(ApiError::new(
                    401,
                    "general_access_forbidden",
                    "No Appwrite project was specified. Please specify your project ID when initializing your \
                     Appwrite SDK.",
                ));
            }
            Some(project) if *project != self.project => {
                return Err(ApiError::new(
                    404,
                    "project_not_found",
                    "Project with the requested ID could not be found. Please check the value of the \
                     X-Appwrite-Project header to ensure the correct project ID is being used.",
                ));
            }
            Some(_) => {}
        }
        self.finish_building(arrival.at);
        let principal = self.identify(request, arrival.at)?;
        if principal == Principal::UnknownKey {
            return Err(ApiError::unauthorized());
        }
        let first_access = self.note_access(&principal, arrival.at);
        let context = Context {
            request,
            arrival,
            principal,
            first_access,
        };
        let path = request.path.trim_matches('/');
        let all_segments: Vec<&str> = path.split('/').collect();
        let segments = all_segments.get(1..).unwrap_or_default();
        let state = self.count_call(&context, segments);
        let result = match state {
            Some(state) if state.exceeded => Err(limit_exceeded()),
            _ => check_timestamp_header(&context).and_then(|()| self.route(&context, segments)),
        };
        let mut response = result.unwrap_or_else(|error| self.refuse(&error));
        if let Some(state) = state {
            state.write_headers(&mut response);
        }
        Ok(response)
    }

    fn count_call(&mut self, context: &Context<'_>, segments: &[&str]) -> Option<RateState> {
        let mut rule = RateRule::of(&context.request.method, segments)?;
        if !self.has(Quirk::RateLimitSharedByTables) {
            rule.route = format!("{} {}", context.request.method, context.request.path);
        }
        let exempt = context.principal.is_key();
        Some(
            self.rates
                .count(&rule, context.principal.owner(), exempt, context.arrival.at),
        )
    }

    fn route(&mut self, context: &Context<'_>, segments: &[&str]) -> Result<Response> {
        match (context.request.method.as_str(), segments) {
            ("GET", ["ping"]) => Ok(Response::text(200, "Pong!")),
            ("GET", ["health", rest @ ..]) => self.health(context, rest),
            ("GET", ["account"]) => self.get_account(context),
            ("POST", ["account", "sessions", "email"]) => self.login(context),
            ("POST", ["account", "jwts"]) => self.create_token(context),
            ("POST", ["users"]) => self.create_user(context),
            ("POST", ["users", user, "sessions"]) => self.create_session_by_key(context, user),
            ("POST", ["tablesdb"]) => self.create_database(context),
            ("DELETE", ["tablesdb", database]) => self.delete_database(context, database),
            (_, ["tablesdb", "transactions", rest @ ..]) => self.route_transactions(context, rest),
            (_, ["tablesdb", database, "tables", table, "rows", rest @ ..]) => {
                self.route_rows(context, &Place::new(database, table), rest)
            }
            (_, ["tablesdb", database, "tables", rest @ ..]) => self.route_tables(context, database, rest),
            _ => self.unknown_route(),
        }
    }

    fn route_rows(&mut self, context: &Context<'_>, place: &Place, rest: &[&str]) -> Result<Response> {
        match (context.request.method.as_str(), rest) {
            ("GET", []) => self.list_rows(context, place),
            ("POST", []) => self.create_rows(context, place),
            ("PUT", []) => self.upsert_rows(context, place),
            ("PATCH", []) => self.update_rows(context, place),
            ("DELETE", []) => self.delete_rows(context, place),
            ("GET", [id]) => self.get_row(context, place, id),
            ("PUT", [id]) => self.upsert_row(context, place, id),
            ("PATCH", [id]) => self.update_row(context, place, id),
            ("DELETE", [id]) => self.delete_row(context, place, id),
            ("PATCH", [id, column, step @ ("increment" | "decrement")]) => {
                self.step_column(context, place, id, column, *step == "increment")
            }
            _ => self.unknown_route(),
        }
    }

    pub(crate) fn unknown_route(&self) -> Result<Response> {
        if self.has(Quirk::UnknownRouteAnswersHtml) {
            return Ok(Response::html(404, UNKNOWN_ROUTE_PAGE));
        }
        Err(ApiError::new(
            404,
            "general_route_not_found",
            "The requested route was not found.",
        ))
    }

    fn health(&self, context: &Context<'_>, rest: &[&str]) -> Result<Response> {
        match rest {
            ["version"] => Ok(Response::json(200, json!({"version": self.profile.version()}))),
            ["time"] | [] if !context.principal.is_key() => Err(ApiError::missing_scope("health.read")),
            ["time"] if self.has(Quirk::HealthTimeFails) => {
                Err(ApiError::new(500, "general_server_error", "Server Error"))
            }
            ["time"] => {
                let now = context.arrival.at.seconds();
                Ok(Response::json(
                    200,
                    json!({"remoteTime": now, "localTime": now, "diff": 0}),
                ))
            }
            [] => Ok(Response::json(
                200,
                json!({"name": "http", "ping": 0, "status": "pass"}),
            )),
            _ => self.unknown_route(),
        }
    }
}

fn check_timestamp_header(context: &Context<'_>) -> Result<()> {
    if context.request.headers.contains_key("x-appwrite-timestamp") && context.unchanged_since().is_none() {
        return Err(ApiError::argument("Invalid X-Appwrite-Timestamp header value"));
    }
    Ok(())
}

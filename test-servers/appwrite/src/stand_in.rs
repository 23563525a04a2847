//! The handle by which a test starts, fills, disturbs and inspects the stand-in.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::effects::{AdjustableClock, CountingIds};
use crate::exchange::{Request, Response};
use crate::fault::{Fault, Faults, HeldWrite, RequestMatch};
use crate::http;
use crate::machine::{Machine, Place};
use crate::quirk::{Profile, Quirks};
use crate::realtime::RealtimeFault;
use crate::table_spec::TableSpec;
use crate::time::Timestamp;

/// A request that came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRequest {
    /// The request.
    pub request: Request,
    /// The status of its answer, or nothing if the connection was dropped.
    pub status: Option<u16>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: Machine,
    pub(crate) faults: Faults,
    log: Vec<LoggedRequest>,
    #[cfg(feature = "contract")]
    contract: Option<Arc<crate::contract::Contract>>,
    #[cfg(feature = "contract")]
    violations: Vec<String>,
}

/// What the tasks of the server share with the handle.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// Works on the state and wakes the listeners.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        let result = self.peek(work);
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Works on the state without waking anybody.
    pub(crate) fn peek<R>(&self, work: impl FnOnce(&mut Inner) -> R) -> R {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.peek(|inner| inner.machine.clock.now())
    }

    pub(crate) fn log(&self, request: &Request, status: Option<u16>) {
        self.peek(|inner| {
            inner.log.push(LoggedRequest {
                request: request.clone(),
                status,
            })
        });
    }

    /// Replaces an answer that breaks the official OpenAPI file by an error that no test can overlook.
    #[cfg(feature = "contract")]
    pub(crate) fn check_contract(&self, request: &Request, response: Response) -> Response {
        self.peek(|inner| {
            let Some(contract) = &inner.contract else { return response };
            match contract.check(request, &response) {
                Ok(_) => response,
                Err(violation) => {
                    inner.violations.push(violation.clone());
                    Response::json(
                        500,
                        serde_json::json!({"message": violation, "code": 500, "type": "stand_in_contract", "version": "0"}),
                    )
                }
            }
        })
    }
}

/// A running stand-in. It ends when this is dropped.
///
/// # Panics
///
/// With the feature `contract`, when it is dropped after an answer broke the official OpenAPI file, unless
/// `take_contract_violations` was asked. So no test that uses it passes in spite of such an answer.
#[derive(Debug)]
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
        #[cfg(feature = "contract")]
        if !std::thread::panicking() {
            let violations = self.take_contract_violations();
            assert!(
                violations.is_empty(),
                "answers broke the OpenAPI file: {}",
                violations.join("; ")
            );
        }
    }
}

impl StandIn {
    /// Starts an empty server of a version on a free loopback port.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    ///
    /// # Cancel safety
    ///
    /// Cancelling leaves nothing behind.
    pub async fn start(profile: Profile) -> io::Result<Self> {
        Self::start_with(profile, profile.quirks(), 0).await
    }

    /// Starts an empty server with chosen quirks on a loopback port; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// If the port cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// Cancelling leaves nothing behind.
    pub async fn start_with(profile: Profile, quirks: Quirks, port: u16) -> io::Result<Self> {
        let clock = Box::new(AdjustableClock::default());
        let machine = Machine::new(profile, quirks, clock, Box::new(CountingIds::default()));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let inner = Inner {
            machine,
            faults: Faults::default(),
            log: Vec::new(),
            #[cfg(feature = "contract")]
            contract: crate::contract::Contract::of(profile).map_err(io::Error::other)?,
            #[cfg(feature = "contract")]
            violations: Vec::new(),
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: watch::Sender::new(0),
        });
        let server = tokio::spawn(http::serve(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            server,
        })
    }

    /// The address that clients are configured with, such as `http://127.0.0.1:4711/v1`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The id of the only project.
    #[must_use]
    pub fn project(&self) -> String {
        self.shared.peek(|inner| inner.machine.project.clone())
    }

    /// Works on the state machine itself.
    pub fn with_machine<R>(&self, work: impl FnOnce(&mut Machine) -> R) -> R {
        self.shared.with(|inner| work(&mut inner.machine))
    }

    // What is on the server.

    /// Adds a database.
    pub fn create_database(&self, id: &str) {
        self.with_machine(|machine| machine.add_database(id));
    }

    /// Adds a table to a database, which is made if it is missing.
    pub fn create_table(&self, database: &str, table: &TableSpec) {
        self.with_machine(|machine| machine.add_table(database, table));
    }

    /// Makes an API key with all scopes and returns its secret.
    pub fn create_key(&self) -> String {
        self.with_machine(Machine::add_key)
    }

    /// Takes an API key back.
    pub fn end_key(&self, key: &str) {
        self.with_machine(|machine| machine.accounts.keys.remove(key));
    }

    /// Adds a user; the password is `password`, the address `<id>@example.com`.
    pub fn create_user(&self, id: &str) {
        self.with_machine(|machine| {
            machine.add_user(id, &format!("{id}@example.com"), "password", id);
        });
    }

    /// Begins a session of a user and returns its secret.
    pub fn create_session(&self, user: &str) -> String {
        self.with_machine(|machine| {
            let now = machine.clock.now();
            machine.begin_session(user, true, now).0
        })
    }

    /// Makes a token (JWT) of a user that ends after so many seconds.
    pub fn create_token(&self, user: &str, seconds: i64) -> String {
        self.with_machine(|machine| {
            let now = machine.clock.now();
            machine.make_token(user, seconds, now)
        })
    }

    /// Ends all sessions and tokens of a user.
    pub fn end_sessions(&self, user: &str) {
        self.with_machine(|machine| machine.accounts.end_sessions(user));
    }

    /// Blocks a user, or lets him in again.
    pub fn block_user(&self, user: &str, blocked: bool) {
        self.with_machine(|machine| {
            if let Some(user) = machine.accounts.users.get_mut(user) {
                user.blocked = blocked;
            }
        });
    }

    /// Makes a user a member of a team, or not.
    pub fn set_team_member(&self, user: &str, team: &str, member: bool) {
        self.with_machine(|machine| {
            if let Some(user) = machine.accounts.users.get_mut(user) {
                if member {
                    user.teams.insert(team.to_owned());
                } else {
                    user.teams.remove(team);
                }
            }
        });
    }

    /// Sends a request with the rights of a key past the network, the faults and the log, as another client
    /// would.
    pub fn as_key(&self, method: &str, target: &str, body: &Value) -> Response {
        self.with_machine(|machine| {
            let key = machine.add_key();
            let project = machine.project.clone();
            let request = Request::new(method, target)
                .header("x-appwrite-project", &project)
                .header("x-appwrite-key", &key)
                .json(body);
            let response = machine.answer(&request);
            machine.accounts.keys.remove(&key);
            response
        })
    }

    /// Merges values into a stored row past all checks, as a fault of a database would.
    pub fn damage_row(&self, database: &str, table: &str, id: &str, values: &Value) {
        self.with_machine(|machine| machine.damage_row(&Place::new(database, table), id, values));
    }

    /// A row as the server would answer it to a key.
    #[must_use]
    pub fn row(&self, database: &str, table: &str, id: &str) -> Option<Value> {
        self.rows(database, table)
            .into_iter()
            .find(|row| row["$id"] == id)
    }

    /// All rows of a table in the order of their creation.
    #[must_use]
    pub fn rows(&self, database: &str, table: &str) -> Vec<Value> {
        self.shared
            .peek(|inner| inner.machine.all_rows(&Place::new(database, table)))
    }

    // Time and limits.

    /// The time of the server.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Stops the clock at an instant.
    pub fn freeze_clock(&self, at: Timestamp) {
        self.with_machine(|machine| machine.clock.freeze(at));
    }

    /// Moves the clock.
    pub fn advance_clock(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.with_machine(|machine| machine.clock.advance(millis));
    }

    /// How far the clocks of the application servers are ahead, in milliseconds. Requests go round among
    /// them.
    pub fn set_server_skews(&self, skews: &[i64]) {
        self.shared.with(|inner| inner.faults.skews = skews.to_vec());
    }

    /// Whether rate limits refuse requests; at first they do not, though the headers are always sent.
    pub fn enforce_rate_limits(&self, enforced: bool) {
        self.with_machine(|machine| machine.enforce_rate_limits(enforced));
    }

    /// Gives every write a stamp at least a millisecond later than the write before, or no longer does so.
    pub fn tick_on_write(&self, ticks: bool) {
        self.with_machine(|machine| {
            machine.tuning.last_stamp = ticks.then(|| Timestamp::from_millis(0));
        });
    }

    /// Lets no list answer more than so many rows, whatever it asks for.
    pub fn cap_pages(&self, rows: Option<usize>) {
        self.with_machine(|machine| machine.tuning.page_cap = rows);
    }

    // Faults.

    /// Disturbs the next request that fits.
    pub fn fault(&self, when: RequestMatch, fault: Fault) {
        self.fault_times(when, 0, 1, fault);
    }

    /// Disturbs requests that fit: lets `skip` pass and disturbs the `times` after them.
    pub fn fault_times(&self, when: RequestMatch, skip: usize, times: usize, fault: Fault) {
        self.shared
            .with(|inner| inner.faults.add(when, skip, times, fault));
    }

    /// Stamps the next write that fits at its arrival, and lets it take effect only when it is released.
    #[must_use]
    pub fn hold_write(&self, when: RequestMatch) -> HeldWrite {
        self.shared.with(|inner| inner.faults.hold(when))
    }

    /// Takes back all faults that were not used up.
    pub fn clear_faults(&self) {
        self.shared.with(|inner| inner.faults.clear());
    }

    // Realtime.

    /// Makes realtime misbehave from now on.
    pub fn set_realtime_fault(&self, fault: RealtimeFault) {
        self.with_machine(|machine| machine.realtime.fault = fault);
    }

    /// Loses the next so many realtime events.
    pub fn drop_realtime_events(&self, count: usize) {
        self.with_machine(|machine| machine.realtime.drop_next = count);
    }

    /// Ends all realtime connections, with a close frame or without one.
    pub fn close_realtime(&self, with_frame: bool) {
        self.with_machine(|machine| machine.realtime.close_all(with_frame));
    }

    /// How many realtime connections are open.
    #[must_use]
    pub fn realtime_connections(&self) -> usize {
        self.shared
            .peek(|inner| inner.machine.realtime.connection_count())
    }

    /// How many subscriptions all realtime connections have together.
    #[must_use]
    pub fn realtime_subscriptions(&self) -> usize {
        self.shared
            .peek(|inner| inner.machine.realtime.subscription_count())
    }

    // What came.

    /// The requests that came over the wire, in the order in which they ended.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.peek(|inner| inner.log.clone())
    }

    /// Forgets the requests that came.
    pub fn clear_requests(&self) {
        self.shared.with(|inner| inner.log.clear());
    }

    /// Takes what is known about answers that broke the official OpenAPI file; empty if all is well.
    #[cfg(feature = "contract")]
    #[must_use]
    pub fn take_contract_violations(&self) -> Vec<String> {
        self.shared.peek(|inner| std::mem::take(&mut inner.violations))
    }

    /// Whether answers are checked at all: the OpenAPI files may be missing outside of CI.
    #[cfg(feature = "contract")]
    #[must_use]
    pub fn checks_contract(&self) -> bool {
        self.shared.peek(|inner| inner.contract.is_some())
    }
}

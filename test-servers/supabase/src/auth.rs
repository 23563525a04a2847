//! Users, sessions and tokens, with a clock of their own.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::jwt;

/// The sign-in of a stack.
#[derive(Debug)]
pub struct Auth(Mutex<State>);

#[derive(Debug)]
struct State {
    ahead: Duration,
    lifetime: Duration,
    reuse_interval: Duration,
    users: BTreeMap<String, User>,
    refresh_tokens: BTreeMap<String, RefreshToken>,
    ended_sessions: Vec<String>,
    refreshes: u64,
}

#[derive(Clone, Debug)]
struct User {
    id: String,
    password: String,
    banned: bool,
}

#[derive(Clone, Debug)]
struct RefreshToken {
    session: String,
    email: String,
    parent: Option<String>,
    /// When it was exchanged for the next one, in milliseconds.
    used_at: Option<u64>,
}

/// A refused grant: status, code, message.
pub(crate) type Refusal = (u16, &'static str, &'static str);

impl Auth {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            ahead: Duration::ZERO,
            lifetime: Duration::from_secs(3600),
            reuse_interval: Duration::from_secs(10),
            users: BTreeMap::new(),
            refresh_tokens: BTreeMap::new(),
            ended_sessions: Vec::new(),
            refreshes: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long access tokens made from now on are good. One hour unless set.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// For how long an exchanged refresh token can be used again. Ten seconds unless set.
    pub fn set_reuse_interval(&self, interval: Duration) {
        self.state().reuse_interval = interval;
    }

    /// Sets the clock of the project forward: tokens expire.
    pub fn advance_clock(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// Ends every session of a user: its refresh tokens are good for nothing any more.
    pub fn end_sessions(&self, user: &str) {
        let mut state = self.state();
        let emails: Vec<_> = (state.users.iter())
            .filter(|(_, known)| known.id == user)
            .map(|(email, _)| email.clone())
            .collect();
        state
            .refresh_tokens
            .retain(|_, token| !emails.contains(&token.email));
    }

    /// Bans a user from signing in and refreshing.
    pub fn ban(&self, user: &str) {
        for known in self.state().users.values_mut().filter(|known| known.id == user) {
            known.banned = true;
        }
    }

    /// How many refresh grants were answered with a token.
    pub fn refreshes(&self) -> u64 {
        self.state().refreshes
    }

    /// The project's time, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.state().now_millis() / 1000).unwrap_or(i64::MAX)
    }

    pub(crate) fn add_user(&self, email: &str, password: &str) -> String {
        let user = User {
            id: Uuid::now_v7().to_string(),
            password: password.to_owned(),
            banned: false,
        };
        let id = user.id.clone();
        self.state().users.insert(email.to_owned(), user);
        id
    }

    pub(crate) fn has_user(&self, email: &str) -> bool {
        self.state().users.contains_key(email)
    }

    /// An access token of a user, as a sign-in gives it.
    pub(crate) fn access_token(&self, user: &str) -> String {
        let state = self.state();
        let email = state.users.iter().find(|(_, known)| known.id == user);
        let email = email.map(|(email, _)| email.clone()).unwrap_or_default();
        jwt::sign(&state.claims(user, &email, &Uuid::now_v7().to_string()))
    }

    pub(crate) fn password_grant(&self, email: &str, password: &str) -> Result<Value, Refusal> {
        let mut state = self.state();
        match state.users.get(email) {
            Some(user) if user.banned => Err(BANNED),
            Some(user) if user.password == password => {
                Ok(state.session(email, Uuid::now_v7().to_string(), None))
            }
            _ => Err((400, "invalid_credentials", "Invalid login credentials")),
        }
    }

    /// Exchanges a refresh token. One that was exchanged already is good again within the reuse interval, or as the
    /// parent of the active one: then the answer was lost. Later the whole session ends.
    pub(crate) fn refresh_grant(&self, token: &str) -> Result<Value, Refusal> {
        let mut state = self.state();
        let Some(known) = state.refresh_tokens.get(token).cloned() else {
            return Err((
                400,
                "refresh_token_not_found",
                "Invalid Refresh Token: Refresh Token Not Found",
            ));
        };
        if state.users.get(&known.email).is_some_and(|user| user.banned) {
            return Err(BANNED);
        }
        let now = state.now_millis();
        if let Some(used_at) = known.used_at {
            let active = (state.refresh_tokens.iter())
                .find(|(_, other)| other.session == known.session && other.used_at.is_none())
                .map(|(text, other)| (text.clone(), other.parent.as_deref() == Some(token)));
            let within = u128::from(now - used_at) <= state.reuse_interval.as_millis();
            match active {
                Some((active, is_parent)) if within || is_parent => {
                    state.refreshes += 1;
                    return Ok(state.answer(&known.email, &known.session, &active));
                }
                _ => {
                    state
                        .refresh_tokens
                        .retain(|_, other| other.session != known.session);
                    return Err((
                        400,
                        "refresh_token_already_used",
                        "Invalid Refresh Token: Already Used",
                    ));
                }
            }
        }
        if let Some(used) = state.refresh_tokens.get_mut(token) {
            used.used_at = Some(now);
        }
        state.refreshes += 1;
        Ok(state.session(&known.email, known.session, Some(token.to_owned())))
    }

    /// Ends the session of an access token.
    pub(crate) fn sign_out(&self, claims: &Value) {
        let mut state = self.state();
        let session = claims["session_id"].as_str().unwrap_or_default().to_owned();
        state.refresh_tokens.retain(|_, token| token.session != session);
        state.ended_sessions.push(session);
    }

    /// Whether the session of an access token was ended.
    pub(crate) fn is_ended(&self, claims: &Value) -> bool {
        let session = claims["session_id"].as_str().unwrap_or_default();
        self.state().ended_sessions.iter().any(|ended| ended == session)
    }
}

const BANNED: Refusal = (400, "user_banned", "User is banned");

impl State {
    fn now_millis(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead;
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    fn claims(&self, user: &str, email: &str, session: &str) -> Value {
        let now = self.now_millis() / 1000;
        json!({
            "sub": user, "role": "authenticated", "aud": "authenticated", "iss": "stack", "email": email, "phone": "",
            "iat": now, "exp": now + self.lifetime.as_secs(), "session_id": session, "aal": "aal1",
            "amr": [{"method": "password", "timestamp": now}], "is_anonymous": false,
            "app_metadata": {"provider": "email", "providers": ["email"]}, "user_metadata": {},
        })
    }

    /// A new refresh token of a session, with its answer.
    fn session(&mut self, email: &str, session: String, parent: Option<String>) -> Value {
        let text = Uuid::now_v7().simple().to_string();
        let token = RefreshToken {
            session: session.clone(),
            email: email.to_owned(),
            parent,
            used_at: None,
        };
        self.refresh_tokens.insert(text.clone(), token);
        self.answer(email, &session, &text)
    }

    fn answer(&self, email: &str, session: &str, refresh_token: &str) -> Value {
        let id = self
            .users
            .get(email)
            .map(|user| user.id.clone())
            .unwrap_or_default();
        let claims = self.claims(&id, email, session);
        json!({
            "access_token": jwt::sign(&claims), "token_type": "bearer", "expires_in": self.lifetime.as_secs(),
            "expires_at": claims["exp"], "refresh_token": refresh_token, "user": user_answer(&claims),
        })
    }
}

/// A user as the API shows it.
pub(crate) fn user_answer(claims: &Value) -> Value {
    json!({
        "id": claims["sub"], "aud": "authenticated", "role": "authenticated", "email": claims["email"], "phone": "",
        "app_metadata": claims["app_metadata"], "user_metadata": claims["user_metadata"], "identities": [],
        "is_anonymous": false, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    })
}

//! Users, their sessions and tokens, and who sends a request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::{Request, Response};
use crate::machine::{Context, Machine};
use crate::permission::Principal;
use crate::quirk::Quirk;
use crate::time::Timestamp;

const YEAR_MILLIS: i64 = 31_536_000_000;
const DAY_MILLIS: i64 = 86_400_000;

/// A user of the project.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) blocked: bool,
    pub(crate) teams: BTreeSet<String>,
    registered_at: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
    accessed_at: Option<Timestamp>,
    target: String,
    target_created_at: Timestamp,
}

impl User {
    /// All roles of the user, in the order in which error messages list them.
    fn roles(&self) -> Vec<String> {
        let id = &self.id;
        let mut roles = vec![
            "any".into(),
            "users".into(),
            format!("user:{id}"),
            format!("user:{id}/unverified"),
        ];
        roles.push("users/unverified".into());
        roles.extend(self.teams.iter().map(|team| format!("team:{team}")));
        roles
    }

    /// The account as its owner sees it.
    pub(crate) fn show(&self) -> Value {
        json!({
            "$id": self.id,
            "$createdAt": self.created_at.to_wire(),
            "$updatedAt": self.updated_at.to_wire(),
            "name": self.name,
            "registration": self.registered_at.to_wire(),
            "status": !self.blocked,
            "labels": [],
            "passwordUpdate": self.registered_at.to_wire(),
            "email": self.email,
            "phone": "",
            "emailVerification": false,
            "emailCanonical": self.email,
            "emailIsFree": false,
            "emailIsDisposable": true,
            "emailIsCorporate": false,
            "emailIsCanonical": true,
            "phoneVerification": false,
            "mfa": false,
            "prefs": {},
            "targets": [{
                "$id": self.target,
                "$createdAt": self.target_created_at.to_wire(),
                "$updatedAt": self.target_created_at.to_wire(),
                "name": "",
                "userId": self.id,
                "providerId": null,
                "providerType": "email",
                "identifier": self.email,
                "expired": false,
            }],
            "accessedAt": self.accessed_at.map(Timestamp::to_wire).unwrap_or_default(),
            "impersonator": false,
            "impersonatorUserId": null,
        })
    }
}

#[derive(Debug, Clone)]
struct Credential {
    user: String,
    expires_at: Timestamp,
}

/// The users of the project, their credentials, and the API keys.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) users: BTreeMap<String, User>,
    sessions: BTreeMap<String, Credential>,
    tokens: BTreeMap<String, Credential>,
    pub(crate) keys: BTreeSet<String>,
}

impl Accounts {
    pub(crate) fn principal_of(&self, user: &str) -> Principal {
        match self.users.get(user) {
            Some(user) => Principal::User {
                id: user.id.clone(),
                roles: user.roles(),
            },
            None => Principal::Guest,
        }
    }

    /// The user of a session that has not ended.
    pub(crate) fn user_of_session(&self, secret: &str, now: Timestamp) -> Option<&User> {
        let session = self
            .sessions
            .get(secret)
            .filter(|session| session.expires_at > now)?;
        self.users.get(&session.user)
    }

    /// Ends all sessions and tokens of a user.
    pub(crate) fn end_sessions(&mut self, user: &str) {
        self.sessions.retain(|_, session| session.user != user);
        self.tokens.retain(|_, token| token.user != user);
    }
}

/// The session in any of the places where a client may put it.
fn session_secret(request: &Request, project: &str) -> Option<String> {
    let name = format!("a_session_{project}");
    if let Some(secret) = request.headers.get("x-appwrite-session") {
        return Some(secret.clone());
    }
    let cookies = request
        .headers
        .get("cookie")
        .into_iter()
        .flat_map(|cookies| cookies.split(';'));
    let mut pairs = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    if let Some((_, secret)) = pairs.find(|(key, _)| *key == name) {
        return Some(secret.to_owned());
    }
    let fallback: Value = serde_json::from_str(request.headers.get("x-fallback-cookies")?).ok()?;
    fallback.get(&name)?.as_str().map(str::to_owned)
}

impl Machine {
    /// Who sends a request.
    pub(crate) fn identify(&mut self, request: &Request, now: Timestamp) -> Result<Principal> {
        if let Some(key) = request.headers.get("x-appwrite-key") {
            return Ok(if self.accounts.keys.contains(key) {
                Principal::Key
            } else {
                Principal::UnknownKey
            });
        }
        let user = if let Some(token) = request.headers.get("x-appwrite-jwt") {
            let found = self
                .accounts
                .tokens
                .get(token)
                .filter(|token| token.expires_at > now);
            let refused = || {
                ApiError::new(
                    401,
                    "user_jwt_invalid",
                    "Failed to verify JWT. JSON failed: Malformed UTF-8 characters, possibly incorrectly encoded",
                )
            };
            Some(found.ok_or_else(refused)?.user.clone())
        } else {
            session_secret(request, &self.project)
                .and_then(|secret| Some(self.accounts.user_of_session(&secret, now)?.id.clone()))
        };
        match user {
            Some(user) if self.accounts.users.get(&user).is_some_and(|user| user.blocked) => {
                Err(ApiError::new(
                    403,
                    "user_blocked",
                    "The current user has been blocked. You can unblock the user from the Appwrite console.",
                ))
            }
            Some(user) => Ok(self.accounts.principal_of(&user)),
            None => Ok(Principal::Guest),
        }
    }

    /// Notes, once a day, that a user was here. Returns the `$updatedAt` from before if it did.
    pub(crate) fn note_access(&mut self, principal: &Principal, now: Timestamp) -> Option<Timestamp> {
        let Principal::User { id, .. } = principal else {
            return None;
        };
        let user = self.accounts.users.get_mut(id)?;
        if user
            .accessed_at
            .is_some_and(|at| at.plus_millis(DAY_MILLIS) > now)
        {
            return None;
        }
        let before = user.updated_at;
        user.accessed_at = Some(self.clock.now());
        user.updated_at = self.clock.now();
        Some(before)
    }

    /// Adds a user.
    pub(crate) fn add_user(&mut self, id: &str, email: &str, password: &str, name: &str) -> &User {
        let user = User {
            id: id.to_owned(),
            email: email.to_owned(),
            name: name.to_owned(),
            password: password.to_owned(),
            blocked: false,
            teams: BTreeSet::new(),
            registered_at: self.clock.now(),
            created_at: self.clock.now(),
            updated_at: Timestamp::from_millis(0),
            accessed_at: None,
            target: self.ids.next(),
            target_created_at: self.clock.now(),
        };
        let user = User {
            updated_at: user.created_at,
            ..user
        };
        self.accounts
            .users
            .entry(id.to_owned())
            .insert_entry(user)
            .into_mut()
    }

    /// Begins a session and returns its secret and its description.
    pub(crate) fn begin_session(&mut self, user: &str, by_key: bool, now: Timestamp) -> (String, Value) {
        let expires_at = now.plus_millis(YEAR_MILLIS);
        let id = self.ids.next();
        let secret = format!("session-{}", self.ids.next());
        let created_at = self.clock.now().to_wire();
        let email = self
            .accounts
            .users
            .get(user)
            .map(|user| user.email.clone())
            .unwrap_or_default();
        self.accounts.sessions.insert(
            secret.clone(),
            Credential {
                user: user.to_owned(),
                expires_at,
            },
        );
        let (provider, uid) = if by_key {
            ("server", "")
        } else {
            ("email", email.as_str())
        };
        let mut shown = json!({
            "$id": id,
            "$createdAt": created_at,
            "$updatedAt": created_at,
            "userId": user,
            "expire": expires_at.to_wire(),
            "provider": provider,
            "providerUid": uid,
            "ip": "127.0.0.1",
            "countryCode": "--",
            "countryName": "Unknown",
            "current": !by_key,
            "factors": [if by_key { "server" } else { "password" }],
            "secret": if by_key { secret.as_str() } else { "" },
        });
        for unknown in [
            "providerAccessToken",
            "providerAccessTokenExpiry",
            "providerRefreshToken",
            "osCode",
            "osName",
            "osVersion",
            "clientType",
            "clientCode",
            "clientName",
            "clientVersion",
            "clientEngine",
            "clientEngineVersion",
            "deviceName",
            "deviceBrand",
            "deviceModel",
            "mfaUpdatedAt",
        ] {
            shown[unknown] = json!("");
        }
        (secret, shown)
    }

    /// Makes a token for a user that ends after so many seconds.
    pub(crate) fn make_token(&mut self, user: &str, seconds: i64, now: Timestamp) -> String {
        let token = format!("jwt.{}.{}", self.ids.next(), self.ids.next());
        let expires_at = now.plus_millis(seconds * 1000);
        self.accounts.tokens.insert(
            token.clone(),
            Credential {
                user: user.to_owned(),
                expires_at,
            },
        );
        token
    }

    pub(crate) fn create_user(&mut self, context: &Context<'_>) -> Result<Response> {
        if !context.principal.is_key() {
            return Err(ApiError::missing_scope("users.write"));
        }
        let body = context.request.body_json().unwrap_or_default();
        let field = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let mut shown = self
            .add_user(
                &field("userId"),
                &field("email"),
                &field("password"),
                &field("name"),
            )
            .show();
        shown["password"] = json!("$argon2id$v=19$m=65536,t=4,p=3$c3RhbmQtaW4$c3RhbmQtaW4");
        shown["hash"] = json!("argon2");
        shown["hashOptions"] = json!({"type": "argon2", "memory_cost": 65536, "time_cost": 4, "threads": 3});
        Ok(Response::json(201, shown))
    }

    pub(crate) fn create_session_by_key(&mut self, context: &Context<'_>, user: &str) -> Result<Response> {
        if !context.principal.is_key() {
            return Err(ApiError::missing_scope("users.write"));
        }
        if !self.accounts.users.contains_key(user) {
            return Err(ApiError::new(
                404,
                "user_not_found",
                "User with the requested ID could not be found.",
            ));
        }
        let (_, shown) = self.begin_session(user, true, context.arrival.at);
        Ok(Response::json(201, shown))
    }

    pub(crate) fn login(&mut self, context: &Context<'_>) -> Result<Response> {
        let body = context.request.body_json().unwrap_or_default();
        let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (email, password) = (field("email"), field("password"));
        let mut users = self.accounts.users.values();
        let found = users.find(|user| user.email == email && user.password == password);
        let user = found.map(|user| user.id.clone()).ok_or_else(|| {
            ApiError::new(
                401,
                "user_invalid_credentials",
                "Invalid credentials. Please check the email and password.",
            )
        })?;
        let (secret, shown) = self.begin_session(&user, false, context.arrival.at);
        let cookie = format!("a_session_{}", self.project);
        let ends = context.arrival.at.plus_millis(YEAR_MILLIS).to_cookie_date();
        let mut response = Response::json(201, shown);
        response.headers.insert(
            "set-cookie".into(),
            format!("{cookie}={secret}; expires={ends}; Max-Age=31536000; path=/; HttpOnly; SameSite=None"),
        );
        response
            .headers
            .insert("x-fallback-cookies".into(), json!({ cookie: secret }).to_string());
        Ok(response)
    }

    pub(crate) fn create_token(&mut self, context: &Context<'_>) -> Result<Response> {
        let Principal::User { id, .. } = &context.principal else {
            return Err(ApiError::missing_scope("account"));
        };
        let body = context.request.body_json().unwrap_or_default();
        let seconds = body.get("duration").and_then(Value::as_i64).unwrap_or(900);
        let token = self.make_token(id, seconds, context.arrival.at);
        Ok(Response::json(201, json!({ "jwt": token })))
    }

    pub(crate) fn get_account(&mut self, context: &Context<'_>) -> Result<Response> {
        let Principal::User { id, .. } = &context.principal else {
            return Err(ApiError::missing_scope("account"));
        };
        let Some(user) = self.accounts.users.get(id) else {
            return Err(ApiError::missing_scope("account"));
        };
        let mut shown = user.show();
        if let Some(before) = context
            .first_access
            .filter(|_| self.has(Quirk::FirstAccessInDatabaseForm))
        {
            shown["$updatedAt"] = json!(before.to_wire());
            shown["accessedAt"] = json!(user.accessed_at.map(Timestamp::to_database).unwrap_or_default());
        }
        Ok(Response::json(200, shown))
    }
}

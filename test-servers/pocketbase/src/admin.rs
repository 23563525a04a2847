//! Calls in the name of the superuser.

use std::time::Duration;

use reqwest::{
    Client, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};

use crate::error::ServerError;

const DEADLINE: Duration = Duration::from_secs(60);

/// A superuser's access to a server.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
    url: String,
    token: String,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    what: String,
    /// The status.
    pub status: u16,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// Nothing, if the status says success.
    ///
    /// # Errors
    /// `Answer` with the status and the body.
    pub fn success(self) -> Result<(), ServerError> {
        self.json().map(drop)
    }

    /// The body, if the status says success; null if there is none.
    ///
    /// # Errors
    /// `Answer` with the status and the body.
    pub fn json(self) -> Result<Value, ServerError> {
        let parsed = match self.text.as_str() {
            "" => Ok(Value::Null),
            text => serde_json::from_str(text),
        };
        match parsed {
            Ok(value) if (200..300).contains(&self.status) => Ok(value),
            _ => Err(ServerError::Answer {
                what: self.what,
                status: self.status,
                body: self.text,
            }),
        }
    }
}

impl Admin {
    /// Signs in at a server.
    ///
    /// # Errors
    /// `Answer` if the password is wrong; `Request` if there is no server.
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn sign_in(url: &str, email: &str, password: &str) -> Result<Self, ServerError> {
        let client = Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .map_err(|source| ServerError::Request {
                what: "making an HTTP client".to_owned(),
                source,
            })?;
        let mut admin = Self {
            client,
            url: url.to_owned(),
            token: String::new(),
        };
        admin.token = admin.token_of("_superusers", email, password).await?;
        Ok(admin)
    }

    /// The superuser's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request with this method to this path, as the superuser.
    ///
    /// # Errors
    /// `Request` if there is no answer. Any answer is `Ok`.
    ///
    /// # Cancel safety
    /// If dropped, the request may have had its effect.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, ServerError> {
        self.send_as(&self.token, method, path, body).await
    }

    /// Sends a request with another token; an empty one makes it a guest's.
    ///
    /// # Errors
    /// As [`Admin::send`].
    ///
    /// # Cancel safety
    /// As [`Admin::send`].
    pub async fn send_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ServerError> {
        let what = format!("{method} {path}");
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let failed = |source| ServerError::Request {
            what: what.clone(),
            source,
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(failed)?;
        Ok(Answer { what, status, text })
    }

    /// The token of a record of an auth collection, by its password.
    ///
    /// # Errors
    /// `Answer` if the password is wrong.
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn token_of(
        &self,
        collection: &str,
        identity: &str,
        password: &str,
    ) -> Result<String, ServerError> {
        let path = format!("/api/collections/{collection}/auth-with-password");
        let body = json!({"identity": identity, "password": password});
        let answer = self.send_as("", "POST", &path, Some(&body)).await?.json()?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Changes settings; what is not named stays.
    ///
    /// # Errors
    /// `Answer` if the server refuses.
    ///
    /// # Cancel safety
    /// If dropped, the settings may be changed or not.
    pub async fn change_settings(&self, settings: &Value) -> Result<(), ServerError> {
        self.send("PATCH", "/api/settings", Some(settings))
            .await?
            .success()
    }

    /// Allows batches of at most so many requests, each within so many seconds.
    ///
    /// # Errors
    /// As [`Admin::change_settings`].
    ///
    /// # Cancel safety
    /// As [`Admin::change_settings`].
    pub async fn enable_batches(&self, max_requests: u32, timeout_seconds: u32) -> Result<(), ServerError> {
        let batch = json!({"enabled": true, "maxRequests": max_requests, "timeout": timeout_seconds});
        self.change_settings(&json!({ "batch": batch })).await
    }

    /// Makes or changes collections; others, and fields that are not named, stay.
    ///
    /// # Errors
    /// `Answer` naming what is wrong with them.
    ///
    /// # Cancel safety
    /// If dropped, all of it has happened or nothing.
    pub async fn import(&self, collections: &Value) -> Result<(), ServerError> {
        let body = json!({"collections": collections, "deleteMissing": false});
        self.send("PUT", "/api/collections/import", Some(&body))
            .await?
            .success()
    }

    /// Makes a record, and gives it as stored.
    ///
    /// # Errors
    /// `Answer` if the server refuses.
    ///
    /// # Cancel safety
    /// If dropped, the record may be there or not.
    pub async fn create(&self, collection: &str, record: &Value) -> Result<Value, ServerError> {
        let path = format!("/api/collections/{collection}/records");
        self.send("POST", &path, Some(record)).await?.json()
    }

    /// Makes a user in the collection `users`, and gives its id.
    ///
    /// # Errors
    /// `Answer` if the server refuses.
    ///
    /// # Cancel safety
    /// If dropped, the user may be there or not.
    pub async fn create_user(&self, email: &str, password: &str) -> Result<String, ServerError> {
        let user = json!({"email": email, "password": password, "passwordConfirm": password});
        let made = self.create("users", &user).await?;
        Ok(made["id"].as_str().unwrap_or_default().to_owned())
    }

    /// A token of a user that is good for so many seconds and cannot be renewed beyond them.
    ///
    /// # Errors
    /// `Answer` if there is no such user.
    ///
    /// # Cancel safety
    /// Nothing is left behind if it is dropped.
    pub async fn short_token(&self, user: &str, seconds: u32) -> Result<String, ServerError> {
        let path = format!("/api/collections/users/impersonate/{user}");
        let body = json!({ "duration": seconds });
        let answer = self.send("POST", &path, Some(&body)).await?.json()?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    }

    /// How long tokens of the users live that are given out from now on, in seconds (at least 10).
    ///
    /// # Errors
    /// `Answer` if the server refuses.
    ///
    /// # Cancel safety
    /// If dropped, the setting may be changed or not.
    pub async fn set_token_life(&self, seconds: u32) -> Result<(), ServerError> {
        let body = json!({"authToken": {"duration": seconds}});
        self.send("PATCH", "/api/collections/users", Some(&body))
            .await?
            .success()
    }

    /// Makes every token of a user that was given out so far worthless.
    ///
    /// # Errors
    /// `Answer` if there is no such user.
    ///
    /// # Cancel safety
    /// If dropped, it may have happened or not.
    pub async fn revoke_tokens(&self, user: &str) -> Result<(), ServerError> {
        let password = "a-password-that-nobody-knows";
        let body = json!({"password": password, "passwordConfirm": password});
        let path = format!("/api/collections/users/records/{user}");
        self.send("PATCH", &path, Some(&body)).await?.success()
    }

    /// Runs SQL statements in one transaction, and gives the rows of the last one, as text.
    ///
    /// # Errors
    /// `Answer` with SQLite's message.
    ///
    /// # Cancel safety
    /// If dropped, all of it has happened or nothing.
    pub async fn sql(&self, statements: &str) -> Result<Vec<Vec<Value>>, ServerError> {
        let body = json!({ "query": statements });
        let answer = self.send("POST", "/api/sql", Some(&body)).await?.json()?;
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        Ok(rows
            .into_iter()
            .map(|row| row.as_array().cloned().unwrap_or_default())
            .collect())
    }
}

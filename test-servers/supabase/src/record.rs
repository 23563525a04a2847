//! What clients asked.

use std::sync::{Mutex, PoisonError};

/// A request as it arrived at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The header `apikey`.
    pub apikey: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `Prefer`.
    pub prefer: Option<String>,
    /// The body.
    pub body: String,
}

#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<Vec<Recorded>>);

impl Requests {
    pub(crate) fn add(&self, request: Recorded) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

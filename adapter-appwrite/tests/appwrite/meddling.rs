//! A transport that lets a test act at the moment before a request goes out.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sync_http::{HttpRequest, HttpResponse, HttpStream, Transport, TransportError};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    /// It goes out.
    Go,
    /// It never goes out and is never answered, as if the process were gone.
    Never,
}

type Hook = dyn Fn(&HttpRequest) -> Then + Send + Sync;

/// Asks a hook about every request.
#[derive(Clone)]
pub(crate) struct Meddling {
    inner: Arc<dyn Transport>,
    hook: Arc<Hook>,
}

impl Meddling {
    pub(crate) fn new(
        inner: Arc<dyn Transport>,
        hook: impl Fn(&HttpRequest) -> Then + Send + Sync + 'static,
    ) -> Arc<Self> {
        let hook = Arc::new(hook);
        Arc::new(Self { inner, hook })
    }
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meddling({:?})", self.inner)
    }
}

#[async_trait]
impl Transport for Meddling {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if (self.hook)(&request) == Then::Never {
            futures::future::pending::<()>().await;
        }
        self.inner.send(request).await
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        self.inner.open(request).await
    }
}

/// Whether a request commits a transaction.
pub(crate) fn commits(request: &HttpRequest) -> bool {
    request.method == "PATCH"
        && request.url.path().contains("/transactions/")
        && String::from_utf8_lossy(&request.body).contains("commit")
}

/// Whether a request stages operations.
pub(crate) fn stages(request: &HttpRequest) -> bool {
    request.url.path().ends_with("/operations")
}

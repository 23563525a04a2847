//! What a project does to its clients now and then, on demand.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One disturbance of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection ends before anything has happened.
    DropBefore,
    /// The request takes effect, and the connection ends without an answer.
    DropAfter,
    /// The request waits before anything happens.
    Delay(Duration),
    /// The gateway answers by itself, with an HTML page as proxies do.
    Status {
        /// The status.
        status: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The gateway answers by itself, with this JSON text.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// The request takes effect, and half of the answer's body arrives.
    TruncateBody,
    /// The request arrives twice; the client gets the second answer.
    Twice,
}

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<(String, Fault)>,
    always: Vec<(String, Fault)>,
}

/// The disturbances that wait for requests.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Plan>);

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Disturbs the next request whose path contains the text and that no earlier one is waiting for.
    pub fn next(&self, path_part: &str, fault: Fault) {
        self.plan().next.push_back((path_part.to_owned(), fault));
    }

    /// Disturbs every request whose path contains the text, or no longer if `None`.
    pub fn always(&self, path_part: &str, fault: Option<Fault>) {
        let mut plan = self.plan();
        plan.always.retain(|(part, _)| part != path_part);
        plan.always
            .extend(fault.map(|fault| (path_part.to_owned(), fault)));
    }

    /// How many disturbances still wait for a request.
    pub fn waiting(&self) -> usize {
        self.plan().next.len()
    }

    pub(crate) fn take(&self, path: &str) -> Option<Fault> {
        let mut plan = self.plan();
        if let Some(place) = plan
            .next
            .iter()
            .position(|(part, _)| path.contains(part.as_str()))
        {
            return plan.next.remove(place).map(|(_, fault)| fault);
        }
        let fits = plan.always.iter().find(|(part, _)| path.contains(part.as_str()));
        fits.map(|(_, fault)| fault.clone())
    }
}

//! Faults that a test asks for: which request they meet, and what then happens.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::exchange::Request;

/// Which requests a fault meets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMatch {
    method: Option<String>,
    path: Option<String>,
    body: Option<String>,
}

impl RequestMatch {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this method.
    #[must_use]
    pub fn method(method: &str) -> Self {
        Self {
            method: Some(method.to_owned()),
            ..Self::default()
        }
    }

    /// Only those whose path contains this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only those whose body contains this.
    #[must_use]
    pub fn body(mut self, part: &str) -> Self {
        self.body = Some(part.to_owned());
        self
    }

    fn meets(&self, request: &Request) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|part| request.path.contains(part))
            && self
                .body
                .as_ref()
                .is_none_or(|part| String::from_utf8_lossy(&request.body).contains(part))
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the request has any effect.
    DropRequest,
    /// The request takes effect, and then the connection ends without an answer.
    DropAnswer,
    /// The request has no effect and is answered with this status and error type.
    Refuse {
        /// The status.
        status: u16,
        /// The type of the error.
        kind: &'static str,
    },
    /// The request takes effect and is answered with this status and error type all the same.
    FailAfter {
        /// The status.
        status: u16,
        /// The type of the error.
        kind: &'static str,
    },
    /// The request has no effect and is answered 429, to end after so many seconds.
    RateLimit {
        /// Seconds until the window ends.
        seconds: i64,
    },
    /// The request has no effect and is answered with a page for people, as a proxy does.
    Page {
        /// The status.
        status: u16,
    },
    /// The request takes effect; half of the answer's body comes at once and the rest so much later.
    SlowBody(Duration),
    /// The request takes effect; half of the answer's body comes, and then the connection ends.
    CutBody,
}

impl Fault {
    /// Whether the request has no effect.
    pub(crate) fn prevents_effect(&self) -> bool {
        matches!(
            self,
            Self::DropRequest | Self::Refuse { .. } | Self::RateLimit { .. } | Self::Page { .. }
        )
    }
}

#[derive(Debug)]
struct Rule {
    when: RequestMatch,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// A write that waits for its row, as behind a row lock.
///
/// It is stamped when it arrives, and takes effect when it is released or this is dropped.
#[derive(Debug)]
pub struct HeldWrite {
    arrived: Option<oneshot::Receiver<()>>,
    release: Option<oneshot::Sender<()>>,
}

impl HeldWrite {
    /// Waits until the write has arrived and has its stamp.
    ///
    /// # Cancel safety
    ///
    /// Cancelling changes nothing.
    pub async fn arrived(&mut self) {
        if let Some(arrived) = &mut self.arrived {
            let _ = arrived.await;
            self.arrived = None;
        }
    }

    /// Lets the write take effect.
    pub fn release(mut self) {
        self.let_go();
    }

    fn let_go(&mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.send(());
        }
    }
}

impl Drop for HeldWrite {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The server's side of a [`HeldWrite`].
#[derive(Debug)]
pub(crate) struct Hold {
    when: RequestMatch,
    pub(crate) arrived: oneshot::Sender<()>,
    pub(crate) released: oneshot::Receiver<()>,
}

/// All faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    holds: Vec<Hold>,
    /// How far the clock of each application server is ahead, in milliseconds; requests go round.
    pub(crate) skews: Vec<i64>,
    dealt: usize,
}

impl Faults {
    pub(crate) fn add(&mut self, when: RequestMatch, skip: usize, times: usize, fault: Fault) {
        self.rules.push(Rule {
            when,
            skip,
            times,
            fault,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.holds.clear();
    }

    pub(crate) fn hold(&mut self, when: RequestMatch) -> HeldWrite {
        let (arrived_sender, arrived) = oneshot::channel();
        let (release, released) = oneshot::channel();
        self.holds.push(Hold {
            when,
            arrived: arrived_sender,
            released,
        });
        HeldWrite {
            arrived: Some(arrived),
            release: Some(release),
        }
    }

    /// The fault of this request, if it meets one; it is used up. Rules that still let requests pass count it.
    pub(crate) fn take(&mut self, request: &Request) -> Option<Fault> {
        for rule in self
            .rules
            .iter_mut()
            .filter(|rule| rule.times > 0 && rule.when.meets(request))
        {
            if rule.skip == 0 {
                rule.times -= 1;
                return Some(rule.fault.clone());
            }
            rule.skip -= 1;
        }
        None
    }

    /// The hold of this request, if it meets one.
    pub(crate) fn take_hold(&mut self, request: &Request) -> Option<Hold> {
        let at = self.holds.iter().position(|hold| hold.when.meets(request))?;
        Some(self.holds.remove(at))
    }

    /// How far the clock of the application server that takes the next request is ahead.
    pub(crate) fn next_skew(&mut self) -> i64 {
        if self.skews.is_empty() {
            return 0;
        }
        let skew = self.skews[self.dealt % self.skews.len()];
        self.dealt += 1;
        skew
    }
}

//! What is planned for one client during one step: faults, and moments at which something happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::{ChangeSet, OpChange, PendingOp, RecordKey, Stamp, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::vocabulary::Fault;

/// Moments that a link or a store can stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    /// A push is about to leave.
    BeforePush,
    /// The server has applied a push.
    PushApplied,
    /// A pull is about to leave.
    BeforePull,
    /// The server has answered a pull.
    PullAnswered,
    /// The second page of a pull is about to be asked for.
    BeforeSecondPage,
    /// A commit of pulled rows, or of a local write, is under way.
    MidApply,
    /// Such a commit is done.
    AfterApply,
}

/// A moment that was reached. Whoever reached it goes on when told to.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) point: Point,
    pub(super) go_on: oneshot::Sender<()>,
}

/// The script of one client. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<State>>);

/// What is planned for a step.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    /// The scope that the faults are held to.
    pub(super) only_scope: Option<String>,
    pub(super) watched: BTreeSet<Point>,
    pub(super) reached: Option<mpsc::UnboundedSender<Reached>>,
    /// Pages answered so far.
    pub(super) pages: u32,
    /// Whether the last page said that there are more.
    pub(super) expects_page: bool,
    /// Whether a change set that a moment belongs to was committed.
    pub(super) applied: bool,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    counts: Counts,
    /// The stamp that the write under way gets, whatever the engine's clock says.
    stamp: Option<ExactStamp>,
    /// How many writes of a record had a stamp: two of them must not be taken for one.
    stamped: BTreeMap<(RecordKey, u64), u16>,
    /// The nodes of such stamps.
    nodes: BTreeSet<u64>,
}

/// A stamp that a write is told to have.
#[derive(Clone, Copy, Debug)]
struct ExactStamp {
    millis: u64,
    node: u64,
}

/// What went over the client's link so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) pushes: u64,
    pub(super) last_pull_rows: u64,
}

impl Script {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a plan in force. Returns the one before.
    pub(super) fn replace(&self, plan: Plan) -> Plan {
        std::mem::replace(&mut self.state().plan, plan)
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state().counts);
    }

    /// The next write gets exactly this time and node as its stamp.
    pub(super) fn hold_stamp(&self, at: Option<(Timestamp, u64)>) {
        let mut state = self.state();
        state.stamp = at.map(|(at, node)| ExactStamp {
            millis: u64::try_from(at.as_millis()).unwrap_or(0),
            node,
        });
        state.nodes.extend(at.map(|(_, node)| node));
    }

    /// Whether a write of this client had a stamp of the node.
    pub(super) fn has_node(&self, node: u64) -> bool {
        self.state().nodes.contains(&node)
    }

    /// The time of the stamp that the write under way gets, if it is told.
    pub(super) fn exact_stamp(&self) -> Option<u64> {
        self.state().stamp.map(|stamp| stamp.millis)
    }

    /// Ends with the future's answer, past faults and watched moments.
    pub(super) async fn unseen<F: Future>(&self, future: F) -> F::Output {
        let plan = self.replace(Plan::default());
        let answer = future.await;
        self.replace(plan);
        answer
    }

    /// Gives the write that is about to be committed the stamp it was told to have.
    pub(super) fn stamp(&self, changes: &mut ChangeSet) {
        let state = &mut *self.state();
        let (Some(ExactStamp { millis, node }), Some(made)) = (state.stamp, changes.clock) else {
            return;
        };
        let own = |op: &&mut PendingOp| op.stamp == made;
        let ops = changes.ops.iter_mut().filter_map(|change| match change {
            OpChange::Append(op) | OpChange::Replace(op) => Some(op),
            OpChange::Remove(_) | OpChange::MarkInDoubt { .. } => None,
        });
        for op in ops.filter(own) {
            let before = state.stamped.entry((op.key.clone(), millis)).or_default();
            op.stamp = Stamp::new(millis, *before, node);
            *before = before.saturating_add(1);
            for conflict in changes
                .conflicts
                .iter_mut()
                .filter(|conflict| conflict.key == op.key)
            {
                conflict.local_stamp = op.stamp;
            }
        }
    }

    /// The first fault that strikes in a scope and is of a kind.
    pub(super) fn fault<T>(&self, scope: Option<&str>, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let state = self.state();
        let elsewhere = match (&state.plan.only_scope, scope) {
            (Some(only), Some(scope)) => only != scope,
            _ => false,
        };
        if elsewhere {
            return None;
        }
        state.plan.faults.iter().find_map(pick)
    }

    pub(super) fn has_fault(&self, scope: Option<&str>, fault: &Fault) -> bool {
        self.fault(scope, |planned| (planned == fault).then_some(()))
            .is_some()
    }

    /// Whether a scope is cut off because only another one can be reached.
    pub(super) fn is_cut_off(&self, scope: &str) -> bool {
        let plan = &self.state().plan;
        plan.faults.is_empty() && plan.only_scope.as_deref().is_some_and(|only| only != scope)
    }

    /// Counts a page that was answered. Returns how many there were before.
    pub(super) fn note_page(&self, has_more: bool) -> u32 {
        let plan = &mut self.state().plan;
        plan.pages += 1;
        plan.expects_page = has_more;
        plan.pages - 1
    }

    /// Whether the next pull asks for another page of the same pass.
    pub(super) fn expects_page(&self) -> bool {
        self.state().plan.expects_page
    }

    /// Notes that a commit is done.
    pub(super) fn note_applied(&self) {
        self.state().plan.applied = true;
    }

    /// Stops between two pages, if that is watched: the first is stored while the second is asked for, so that is
    /// waited for, unless it takes too long since there is nothing to store.
    pub(super) async fn reach_second_page(&self) {
        const PATIENCE: u32 = 1_000_000;
        for _ in 0..PATIENCE {
            let done = {
                let plan = &self.state().plan;
                plan.applied || !plan.watched.contains(&Point::BeforeSecondPage)
            };
            if done {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.reach(Point::BeforeSecondPage).await;
    }

    /// How many pages were answered.
    pub(super) fn pages(&self) -> u32 {
        self.state().plan.pages
    }

    /// Stops at this moment, if it is watched, until told to go on. Each moment is reached once in a step.
    pub(super) async fn reach(&self, point: Point) {
        let wait = {
            let plan = &mut self.state().plan;
            if !plan.watched.remove(&point) {
                return;
            }
            let (go_on, wait) = oneshot::channel();
            let told = plan
                .reached
                .as_ref()
                .is_some_and(|reached| reached.send(Reached { point, go_on }).is_ok());
            told.then_some(wait)
        };
        if let Some(wait) = wait {
            // An error means that nobody holds the other end any more, so nobody wants to stop it.
            let _ = wait.await;
        }
    }
}

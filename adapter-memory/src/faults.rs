//! Faults that a [`MemoryRemoteStore`](crate::MemoryRemoteStore) plays to its client.
//!
//! Faults of single calls are scripted one by one, or drawn at random from a seed; both are set through
//! [`MemoryRemoteStore::faults`](crate::MemoryRemoteStore::faults). Faults of the backend itself are methods of the
//! store, since they last:
//!
//! | fault | method of the store |
//! |---|---|
//! | an expired sign-in, until the next one | `expire_token`, `sign_in` |
//! | access taken away | `set_access` |
//! | a skewed server clock | `set_clock_skew` |
//! | forgotten tombstones, which make old cursors expire | `prune_tombstones` |
//! | a restored backup | `backup`, `restore` |
//! | a commit that becomes visible late | `begin_late_commit` |
//! | a row nobody understands | `put_malformed` |
//! | a row gone without a tombstone | `vanish` |
//! | an old push that arrives once more | `redeliver` |
//! | lost connections of subscribers | `disconnect_subscribers` |

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{ErrorKind, RecordId, SyncError};

use crate::random::SplitMix;

/// The calls of a remote that faults are scripted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `pull`.
    Pull,
    /// `push`.
    Push,
    /// `get`.
    Get,
    /// `list_ids`.
    ListIds,
    /// `search`.
    Search,
    /// `server_time`.
    ServerTime,
    /// `subscribe`.
    Subscribe,
}

impl Call {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Get => "get",
            Self::ListIds => "list_ids",
            Self::Search => "search",
            Self::ServerTime => "server_time",
            Self::Subscribe => "subscribe",
        }
    }
}

/// What goes wrong in one call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: to script a fault of a later call.
    Pass,
    /// The request never reaches the backend, and the call fails like this.
    FailBefore(SyncError),
    /// The backend does what was asked, then the answer is lost, and the call fails like this.
    FailAfter(SyncError),
    /// The request takes so long to reach the backend, on the timer given to the builder.
    Delay(Duration),
    /// The request reaches the backend twice; the second answer is returned.
    Duplicate,
    /// Right before the request, an older push arrives once more: the one so many before the latest.
    Redeliver {
        /// 0 = the latest push.
        steps_back: usize,
    },
    /// The operations at these places of a push are not applied, and answered `Retry`.
    RetryOps(BTreeSet<usize>),
    /// The operations of a push on these records are rejected with the code `refused`.
    RejectIds(BTreeSet<RecordId>),
    /// A page of a pull holds at most so many rows, fewer than were asked for, and says truly whether there are
    /// more.
    PageCap(u32),
    /// The backend says that the sync point of a pull is no longer good, although it is.
    ExpireCursor,
}

/// What becomes of one poke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PokeFault {
    /// It arrives.
    Pass,
    /// It is lost.
    Lose,
    /// It arrives twice.
    Duplicate,
}

/// How likely each fault is, from 0 to 1. At most one of them strikes each call, so those that one call can have
/// should not add up to more than 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// [`Fault::FailBefore`], with one of the errors of a bad network or an overloaded server.
    pub fail_before: f64,
    /// [`Fault::FailAfter`], with a timeout or a lost connection.
    pub fail_after: f64,
    /// [`Fault::Delay`].
    pub delay: f64,
    /// The longest delay.
    pub max_delay: Duration,
    /// [`Fault::Duplicate`].
    pub duplicate: f64,
    /// [`Fault::Redeliver`] before a push, up to eight pushes back.
    pub redeliver: f64,
    /// [`Fault::RetryOps`] of a random half of the operations.
    pub retry_ops: f64,
    /// [`Fault::PageCap`] of one to four rows.
    pub page_cap: f64,
    /// [`Fault::ExpireCursor`].
    pub expire_cursor: f64,
    /// [`PokeFault::Lose`].
    pub lose_poke: f64,
    /// [`PokeFault::Duplicate`].
    pub duplicate_poke: f64,
}

/// The faults of one client's calls. Clones script the same client.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    scripts: BTreeMap<Call, VecDeque<Fault>>,
    pokes: VecDeque<PokeFault>,
    random: Option<(SplitMix, FaultRates)>,
}

impl Faults {
    /// Scripts the fault of the next call of this kind that has none scripted yet.
    pub fn script(&self, call: Call, fault: Fault) {
        self.plan().scripts.entry(call).or_default().push_back(fault);
    }

    /// Scripts what becomes of the next poke that has nothing scripted yet.
    pub fn script_poke(&self, fault: PokeFault) {
        self.plan().pokes.push_back(fault);
    }

    /// Draws faults at random for calls and pokes without a scripted one. Equal seeds give equal draws.
    pub fn randomize(&self, seed: u64, rates: FaultRates) {
        self.plan().random = Some((SplitMix::new(seed), rates));
    }

    /// Ends all faults, scripted ones included.
    pub fn calm(&self) {
        *self.plan() = Plan::default();
    }

    /// How many scripted faults of this call are still to come.
    pub fn scripted(&self, call: Call) -> usize {
        self.plan().scripts.get(&call).map_or(0, VecDeque::len)
    }

    pub(crate) fn next(&self, call: Call) -> Fault {
        let plan = &mut *self.plan();
        if let Some(fault) = plan.scripts.get_mut(&call).and_then(VecDeque::pop_front) {
            return fault;
        }
        plan.random
            .as_mut()
            .map_or(Fault::Pass, |(random, rates)| draw(call, random, rates))
    }

    pub(crate) fn next_poke(&self) -> PokeFault {
        let plan = &mut *self.plan();
        if let Some(fault) = plan.pokes.pop_front() {
            return fault;
        }
        let Some((random, rates)) = &mut plan.random else {
            return PokeFault::Pass;
        };
        let mut dice = Dice(random.next_unit());
        if dice.strikes(rates.lose_poke) {
            PokeFault::Lose
        } else if dice.strikes(rates.duplicate_poke) {
            PokeFault::Duplicate
        } else {
            PokeFault::Pass
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One throw that is held against several likelihoods in turn.
struct Dice(f64);

impl Dice {
    fn strikes(&mut self, likelihood: f64) -> bool {
        let strikes = self.0 >= 0.0 && self.0 < likelihood;
        self.0 -= likelihood;
        strikes
    }
}

fn draw(call: Call, random: &mut SplitMix, rates: &FaultRates) -> Fault {
    const BEFORE: [ErrorKind; 4] = [
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::Server,
        ErrorKind::RateLimited,
    ];
    const AFTER: [ErrorKind; 2] = [ErrorKind::Timeout, ErrorKind::Unreachable];
    let mut dice = Dice(random.next_unit());
    let error = |kind| SyncError::new(kind, "a fault drawn at random");
    if dice.strikes(rates.fail_before) {
        return Fault::FailBefore(error(BEFORE[random.below(BEFORE.len())]));
    }
    if dice.strikes(rates.fail_after) {
        return Fault::FailAfter(error(AFTER[random.below(AFTER.len())]));
    }
    if dice.strikes(rates.delay) {
        return Fault::Delay(rates.max_delay.mul_f64(random.next_unit()));
    }
    if dice.strikes(rates.duplicate) {
        return Fault::Duplicate;
    }
    match call {
        Call::Push if dice.strikes(rates.redeliver) => Fault::Redeliver {
            steps_back: random.below(8),
        },
        Call::Push if dice.strikes(rates.retry_ops) => {
            let half = random.next_u64();
            Fault::RetryOps((0..64).filter(|place| half >> place & 1 == 1).collect())
        }
        Call::Pull if dice.strikes(rates.page_cap) => {
            Fault::PageCap(u32::try_from(1 + random.below(4)).unwrap_or(1))
        }
        Call::Pull if dice.strikes(rates.expire_cursor) => Fault::ExpireCursor,
        _ => Fault::Pass,
    }
}

//! What the store holds in memory of what it keeps: views of records, states of targets, counts.
//!
//! An entry is only used while it is certain that it is what the database would answer. Own commits take out what they
//! are about to change before they commit, and nothing that was read meanwhile is kept. Commits of others are noticed
//! by the database's own counter, which is read for every answer; they take out everything.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sync_core::{ChangeSet, OpCounts, RecordId, RecordKey, Target, TargetState, View};

/// What an entry takes besides its texts, about.
const ENTRY_BYTES: usize = 160;

/// How many changed records of a target are noted before reading all of them again is better.
const MOST_CHANGED: usize = 4_096;

/// The cache of one store.
#[derive(Debug)]
pub(crate) struct Cache {
    state: Mutex<State>,
    /// How many bytes of records may be kept, about.
    most: usize,
}

type Views = HashMap<Target, HashMap<RecordId, Option<View>>>;

#[derive(Debug, Default)]
struct State {
    /// Commits that have begun to write and have not ended yet.
    under_way: u32,
    /// How many commits have ended, whatever became of them.
    ended: u64,
    /// How often everything was taken out.
    cleared: u64,
    /// The database's count of commits by others, as it was when the entries were right.
    others: i64,
    /// Records read lately, and those read before them, which go when the young ones fill their half.
    young: Views,
    old: Views,
    young_bytes: usize,
    targets: HashMap<Target, TargetState>,
    counts: Option<OpCounts>,
    no_open_conflicts: bool,
    /// The targets that somebody follows, and what commits changed of them since.
    followed: HashMap<Target, HashSet<RecordId>>,
}

/// The right to keep what is read after it was given, if nothing changes until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    ended: u64,
    cleared: u64,
}

/// What the cache says.
#[derive(Debug)]
pub(crate) enum Looked<T> {
    Found(T),
    /// Ask the database, and keep the answer if there is a ticket.
    Missing(Option<Ticket>),
}

impl Cache {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            most,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up. `others` is the database's count of commits by others; without it nothing is certain.
    fn look<T>(&self, others: Option<i64>, find: impl FnOnce(&mut State) -> Option<T>) -> Looked<T> {
        let Some(others) = others else {
            return Looked::Missing(None);
        };
        let mut state = self.lock_at(others);
        match find(&mut state) {
            Some(found) => Looked::Found(found),
            None => Looked::Missing(state.ticket()),
        }
    }

    /// The entries that are right with so many commits of others.
    fn lock_at(&self, others: i64) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.others != others {
            state.clear();
            state.others = others;
        }
        state
    }

    /// Keeps what was read since the ticket was given.
    fn keep(&self, ticket: Option<Ticket>, keep: impl FnOnce(&mut State, usize)) {
        let Some(ticket) = ticket else { return };
        let mut state = self.lock();
        if state.under_way == 0 && state.ended == ticket.ended && state.cleared == ticket.cleared {
            keep(&mut state, self.most);
        }
    }

    pub(crate) fn view(&self, others: Option<i64>, key: &RecordKey) -> Looked<Option<View>> {
        self.look(others, |state| state.view(&key.target, &key.id, self.most))
    }

    pub(crate) fn keep_view(&self, ticket: Option<Ticket>, key: &RecordKey, view: &Option<View>) {
        self.keep(ticket, |state, most| {
            state.keep_view(&key.target, &key.id, view.clone(), most);
        });
    }

    pub(crate) fn target(&self, others: Option<i64>, target: &Target) -> Looked<TargetState> {
        self.look(others, |state| state.targets.get(target).cloned())
    }

    pub(crate) fn keep_target(&self, ticket: Option<Ticket>, target: &TargetState) {
        self.keep(ticket, |state, _| {
            state.targets.insert(target.target.clone(), target.clone());
        });
    }

    /// The operations of all scopes, counted.
    pub(crate) fn counts(&self, others: Option<i64>) -> Looked<OpCounts> {
        self.look(others, |state| state.counts.clone())
    }

    pub(crate) fn keep_counts(&self, ticket: Option<Ticket>, counts: &OpCounts) {
        self.keep(ticket, |state, _| state.counts = Some(counts.clone()));
    }

    /// Found if there are no open conflicts.
    pub(crate) fn no_open_conflicts(&self, others: Option<i64>) -> Looked<()> {
        self.look(others, |state| state.no_open_conflicts.then_some(()))
    }

    pub(crate) fn keep_no_open_conflicts(&self, ticket: Option<Ticket>) {
        self.keep(ticket, |state, _| state.no_open_conflicts = true);
    }

    /// Takes out what the change set is about to change. Called before it is committed; [`Cache::end`] follows once
    /// it has ended, whatever became of it.
    pub(crate) fn begin(&self, changes: &ChangeSet) {
        let mut state = self.lock();
        state.under_way += 1;
        state.forget(changes);
        for target in &changes.targets {
            state.targets.remove(&target.target);
        }
        if !(changes.ops.is_empty() && changes.unblock.is_empty()) {
            state.counts = None;
        }
        if !changes.conflicts.is_empty() {
            state.no_open_conflicts = false;
        }
    }

    /// Ends what [`Cache::begin`] began.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.under_way -= 1;
        state.ended += 1;
    }

    /// The number that a commit which is about to be told will have.
    pub(crate) fn next_commit(&self) -> u64 {
        self.lock().ended + 1
    }

    /// The number of the last commit, if none is under way.
    pub(crate) fn settled_commit(&self) -> Option<u64> {
        let state = self.lock();
        (state.under_way == 0).then_some(state.ended)
    }
}

/// For queries.
#[cfg(feature = "rusqlite")]
impl Cache {
    /// Whether it holds records at all.
    pub(crate) fn keeps_views(&self) -> bool {
        self.most > 0
    }

    /// What is known of these records of one target, in their order, and the right to keep what is read of the others.
    pub(crate) fn views<'a>(
        &self,
        others: i64,
        target: &Target,
        ids: impl Iterator<Item = &'a RecordId> + Clone,
    ) -> (Vec<Option<View>>, Option<Ticket>) {
        let mut state = self.lock_at(others);
        let young = state.young.get(target);
        let young = |id| young?.get(id)?.clone();
        let mut views: Vec<_> = ids.clone().map(young).collect();
        if state.old.contains_key(target) {
            for (view, id) in views.iter_mut().zip(ids) {
                if view.is_none() {
                    *view = state.view(target, id, self.most).flatten();
                }
            }
        }
        (views, state.ticket())
    }

    pub(crate) fn keep_views(&self, ticket: Option<Ticket>, target: &Target, views: Vec<(RecordId, View)>) {
        if !views.is_empty() {
            self.keep(ticket, |state, most| {
                for (id, view) in views {
                    state.keep_view(target, &id, Some(view), most);
                }
            });
        }
    }
}

/// For what is held elsewhere and follows the records of a target.
#[cfg(feature = "rusqlite")]
impl Cache {
    /// Notes from now on which records of the target commits are about to change. Returns whether it does: not while
    /// a commit is under way, which may have changed some already.
    pub(crate) fn follow(&self, target: &Target) -> bool {
        let mut state = self.lock();
        let settled = state.under_way == 0;
        if settled {
            state.followed.insert(target.clone(), HashSet::new());
        }
        settled
    }

    /// The records of a followed target that were changed by commits which have all ended; they are not noted any
    /// more. None while a commit is under way.
    pub(crate) fn take_changed(&self, target: &Target) -> HashSet<RecordId> {
        let mut state = self.lock();
        let settled = state.under_way == 0;
        let changed = state.followed.get_mut(target).filter(|_| settled);
        changed.map(std::mem::take).unwrap_or_default()
    }

    /// The noted records of a target. `None` if it is not followed any more, since others committed or too much was
    /// changed; `others` as in [`Cache::view`].
    pub(crate) fn changed(&self, others: Option<i64>, target: &Target) -> Option<HashSet<RecordId>> {
        match self.look(others, |state| state.followed.get(target).cloned()) {
            Looked::Found(changed) => Some(changed),
            Looked::Missing(_) => None,
        }
    }
}

impl State {
    /// The right to keep what is read from now on.
    fn ticket(&self) -> Option<Ticket> {
        (self.under_way == 0).then_some(Ticket {
            ended: self.ended,
            cleared: self.cleared,
        })
    }

    fn view(&mut self, target: &Target, id: &RecordId, most: usize) -> Option<Option<View>> {
        if let Some(view) = self.young.get(target).and_then(|views| views.get(id)) {
            return Some(view.clone());
        }
        let view = self.old.get_mut(target)?.remove(id)?;
        self.keep_view(target, id, view.clone(), most);
        Some(view)
    }

    fn keep_view(&mut self, target: &Target, id: &RecordId, view: Option<View>, most: usize) {
        let content = view.as_ref().map_or(0, |view| view.payload.as_str().len());
        let bytes = ENTRY_BYTES + id.as_str().len() + content;
        if self.young_bytes.saturating_add(bytes) > most / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if bytes > most / 2 {
            return;
        }
        self.young_bytes += bytes;
        match self.young.get_mut(target) {
            Some(views) => {
                views.insert(id.clone(), view);
            }
            None => {
                let views = HashMap::from([(id.clone(), view)]);
                self.young.insert(target.clone(), views);
            }
        }
    }

    fn forget(&mut self, changes: &ChangeSet) {
        if self.young.is_empty() && self.old.is_empty() && self.followed.is_empty() {
            return;
        }
        let written = changes.records.iter().map(|record| &record.key);
        for key in written.chain(&changes.removals) {
            self.forget_records(&key.target, std::iter::once(&key.id));
        }
        for page in &changes.confirmed {
            self.forget_records(&page.target, page.records.iter().map(|record| &record.id));
        }
    }

    fn forget_records<'a>(&mut self, target: &Target, ids: impl Iterator<Item = &'a RecordId> + Clone) {
        for views in [&mut self.young, &mut self.old] {
            if let Some(views) = views.get_mut(target) {
                ids.clone().for_each(|id| drop(views.remove(id)));
            }
        }
        if let Some(changed) = self.followed.get_mut(target) {
            changed.extend(ids.cloned());
            if changed.len() > MOST_CHANGED {
                self.followed.remove(target);
            }
        }
    }

    fn clear(&mut self) {
        *self = Self {
            under_way: self.under_way,
            ended: self.ended,
            cleared: self.cleared + 1,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use sync_core::{CollectionName, Payload, RecordWrite, RemoteState, SyncScope, Timestamp};

    use super::*;

    fn key(id: &str) -> RecordKey {
        let target = Target::new(CollectionName::new("c").unwrap(), SyncScope::new("s").unwrap());
        RecordKey::new(target, RecordId::new(id).unwrap())
    }

    fn view(text: &str) -> Option<View> {
        Some(View {
            payload: Payload::parse(text).unwrap(),
            schema_version: 1,
        })
    }

    fn write(id: &str) -> ChangeSet {
        let mut changes = ChangeSet::at(Timestamp::EPOCH);
        changes.records.push(RecordWrite {
            key: key(id),
            read_revision: 0,
            view: None,
            keeps_view: false,
            schema_version: 1,
            base: RemoteState::Missing,
            pending: 0,
            mark: 0,
        });
        changes
    }

    fn ticket(cache: &Cache, id: &str) -> Option<Ticket> {
        match cache.view(Some(0), &key(id)) {
            Looked::Missing(ticket) => ticket,
            Looked::Found(found) => panic!("{found:?} is still there"),
        }
    }

    fn found(cache: &Cache, others: i64, id: &str) -> Option<Option<View>> {
        match cache.view(Some(others), &key(id)) {
            Looked::Found(view) => Some(view),
            Looked::Missing(_) => None,
        }
    }

    #[test]
    fn what_was_read_before_or_during_a_commit_is_not_kept_after_it() {
        let cache = Cache::new(10_000);
        let before = ticket(&cache, "a");
        cache.begin(&write("a"));
        cache.keep_view(before, &key("a"), &view("{}"));
        assert_eq!(found(&cache, 0, "a"), None);
        let during = ticket(&cache, "a");
        assert!(during.is_none());
        assert_eq!(cache.settled_commit(), None);
        cache.end();
        cache.keep_view(before, &key("a"), &view("{}"));
        assert_eq!(found(&cache, 0, "a"), None, "read before the commit");
        cache.keep_view(ticket(&cache, "a"), &key("a"), &view("{}"));
        assert_eq!(found(&cache, 0, "a"), Some(view("{}")));
        cache.begin(&write("b"));
        cache.end();
        assert_eq!(found(&cache, 0, "a"), Some(view("{}")), "another record");
        cache.begin(&write("a"));
        cache.end();
        assert_eq!(found(&cache, 0, "a"), None);
    }

    #[test]
    fn a_commit_of_others_takes_everything_out() {
        let cache = Cache::new(10_000);
        let early = ticket(&cache, "b");
        cache.keep_view(ticket(&cache, "a"), &key("a"), &None);
        assert_eq!(found(&cache, 0, "a"), Some(None));
        assert_eq!(found(&cache, 1, "a"), None);
        cache.keep_view(early, &key("b"), &view("{}"));
        assert_eq!(found(&cache, 1, "b"), None, "read before it was noticed");
        assert!(matches!(cache.view(None, &key("a")), Looked::Missing(None)));
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new(40 * ENTRY_BYTES);
        for number in 0..1_000 {
            let id = number.to_string();
            cache.keep_view(ticket(&cache, &id), &key(&id), &view("{}"));
            assert!(
                number == 0 || found(&cache, 0, "0").is_some(),
                "0 is used all the time"
            );
        }
        let kept = |views: &Views| views.values().map(HashMap::len).sum::<usize>();
        let state = cache.lock();
        assert!(kept(&state.young) + kept(&state.old) <= 40);
    }
}

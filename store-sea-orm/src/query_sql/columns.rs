//! Queries by the values of fields that an earlier sweep left in memory.
//!
//! A table of columns is what one state of the database says. Before it answers it is brought to the state that the
//! answer is read from: own commits noted what they were about to change ([`Cache::follow`]), and after a commit of
//! others it is dropped. The order of the steps matters: first the state is fixed, then the notes are read, so that no
//! commit which is part of the state is missing from them.
//!
//! [`Cache::follow`]: crate::cache::Cache::follow

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use sync_core::{
    LocalRecord, RecordId, Result, Target,
    query::{ColumnTable, FieldPath, Query, not_marked_deleted},
};

use super::{
    Selection, read_record,
    sweep::{self, Roots},
};
use crate::{driver::direct::DirectTransaction, read::records::HAS_OPS, sql::Param, store::Shared};

/// How many fields a table has at most.
const MOST_FIELDS: usize = 12;

/// Up to how many records an answer is read one by one.
const MOST_FETCHED: usize = 2_000;

/// How many sweeps there are at most before the next one leaves a table.
const MOST_PATIENCE: u32 = 256;

/// How many answers a table must have given to be worth its making.
const WORTH_IT: u32 = 8;

/// The tables of one store.
#[derive(Debug)]
pub(crate) struct Columns {
    places: Mutex<Places>,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Places {
    by_target: HashMap<Target, Listed>,
    /// How often a table was asked for.
    turn: u64,
}

#[derive(Debug, Default)]
struct Listed {
    place: Arc<Mutex<Place>>,
    bytes: usize,
    used: u64,
}

/// What there is of one target.
#[derive(Debug)]
struct Place {
    table: Option<ColumnTable>,
    answered: u32,
    /// How many sweeps are to come before one leaves a table.
    sweeps: u32,
    patience: u32,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            table: None,
            answered: 0,
            // Who asks once need not pay for the second answer.
            sweeps: 1,
            patience: 1,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A table is taken out while it is changed, so that a panic loses it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Columns {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            places: Mutex::default(),
            most_bytes,
        }
    }

    fn place(&self, target: &Target) -> Arc<Mutex<Place>> {
        let mut places = lock(&self.places);
        places.turn += 1;
        let turn = places.turn;
        let listed = places.by_target.entry(target.clone()).or_default();
        listed.used = turn;
        Arc::clone(&listed.place)
    }

    /// Notes what the table of a target takes, and drops those that were not used for longest if that is too much.
    fn weigh(&self, target: &Target, bytes: usize) {
        let mut places = lock(&self.places);
        if let Some(listed) = places.by_target.get_mut(target) {
            listed.bytes = bytes;
        }
        while places
            .by_target
            .values()
            .map(|listed| listed.bytes)
            .sum::<usize>()
            > self.most_bytes
        {
            let others = places.by_target.iter().filter(|(other, _)| *other != target);
            let oldest = others.min_by_key(|(_, listed)| listed.used);
            let Some(oldest) = oldest.map(|(target, _)| target.clone()) else {
                return;
            };
            places.by_target.remove(&oldest);
        }
    }
}

impl Place {
    /// Takes the table out, if it can be brought up to date and answers the query.
    fn take(&mut self, is_followed: bool, query: &Query) -> Option<ColumnTable> {
        if !is_followed && self.table.take().is_some() {
            self.patience = if self.answered < WORTH_IT {
                MOST_PATIENCE.min(self.patience * 2)
            } else {
                1
            };
            self.sweeps = self.patience;
        }
        self.table.take_if(|table| table.answers(query))
    }

    /// The fields of a table that is to be made for a query; `None` if none is.
    fn fields_to_keep(&mut self, query: &Query) -> Option<Vec<FieldPath>> {
        let mut fields: Vec<_> = query.fields().into_iter().cloned().collect();
        if let Some(narrower) = self.table.take() {
            let more = narrower.fields().iter().filter(|path| !fields.contains(path));
            let more: Vec<_> = more
                .take(MOST_FIELDS.saturating_sub(fields.len()))
                .cloned()
                .collect();
            fields.extend(more);
            return Some(fields);
        }
        let waits = self.sweeps > 0;
        self.sweeps = self.sweeps.saturating_sub(1);
        (!waits).then_some(fields)
    }

    fn give_up(&mut self) {
        self.table = None;
        (self.sweeps, self.patience) = (MOST_PATIENCE, MOST_PATIENCE);
    }
}

/// The records that are selected; `None` if they are to be found by a sweep.
pub(super) fn query(
    store: &Shared,
    target: &Target,
    selection: &Selection,
) -> Result<Option<Vec<LocalRecord>>> {
    with_table(store, target, selection, |table, query, transaction| {
        let ids = table.select(query);
        if ids.len() > MOST_FETCHED {
            return Ok(None);
        }
        fetch(transaction, selection.number, &ids).map(Some)
    })
}

/// How many records match the filter; `None` if they are to be counted by a sweep.
pub(super) fn count(store: &Shared, target: &Target, selection: &Selection) -> Result<Option<u64>> {
    with_table(store, target, selection, |table, query, _| {
        Ok(Some(table.count(query)))
    })
}

/// Answers from a table that is as the state which the transaction reads.
fn with_table<T>(
    store: &Shared,
    target: &Target,
    selection: &Selection,
    answer: impl FnOnce(&ColumnTable, &Query, &DirectTransaction) -> Result<Option<T>>,
) -> Result<Option<T>> {
    // Nothing may be taken from the notes for a query that no table can answer: the next one would miss it.
    let fits = |query: &Query| store.columns.most_bytes > 0 && query.fields().len() <= MOST_FIELDS;
    let Some(query) = visible(selection).filter(fits) else {
        return Ok(None);
    };
    let listed = store.columns.place(target);
    let mut place = lock(&listed);
    let settled = store.cache.take_changed(target);
    let Some(transaction) = store.database.fix_state()? else {
        return Ok(None);
    };
    let changed = store
        .cache
        .changed(store.database.wait_for_commits_of_others(), target);
    let known = place.take(changed.is_some(), &query);
    let (transaction, table) = match (known, changed) {
        (Some(mut table), Some(changed)) => {
            let fits = update(&mut table, &transaction, selection.number, settled, changed)?;
            (transaction, Some(table).filter(|_| fits))
        }
        _ => {
            drop(transaction);
            let fields = place.fields_to_keep(&query);
            let Some(fields) = fields.filter(|_| store.cache.follow(target)) else {
                return Ok(None);
            };
            let Some(transaction) = store.database.fix_state()? else {
                return Ok(None);
            };
            place.answered = 0;
            let mut table = ColumnTable::new(fields, store.columns.most_bytes);
            let fits = sweep::fill(&transaction, selection, &mut table)?;
            (transaction, Some(table).filter(|_| fits))
        }
    };
    let Some(table) = table else {
        place.give_up();
        store.columns.weigh(target, 0);
        return Ok(None);
    };
    let answer = answer(&table, &query, &transaction)?;
    place.answered = place.answered.saturating_add(1);
    store.columns.weigh(target, table.bytes());
    place.table = Some(table);
    Ok(answer)
}

/// The query for records that are not marked as deleted; `None` if that makes it too large.
fn visible(selection: &Selection) -> Option<Query> {
    let Some(mark) = &selection.declared.deleted_at else {
        return Some(selection.query.clone());
    };
    let spec = selection.spec.clone();
    Query::new(&spec.filter(not_marked_deleted(mark.as_str()))).ok()
}

/// Brings a table to the state of the transaction. Returns whether it still fits.
fn update(
    table: &mut ColumnTable,
    transaction: &DirectTransaction,
    number: i64,
    settled: HashSet<RecordId>,
    changed: HashSet<RecordId>,
) -> Result<bool> {
    let ids: Vec<RecordId> = settled.union(&changed).cloned().collect();
    let mut gone = vec![true; ids.len()];
    let mut fits = true;
    let text = "SELECT view FROM sync_records WHERE target_id = ? AND id = ? AND view IS NOT NULL";
    let roots = Roots::of(table.fields());
    transaction.rows_each(text, &keys(number, &ids), 2, |place, row| {
        let fields = roots.pick(&ids[place], row.text_ref(0)?)?;
        gone[place] = false;
        fits &= table.put(&ids[place], &fields);
        Ok(())
    })?;
    for (id, _) in ids.iter().zip(gone).filter(|(_, gone)| *gone) {
        table.remove(id);
    }
    Ok(fits)
}

/// The records with these ids, in their order.
fn fetch(transaction: &DirectTransaction, number: i64, ids: &[RecordId]) -> Result<Vec<LocalRecord>> {
    static RECORD: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT r.id, r.schema_version, {HAS_OPS}, r.view FROM sync_records r \
             WHERE r.target_id = ? AND r.id = ?"
        )
    });
    let mut records = Vec::with_capacity(ids.len());
    transaction.rows_each(&RECORD, &keys(number, ids), 2, |_, row| {
        records.push(read_record(row)?);
        Ok(())
    })?;
    Ok(records)
}

fn keys(number: i64, ids: &[RecordId]) -> Vec<Param> {
    ids.iter()
        .flat_map(|id| [number.into(), id.as_str().into()])
        .collect()
}

//! The answer to a query, kept up to date from single changes.

use crate::{
    error::Result,
    id::RecordId,
    query::{Position, Query, QuerySpec, is_marked_deleted},
    record_state::LocalRecord,
};

/// The records that a query selects, as far as its limit.
#[derive(Debug)]
pub(super) struct Window {
    query: Query,
    /// The field that marks records as deleted, which are left out.
    deleted_at: Option<String>,
    limit: Option<usize>,
    /// In the order of the query.
    entries: Vec<Entry>,
    /// Whether there are no more records beyond these.
    is_all: bool,
}

#[derive(Debug)]
struct Entry {
    record: LocalRecord,
    /// Worked out when it is first compared.
    position: Option<Position>,
}

impl Window {
    /// Begins with an answer. `None` if the query is of a kind that is not kept up to date: one that skips records,
    /// or has none.
    pub(super) fn of(
        spec: &QuerySpec,
        deleted_at: Option<&str>,
        answer: &[LocalRecord],
    ) -> Result<Option<Self>> {
        if spec.offset.is_some_and(|offset| offset > 0) || spec.limit == Some(0) {
            return Ok(None);
        }
        let limit = spec.limit.and_then(|limit| usize::try_from(limit).ok());
        let entries = answer.iter().cloned().map(|record| Entry {
            record,
            position: None,
        });
        Ok(Some(Self {
            query: Query::new(spec)?,
            deleted_at: deleted_at.map(str::to_owned),
            limit,
            entries: entries.collect(),
            is_all: limit.is_none_or(|limit| answer.len() < limit),
        }))
    }

    /// The records, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = LocalRecord> {
        self.entries.iter().map(|entry| entry.record.clone())
    }

    /// Whether the records are those that the query selects. They are not if one left and it is unknown which one
    /// comes up from beyond the limit; then the window is of no more use.
    pub(super) fn is_known(&self) -> bool {
        self.is_all || self.limit.is_none_or(|limit| self.entries.len() >= limit)
    }

    /// Takes a record as it is now; returns whether the answer changed. `None` if that cannot be told.
    pub(super) fn apply(&mut self, id: &RecordId, record: Option<&LocalRecord>) -> Option<bool> {
        let old_place = self.entries.iter().position(|entry| entry.record.id == *id);
        if let (Some(place), Some(record)) = (old_place, record)
            && self.entries[place].record == *record
        {
            return Some(false);
        }
        if let Some(place) = old_place {
            self.entries.remove(place);
        }
        let Some(entry) = self.selected(record)? else {
            return Some(old_place.is_some());
        };
        let place = self.place_of(entry.position.as_ref()?)?;
        if place == self.entries.len() && !self.is_all {
            // Others that are not known may come before it. If there is room, the window is no longer known.
            return Some(old_place.is_some());
        }
        self.entries.insert(place, entry);
        if let Some(limit) = self.limit
            && self.entries.len() > limit
        {
            self.entries.truncate(limit);
            self.is_all = false;
        }
        Some(true)
    }

    /// The entry for a record; none inside if the query does not select it. `None` if its content is damaged.
    fn selected(&self, record: Option<&LocalRecord>) -> Option<Option<Entry>> {
        let Some(record) = record else {
            return Some(None);
        };
        let fields = record.payload.to_object().ok()?;
        let mark = self.deleted_at.as_ref().and_then(|field| fields.get(field));
        if is_marked_deleted(mark) || !self.query.matches(&record.id, &fields) {
            return Some(None);
        }
        let position = self.query.position(&record.id, &fields);
        Some(self.query.admits(&position).then(|| Entry {
            record: record.clone(),
            position: Some(position),
        }))
    }

    /// How many entries come before this position.
    fn place_of(&mut self, position: &Position) -> Option<usize> {
        let (mut from, mut to) = (0, self.entries.len());
        while from < to {
            let middle = from.midpoint(to);
            let Entry {
                record,
                position: known,
            } = &mut self.entries[middle];
            if known.is_none() {
                *known = Some(self.query.position(&record.id, &record.payload.to_object().ok()?));
            }
            if self.query.compare(known.as_ref()?, position).is_lt() {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        payload::Payload,
        query::{Filter, OrderBy, evaluate, not_marked_deleted},
    };

    fn record(id: &RecordId, text: &str) -> LocalRecord {
        LocalRecord {
            id: id.clone(),
            payload: Payload::parse(text).unwrap(),
            schema_version: 1,
            pending: false,
        }
    }

    fn fresh(spec: &QuerySpec, records: &BTreeMap<RecordId, LocalRecord>) -> Vec<LocalRecord> {
        let rows = records
            .values()
            .map(|record| (record.id.clone(), record.payload.clone()));
        let visible = spec.clone().filter(not_marked_deleted("gone"));
        let found = evaluate(&visible, rows).unwrap();
        found.into_iter().map(|(id, _)| records[&id].clone()).collect()
    }

    fn spec() -> impl Strategy<Value = QuerySpec> {
        let filter = prop::sample::select(vec![
            None,
            Some(Filter::eq("a", 1)),
            Some(Filter::gt("a", 0).and(Filter::is_not_null("b"))),
        ]);
        let order = prop::sample::select(vec![
            vec![],
            vec![OrderBy::desc("b")],
            vec![OrderBy::asc("a"), OrderBy::desc("b")],
        ]);
        (filter, order, prop::option::of(1_u64..6), any::<bool>()).prop_map(
            |(filter, order_by, limit, later)| {
                let spec = QuerySpec {
                    filter,
                    order_by,
                    limit,
                    ..QuerySpec::default()
                };
                let (id, start) = (
                    RecordId::new("3").unwrap(),
                    Payload::parse(r#"{"a":1,"b":1}"#).unwrap(),
                );
                match later {
                    true => {
                        let keyset = spec.keyset_after(&id, &start).unwrap();
                        spec.after(keyset)
                    }
                    false => spec,
                }
            },
        )
    }

    fn change() -> impl Strategy<Value = (u8, Option<String>)> {
        let value = || prop::sample::select(vec!["0", "1", "2", "null", "\"x\"", "[]"]);
        let gone = prop::bool::weighted(0.1);
        let content =
            (value(), value(), gone).prop_map(|(a, b, gone)| format!(r#"{{"a":{a},"b":{b},"gone":{gone}}}"#));
        (0_u8..9, prop::option::weighted(0.8, content))
    }

    proptest! {
        #[test]
        fn a_kept_answer_is_that_of_the_query_run_anew(
            spec in spec(),
            before in prop::collection::vec(change(), 0..12),
            commits in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..30),
        ) {
            let mut records = BTreeMap::new();
            let put = |records: &mut BTreeMap<_, _>, number: u8, text: Option<String>| {
                let id = RecordId::new(number.to_string()).unwrap();
                let now = text.map(|text| record(&id, &text));
                match &now {
                    Some(now) => drop(records.insert(id.clone(), now.clone())),
                    None => drop(records.remove(&id)),
                }
                (id, now)
            };
            for (number, text) in before {
                put(&mut records, number, text);
            }
            let begin = |records: &BTreeMap<_, _>| {
                Window::of(&spec, Some("gone"), &fresh(&spec, records)).unwrap().unwrap()
            };
            let mut window = begin(&records);
            for commit in commits {
                let shown = fresh(&spec, &records);
                let mut changed = false;
                for (number, text) in commit {
                    let (id, now) = put(&mut records, number, text);
                    changed |= window.apply(&id, now.as_ref()).unwrap();
                }
                let expected = fresh(&spec, &records);
                if window.is_known() {
                    prop_assert_eq!(window.records().collect::<Vec<_>>(), expected.clone());
                    prop_assert!(changed || shown == expected);
                } else {
                    prop_assert!(spec.limit.is_some(), "only a full window may have to ask");
                    window = begin(&records);
                }
            }
        }
    }

    #[test]
    fn a_full_window_asks_only_when_one_leaves_it() {
        let spec = QuerySpec::new().order_by(OrderBy::desc("n")).limit(2);
        let id = |number: u32| RecordId::new(number.to_string()).unwrap();
        let at = |number: u32, n: u32| record(&id(number), &format!(r#"{{"n":{n}}}"#));
        let mut window = Window::of(&spec, None, &[at(1, 9), at(2, 8)]).unwrap().unwrap();
        assert_eq!(
            window.apply(&id(3), Some(&at(3, 1))),
            Some(false),
            "below the limit"
        );
        assert_eq!(window.apply(&id(4), Some(&at(4, 10))), Some(true));
        assert_eq!(window.apply(&id(1), Some(&at(1, 11))), Some(true), "moves within");
        assert!(window.is_known());
        assert_eq!(
            window.records().map(|record| record.id).collect::<Vec<_>>(),
            [id(1), id(4)]
        );
        assert_eq!(window.apply(&id(4), None), Some(true));
        assert!(!window.is_known(), "2 comes up, which is not known any more");
    }
}

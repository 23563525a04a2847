//! How a query on SQLite is gone about.

use sync_core::query::{Comparison, FieldPath, Filter, FilterValue, QuerySpec};

use crate::schema::indexes::{Declared, IndexField};

/// How many records an answer has at most that is worked out in the calling task.
const QUICK_RECORDS: u64 = 100;

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// SQL, with an index that delivers just the records of the answer, in its order.
    Exact,
    /// SQL, with an index that leaves a part of the records.
    Narrowed,
    /// No index helps: all records of the target are looked at, which the reference evaluator does faster than
    /// SQLite's JSON functions.
    Sweep,
}

impl Plan {
    pub(super) fn of(spec: &QuerySpec, declared: &Declared) -> Self {
        let mut parts = Vec::new();
        if let Some(filter) = &spec.filter {
            conjuncts(filter, &mut parts);
        }
        let is_id = |name: &str| FieldPath::new(name).is_ok_and(|path| path.is_id());
        if parts.iter().any(|(field, part)| is_id(field) && narrows(part)) {
            return Self::Narrowed;
        }
        let by_id = spec.order_by.first().is_none_or(|by| is_id(&by.field));
        if spec.filter.is_none() && by_id {
            return Self::Narrowed;
        }
        let plans = declared
            .indexes
            .iter()
            .map(|index| with_index(index, spec, &parts, declared));
        plans.min_by_key(|plan| *plan as u8).unwrap_or(Self::Sweep)
    }
}

/// Whether an answer takes no longer than reading as many records as it has, which are few.
pub(crate) fn is_quick(spec: &QuerySpec, declared: &Declared) -> bool {
    let records = spec
        .limit
        .map(|limit| limit.saturating_add(spec.offset.unwrap_or(0)));
    records.is_some_and(|records| records <= QUICK_RECORDS)
        && spec.after.is_none()
        && Plan::of(spec, declared) == Plan::Exact
}

fn with_index(
    index: &[IndexField],
    spec: &QuerySpec,
    parts: &[(&str, Option<&Comparison>)],
    declared: &Declared,
) -> Plan {
    let equal = |path: &FieldPath| {
        let compared = |(field, part): &&(&str, Option<&Comparison>)| {
            *field == path.as_str()
                && matches!(part, Some(Comparison::Eq(value)) if *value != FilterValue::Null)
        };
        parts.iter().filter(compared).count()
    };
    let prefix: Vec<usize> = index
        .iter()
        .map(|(path, _)| equal(path))
        .take_while(|count| *count > 0)
        .collect();
    let Some((first, _)) = index.first() else {
        return Plan::Sweep;
    };
    if prefix.is_empty() {
        let narrowed = parts
            .iter()
            .any(|(field, part)| *field == first.as_str() && narrows(part));
        return if narrowed { Plan::Narrowed } else { Plan::Sweep };
    }
    let rest = &index[prefix.len()..];
    let ordered = spec.order_by.len() <= rest.len()
        && spec
            .order_by
            .iter()
            .zip(rest)
            .all(|(by, (path, descending))| by.field == path.as_str() && by.descending == *descending)
        // The id follows the last field of the index.
        && spec.order_by.len() == rest.len();
    let all_parts = prefix.iter().sum::<usize>() == parts.len();
    if ordered && all_parts && declared.deleted_at.is_none() {
        Plan::Exact
    } else {
        Plan::Narrowed
    }
}

/// The parts that all must hold; a part that is no comparison of one field has none.
fn conjuncts<'a>(filter: &'a Filter, parts: &mut Vec<(&'a str, Option<&'a Comparison>)>) {
    match filter {
        Filter::Compare { field, comparison } => parts.push((field, Some(comparison))),
        Filter::And(all) => all.iter().for_each(|part| conjuncts(part, parts)),
        Filter::Or(_) | Filter::Not(_) => parts.push(("", None)),
    }
}

/// Whether an index on the field leaves out records that the comparison does not select.
fn narrows(part: &Option<&Comparison>) -> bool {
    match part {
        Some(
            Comparison::Eq(value)
            | Comparison::Gt(value)
            | Comparison::Gte(value)
            | Comparison::Lt(value)
            | Comparison::Lte(value),
        ) => *value != FilterValue::Null,
        Some(Comparison::StartsWith(_)) => true,
        Some(Comparison::InList(values)) => !values.contains(&FilterValue::Null),
        _ => false,
    }
}

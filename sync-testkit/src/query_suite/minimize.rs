//! Making a mismatch smaller.

use sync_core::query::{Filter, QuerySpec};

use super::{Dataset, Trial, filled, mismatch};
use crate::{case::Verdict, local_suite::LocalFixture};

/// The smallest data set and query found that the store still answers wrongly.
pub(super) async fn minimize(
    fixture: &dyn LocalFixture,
    trial: &Trial,
    spec: &QuerySpec,
) -> Verdict<(Dataset, QuerySpec)> {
    let (mut dataset, mut spec) = (trial.dataset.clone(), spec.clone());
    loop {
        let smaller_queries = smaller_specs(&spec)
            .into_iter()
            .map(|spec| (dataset.clone(), spec));
        let smaller_datasets = (0..dataset.len()).map(|left_out| {
            let mut fewer = dataset.clone();
            fewer.remove(left_out);
            (fewer, spec.clone())
        });
        let candidates: Vec<(Dataset, QuerySpec)> = smaller_queries.chain(smaller_datasets).collect();
        let mut found = None;
        for (fewer, smaller) in candidates {
            let store = filled(fixture, &fewer, &trial.indexes).await?;
            if smaller.validate().is_ok() && mismatch(&*store, &fewer, &smaller).await?.is_some() {
                found = Some((fewer, smaller));
                break;
            }
        }
        match found {
            Some(smaller) => (dataset, spec) = smaller,
            None => return Ok((dataset, spec)),
        }
    }
}

/// The query with one part left out, in each way.
fn smaller_specs(spec: &QuerySpec) -> Vec<QuerySpec> {
    let mut smaller = Vec::new();
    if let Some(filter) = &spec.filter {
        smaller.push(QuerySpec {
            filter: None,
            ..spec.clone()
        });
        smaller.extend(smaller_filters(filter).into_iter().map(|part| QuerySpec {
            filter: Some(part),
            ..spec.clone()
        }));
    }
    if spec.after.is_some() {
        smaller.push(QuerySpec {
            after: None,
            ..spec.clone()
        });
    } else {
        // A position belongs to its order, so the order stays while there is one.
        smaller.extend((0..spec.order_by.len()).map(|left_out| {
            let mut fewer = spec.clone();
            fewer.order_by.remove(left_out);
            fewer
        }));
    }
    if spec.limit.is_some() {
        smaller.push(QuerySpec {
            limit: None,
            ..spec.clone()
        });
    }
    if spec.offset.is_some() {
        smaller.push(QuerySpec {
            offset: None,
            ..spec.clone()
        });
    }
    smaller
}

fn smaller_filters(filter: &Filter) -> Vec<Filter> {
    match filter {
        Filter::Compare { .. } => Vec::new(),
        Filter::Not(part) => {
            let inside = smaller_filters(part)
                .into_iter()
                .map(|part| Filter::Not(Box::new(part)));
            std::iter::once((**part).clone()).chain(inside).collect()
        }
        Filter::And(parts) => smaller_lists(parts, Filter::And),
        Filter::Or(parts) => smaller_lists(parts, Filter::Or),
    }
}

fn smaller_lists(parts: &[Filter], joined: fn(Vec<Filter>) -> Filter) -> Vec<Filter> {
    let mut smaller: Vec<Filter> = parts.to_vec();
    for (index, part) in parts.iter().enumerate() {
        let mut fewer = parts.to_vec();
        fewer.remove(index);
        smaller.push(joined(fewer));
        smaller.extend(smaller_filters(part).into_iter().map(|inside| {
            let mut changed = parts.to_vec();
            changed[index] = inside;
            joined(changed)
        }));
    }
    smaller
}

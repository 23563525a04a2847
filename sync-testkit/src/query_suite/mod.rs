//! The property suite of queries: a store answers every query as the reference evaluator does.
//!
//! Data sets and queries are made from a seed, and are full of what databases disagree about: nulls and missing
//! fields, mixed types, numbers around 2^53 and 2^63, wildcards in texts, paths into arrays. A mismatch is made
//! smaller before it is reported: records and parts of the query are left out as long as the answers differ.

mod generate;
mod minimize;

use std::sync::Arc;

use rand::{SeedableRng, rngs::SmallRng};
use sync_core::{
    ChangeSet, CollectionSchema, LocalStore, Payload, RecordId, Target,
    query::{QuerySpec, count, evaluate},
};

use self::{generate::Trial, minimize::minimize};
use crate::{
    case::{Stop, Verdict, judge, shortened},
    local_suite::LocalFixture,
    report::Report,
    sample::{at, commit, id, live, page, target},
};

/// The records of one trial: their ids and JSON texts.
type Dataset = Vec<(String, String)>;

/// Compares the answers of fresh stores with the reference evaluator on `cases` data sets, with several queries
/// each. Each data set is one case of the report; its name tells the seed, so `run(fixture, seed, 1)` with that
/// seed repeats it alone.
///
/// # Cancel safety
/// Dropping the future ends the run.
pub async fn run(fixture: &dyn LocalFixture, seed: u64, cases: u32) -> Report {
    let (timer, deadline) = (fixture.timer(), fixture.deadline());
    let mut results = Vec::new();
    for seed in (seed..).take(cases as usize) {
        let name = format!("queries of seed {seed} are answered as the reference evaluator does");
        let trial = agrees_with_reference(fixture, seed);
        results.push(judge(&name, "P15", trial, &*timer, deadline).await);
    }
    let name = fixture.fresh().await.info().name;
    Report::new(format!("queries of local store `{name}`"), results)
}

async fn agrees_with_reference(fixture: &dyn LocalFixture, seed: u64) -> Verdict {
    let trial = Trial::generate(&mut SmallRng::seed_from_u64(seed));
    let store = filled(fixture, &trial.dataset, &trial.indexes).await?;
    for spec in &trial.specs {
        if mismatch(&*store, &trial.dataset, spec).await?.is_none() {
            continue;
        }
        let (dataset, spec) = minimize(fixture, &trial, spec).await?;
        let store = filled(fixture, &dataset, &trial.indexes).await?;
        let difference = mismatch(&*store, &dataset, &spec).await?;
        let difference = difference.unwrap_or_else(|| "it does not happen again on a fresh store".to_owned());
        let query = serde_json::to_string(&spec).unwrap_or_else(|_| format!("{spec:?}"));
        return Err(Stop::failed(format!(
            "seed {seed}: the query {query} on {dataset:?} with indexes {:?}: {difference}",
            trial.indexes
        )));
    }
    Ok(())
}

fn things() -> Target {
    target("things", "query")
}

/// A fresh store with the records, half of them written before the indexes are registered.
async fn filled(
    fixture: &dyn LocalFixture,
    dataset: &[(String, String)],
    indexes: &[String],
) -> Verdict<Arc<dyn LocalStore>> {
    let store = fixture.fresh().await;
    let plain = CollectionSchema::untyped("things", "id")?;
    let indexed = indexes
        .iter()
        .fold(plain.clone(), |schema, field| schema.with_index(field.as_str()));
    let (before, after) = dataset.split_at(dataset.len() / 2);
    for (schema, part) in [(plain, before), (indexed, after)] {
        store.register(&[schema]).await?;
        let rows = part.iter().map(|(name, text)| (id(name), live(text, 1)));
        let confirmed = vec![page(&things(), 0, rows)];
        commit(
            &*store,
            ChangeSet {
                confirmed,
                ..ChangeSet::at(at(1))
            },
        )
        .await?;
    }
    Ok(store)
}

fn rows(dataset: &[(String, String)]) -> impl Iterator<Item = (RecordId, Payload)> {
    dataset
        .iter()
        .map(|(name, text)| (id(name), crate::sample::payload(text)))
}

/// How the store's answer differs from the reference, if it does.
async fn mismatch(
    store: &dyn LocalStore,
    dataset: &[(String, String)],
    spec: &QuerySpec,
) -> Verdict<Option<String>> {
    let expected: Vec<String> = evaluate(spec, rows(dataset))?
        .into_iter()
        .map(|(id, _)| id.to_string())
        .collect();
    let found = match store.query(&things(), spec).await {
        Ok(found) => found,
        Err(error) => return Ok(Some(format!("expected {expected:?}, got the error {error}"))),
    };
    for record in &found {
        let stored = dataset.iter().find(|(name, _)| name == record.id.as_str());
        if stored.is_none_or(|(_, text)| text != record.payload.as_str()) {
            return Ok(Some(format!(
                "the answer has the unknown content {}",
                shortened(record)
            )));
        }
    }
    let found: Vec<String> = found.into_iter().map(|record| record.id.to_string()).collect();
    if found != expected {
        return Ok(Some(format!("expected {expected:?}, got {found:?}")));
    }
    let expected = count(spec, rows(dataset))?;
    Ok(match store.count(&things(), spec.filter.as_ref()).await {
        Ok(counted) if counted == expected => None,
        other => Some(format!("expected a count of {expected}, got {other:?}")),
    })
}

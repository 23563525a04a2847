//! The loss experiment: what cursors of common kinds lose under concurrent writers, and that the feed loses nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::{caller::Replica, project::Project};

on_each_server!(the_feed_loses_nothing_where_a_time_cursor_loses_rows);

const WRITERS: u64 = 8;
const ROUNDS: u32 = 45;

/// A writer whose transactions take up to some 100 milliseconds, move and delete rows and are sometimes rolled back.
async fn write(project: &Project, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let mut transaction = project.owner.begin().await.unwrap();
        let title = format!("{seed}-{round}");
        let insert = "insert into public.todo (scope, title) select $1, $2 from generate_series(1, $3)";
        // Scopes of their own for most writers, so that long transactions really overlap.
        let scope = format!("w{}", seed % 4);
        sqlx::query(insert)
            .bind(&scope)
            .bind(&title)
            .bind(random.random_range(1..4_i32))
            .execute(&mut *transaction)
            .await
            .unwrap();
        let earlier = format!("{seed}-{}", round / 2);
        let more = match random.random_range(0..4) {
            0 => "delete from public.todo where title = $1 and scope = $2",
            1 => "update public.todo set done = not done where title = $1 and scope = $2",
            _ => "update public.todo set amount = 1 where title = $1 and scope = $2 and false",
        };
        sqlx::query(more)
            .bind(&earlier)
            .bind(&scope)
            .execute(&mut *transaction)
            .await
            .unwrap();
        if random.random_bool(0.15) {
            // Time passes inside the transaction: this is what is tested, not a wait for something.
            tokio::time::sleep(Duration::from_millis(random.random_range(20..120))).await;
        }
        if random.random_bool(0.1) {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
        if random.random_bool(0.1) {
            let other = format!("w{}", (seed + 1) % 4);
            let moved = sqlx::query("update public.todo set scope = $2 where title = $1")
                .bind(&title)
                .bind(other);
            // Two moves can deadlock; then one is not made.
            let _ = moved.execute(&project.owner).await;
        }
    }
}

/// The naive double: keyset over `(updated_at, id)`, as every client-side answer does it.
async fn poll_by_time(project: &Project, done: &AtomicBool) -> BTreeMap<String, Value> {
    let mut held = BTreeMap::new();
    let (mut at, mut after) = (
        "-infinity".to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
    );
    loop {
        let last = done.load(Ordering::SeqCst);
        let sql = "select coalesce(json_agg(p), '[]') from (
            select id, updated_at::text as at, to_jsonb(t) as row from public.todo t
            where (updated_at, id) > ($1::timestamptz, $2::uuid) order by updated_at, id limit 200) p";
        let page: Value = sqlx::query_scalar(sql)
            .bind(&at)
            .bind(&after)
            .fetch_one(&project.owner)
            .await
            .unwrap();
        for row in page.as_array().unwrap() {
            (at, after) = (
                row["at"].as_str().unwrap().to_owned(),
                row["id"].as_str().unwrap().to_owned(),
            );
            held.insert(after.clone(), row["row"].clone());
        }
        if page.as_array().unwrap().is_empty() && last {
            return held;
        }
    }
}

async fn poll_the_feed(project: &Project, done: &AtomicBool) -> Vec<Replica> {
    let mut replicas: Vec<_> = (0..4).map(|_| Replica::default()).collect();
    loop {
        let last = done.load(Ordering::SeqCst);
        for (place, replica) in replicas.iter_mut().enumerate() {
            replica.sync(&project.ada(), &format!("w{place}")).await;
        }
        if last {
            return replicas;
        }
    }
}

async fn the_feed_loses_nothing_where_a_time_cursor_loses_rows(project: &Project) {
    project
        .run(&format!(
            "insert into sync.member select 'w' || n, '{}' from generate_series(0, 3) n",
            super::project::ADA
        ))
        .await;
    // As most projects have it: the time of the transaction's beginning.
    project
        .run(
            "create or replace function public.touch() returns trigger language plpgsql as
             $$ begin new.updated_at := now(); return new; end $$",
        )
        .await;
    let done = AtomicBool::new(false);
    let writing = async {
        futures::future::join_all((0..WRITERS).map(|seed| write(project, seed))).await;
        done.store(true, Ordering::SeqCst);
    };
    let ((), by_time, by_feed) = tokio::join!(
        writing,
        poll_by_time(project, &done),
        poll_the_feed(project, &done)
    );

    let rows: Value = project
        .value("select json_object_agg(id, to_jsonb(t)) from public.todo t")
        .await;
    let rows = rows.as_object().unwrap();
    let lost = rows.keys().filter(|id| !by_time.contains_key(*id)).count();
    let undead = by_time.keys().filter(|id| !rows.contains_key(*id)).count();
    println!(
        "PostgreSQL {}: of {} rows the time cursor lost {lost} and kept {undead} deleted ones",
        project.version,
        rows.len()
    );
    assert!(
        lost > 0,
        "the double loses rows, or this experiment shows nothing"
    );
    for (place, replica) in by_feed.iter().enumerate() {
        let scope = format!("w{place}");
        let expected: BTreeMap<_, _> = (rows.iter())
            .filter(|(_, row)| row["scope"] == json!(scope))
            .map(|(id, row)| (id.clone(), (row["title"].clone(), row["done"].clone())))
            .collect();
        let held: BTreeMap<_, _> = (replica.rows.iter())
            .map(|(id, row)| (id.clone(), (row["title"].clone(), row["done"].clone())))
            .collect();
        assert_eq!(held, expected, "scope {scope}");
    }
}

//! Searches, compared with the evaluator that defines what a query means.

mod generate;
mod samples;

use supabase_stack::PostgresVersion;
use sync_core::{
    ErrorKind, RemoteStore,
    query::{Filter, FilterValue, OrderBy, QuerySpec},
};

use generate::Random;
use samples::Samples;

on_each_postgres!(
    random_queries_have_the_answers_of_the_reference_evaluator,
    edges_have_the_answers_of_the_reference_evaluator,
    the_first_few_of_many_are_asked_for_and_not_all,
    a_query_that_the_database_cannot_narrow_down_is_refused_by_name_when_too_much_is_left,
);

async fn random_queries_have_the_answers_of_the_reference_evaluator(postgres: PostgresVersion) {
    const QUERIES: usize = 50;
    let seeds = match postgres {
        PostgresVersion::V15 => 1..=3,
        PostgresVersion::V17 => 4..=6,
    };
    for seed in seeds {
        let mut random = Random::new(seed);
        let Some(samples) = Samples::start(postgres, &random.rows(120)).await else {
            return;
        };
        samples.project.stack.forget_requests();
        for number in 0..QUERIES {
            let spec = random.query();
            samples
                .ensure_same(&spec, &format!("seed {seed}, query {number}"))
                .await;
        }
        let requests = samples.project.stack.requests();
        let narrowed = requests
            .iter()
            .filter(|request| request.path.contains("&and="))
            .count();
        assert!(
            narrowed > QUERIES / 4,
            "{narrowed} requests of {QUERIES} queries had a filter"
        );
        samples.stop().await;
    }
}

async fn edges_have_the_answers_of_the_reference_evaluator(postgres: PostgresVersion) {
    let Some(samples) = Samples::start(postgres, &Random::new(99).rows(60)).await else {
        return;
    };
    let id = FilterValue::from(samples.ids()[7].as_str());
    for filter in [
        Filter::eq("title", r#"a,b.c:(d)"e\f"#),
        Filter::in_list("title", ["", r#"a,b.c:(d)"e\f"#, "100%", "null"]),
        !Filter::in_list("title", [FilterValue::Null, "tea".into()]),
        Filter::in_list("n", [FilterValue::Null, 1.into(), 1.5.into(), "1".into()]),
        Filter::neq("n", 1),
        !Filter::starts_with("title", "t"),
        !Filter::gt("rate", 0.5),
        Filter::like("title", r"100\%"),
        Filter::like("title", "1_0%"),
        Filter::like("title", "%*%"),
        !Filter::like("title", "%*%"),
        Filter::like("title", r"%\\%"),
        Filter::starts_with("title", "a_"),
        Filter::starts_with("title", ""),
        Filter::contains("title", "\u{1F980}"),
        Filter::contains("title", "a\0"),
        Filter::contains("tags", r#"a,"b"}"#),
        Filter::contains("tags", FilterValue::Null),
        Filter::eq("n", i64::MAX),
        Filter::gt("n", 9.3e18),
        Filter::gte("n", -9.3e18),
        Filter::eq("n", 9_007_199_254_740_993_i64),
        Filter::eq("rate", 9_007_199_254_740_993_i64),
        Filter::eq("rate", 0.1),
        Filter::eq("price", 0.1),
        Filter::neq("price", 0.1),
        Filter::gt("done", false),
        Filter::lte("done", false),
        Filter::gte("due", "2026-01-01T00:00:00+00:00"),
        Filter::gte("due", "2026-01-01T00:00:00Z"),
        Filter::eq("data.kind", "a"),
        Filter::eq("data.kind", 5),
        Filter::is_null("data.kind"),
        Filter::eq("data", "a"),
        Filter::eq("$id", id.clone()),
        Filter::neq("id", id.clone()),
        Filter::gt("$id", id),
        Filter::eq("unknown", 1),
        Filter::is_null("unknown"),
        Filter::And(Vec::new()),
        Filter::Or(Vec::new()),
    ] {
        for (offset, limit) in [(None, None), (Some(1), Some(3))] {
            let spec = QuerySpec {
                offset,
                limit,
                order_by: vec![OrderBy::desc("n")],
                ..QuerySpec::new().filter(filter.clone())
            };
            samples.ensure_same(&spec, "edge").await;
        }
    }
    samples.stop().await;
}

async fn the_first_few_of_many_are_asked_for_and_not_all(postgres: PostgresVersion) {
    let Some(samples) = Samples::start(postgres, &Random::new(5).rows(50)).await else {
        return;
    };
    let spec = QuerySpec::new()
        .filter(Filter::is_not_null("n"))
        .order_by(OrderBy::asc("n"))
        .limit(3);
    samples.project.stack.forget_requests();
    let found = samples.remote.search(&samples.target(), &spec).await.unwrap();
    assert_eq!(found.hits.len(), 3);
    let requests = samples.project.stack.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].path.contains("limit=3"), "{}", requests[0].path);
    samples.ensure_same(&spec, "the first few").await;
    samples.stop().await;
}

async fn a_query_that_the_database_cannot_narrow_down_is_refused_by_name_when_too_much_is_left(
    postgres: PostgresVersion,
) {
    let Some(samples) = Samples::start(postgres, &[]).await else {
        return;
    };
    samples
        .project
        .sql(
            "insert into public.samples (id, owner, title, n)
             select gen_random_uuid(), 'ada', 'row ' || n, n from generate_series(1, 10001) n",
        )
        .await;
    let refused = |spec: QuerySpec| {
        let samples = &samples;
        async move { samples.remote.search(&samples.target(), &spec).await.unwrap_err() }
    };
    let error = refused(QuerySpec::new().filter(Filter::gt("title", "row 5"))).await;
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Unsupported, Some("title"))
    );
    assert!(error.message().contains("operator gt"), "{error}");
    let error = refused(QuerySpec::new().order_by(OrderBy::asc("title")).limit(2)).await;
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Unsupported, Some("title"))
    );
    let narrow = Filter::gt("title", "row 5").and(Filter::lte("n", 20));
    let found = samples
        .remote
        .search(&samples.target(), &QuerySpec::new().filter(narrow))
        .await
        .unwrap();
    // "row 6" to "row 9": the others begin with a smaller digit.
    assert_eq!(found.hits.len(), 4);
    samples.stop().await;
}

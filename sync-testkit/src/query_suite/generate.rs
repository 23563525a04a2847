//! Data sets and queries from a seed.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use sync_core::query::{Comparison, Filter, FilterValue, OrderBy, QuerySpec, evaluate};

use super::{Dataset, rows};

/// One data set with queries on it.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) dataset: Dataset,
    pub(super) indexes: Vec<String>,
    pub(super) specs: Vec<QuerySpec>,
}

const SPECS: usize = 12;

/// Fields that records have, and some that lead nowhere in most of them.
const FIELDS: [&str; 12] = [
    "a",
    "b",
    "c",
    "n.x",
    "n.x.y",
    "list",
    "list.0",
    "A",
    "it's",
    "with space",
    "\u{1F980}",
    "nowhere",
];

const TEXTS: [&str; 26] = [
    "",
    " ",
    "a",
    "A",
    "ab",
    "b",
    "a%",
    "a_",
    "%",
    "_",
    "\\",
    "a\\b",
    "100%",
    "'",
    "\"",
    "\u{e9}",
    "e\u{301}",
    "\u{c9}",
    "\u{df}",
    "\u{1F980}",
    "\u{FFFF}",
    "1",
    "1.0",
    "true",
    "null",
    "a\u{0}b",
];

const INTEGERS: [i64; 17] = [
    0,
    1,
    -1,
    2,
    10,
    255,
    (1 << 53) - 1,
    1 << 53,
    (1 << 53) + 1,
    -(1 << 53),
    -(1 << 53) - 1,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    i64::MIN + 1,
    1 << 62,
    1_700_000_000_000_000,
];

const FLOATS: [f64; 16] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    1.5,
    -1.5,
    0.1,
    5e-324,
    1e308,
    -1e308,
    9_007_199_254_740_992.0,
    9_007_199_254_740_994.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    9_223_372_036_854_774_784.0,
    1.844_674_407_370_955_2e19,
];

/// Numbers in JSON whose text is not what a float prints.
const RAW_NUMBERS: [&str; 9] = [
    "1.0",
    "1e0",
    "10E-1",
    "-0",
    "-0.0",
    "9007199254740993",
    "18446744073709551615",
    "0.10000000000000000555",
    "9223372036854775808",
];

impl Trial {
    pub(super) fn generate(random: &mut SmallRng) -> Self {
        let records = random.random_range(0..24);
        let mut dataset: Dataset = Vec::new();
        while dataset.len() < records {
            let name = record_id(random);
            if dataset.iter().all(|(taken, _)| *taken != name) {
                dataset.push((name, object(random)));
            }
        }
        let indexes = FIELDS
            .iter()
            .filter(|_| random.random_bool(0.2))
            .map(|field| (*field).to_owned())
            .collect();
        let specs = (0..SPECS).map(|_| spec(random, &dataset)).collect();
        Self {
            dataset,
            indexes,
            specs,
        }
    }
}

fn pick<T: Copy>(random: &mut SmallRng, from: &[T]) -> T {
    *from.choose(random).expect("the lists of samples are not empty")
}

fn record_id(random: &mut SmallRng) -> String {
    let text = pick(random, &TEXTS[2..21]);
    format!("{text}{}", random.random_range(0..6))
}

fn object(random: &mut SmallRng) -> String {
    let mut fields = Vec::new();
    for name in ["a", "b", "c", "A", "it's", "with space", "\u{1F980}", "n", "list"] {
        // A field that is missing differs from one that is null in the text, and in nothing else.
        if random.random_bool(0.3) {
            continue;
        }
        let value = match name {
            "n" => nested(random),
            "list" => list(random),
            _ => value(random),
        };
        fields.push(format!("{}:{value}", quoted(name)));
    }
    if random.random_bool(0.3) {
        fields.reverse();
    }
    format!("{{{}}}", fields.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn value(random: &mut SmallRng) -> String {
    match random.random_range(0..12) {
        0 => "null".to_owned(),
        1 => random.random_bool(0.5).to_string(),
        2..=3 => pick(random, &INTEGERS).to_string(),
        4 => serde_json::Value::from(pick(random, &FLOATS)).to_string(),
        5 => pick(random, &RAW_NUMBERS).to_owned(),
        6..=9 => quoted(pick(random, &TEXTS)),
        10 => list(random),
        _ => nested(random),
    }
}

fn nested(random: &mut SmallRng) -> String {
    match random.random_range(0..6) {
        0 => "{}".to_owned(),
        1 => r#"{"x":{"y":1}}"#.to_owned(),
        2 => quoted("not an object"),
        _ => format!(r#"{{"x":{}}}"#, scalar(random)),
    }
}

fn list(random: &mut SmallRng) -> String {
    if random.random_bool(0.15) {
        return quoted(pick(random, &TEXTS));
    }
    let elements: Vec<String> = (0..random.random_range(0..4))
        .map(|_| {
            if random.random_bool(0.15) {
                "[1]".to_owned()
            } else {
                scalar(random)
            }
        })
        .collect();
    format!("[{}]", elements.join(","))
}

fn scalar(random: &mut SmallRng) -> String {
    match random.random_range(0..6) {
        0 => "null".to_owned(),
        1 => random.random_bool(0.5).to_string(),
        2 => pick(random, &INTEGERS).to_string(),
        3 => pick(random, &RAW_NUMBERS).to_owned(),
        _ => quoted(pick(random, &TEXTS)),
    }
}

fn operand(random: &mut SmallRng) -> FilterValue {
    match random.random_range(0..10) {
        0 => FilterValue::Null,
        1 => random.random_bool(0.5).into(),
        2..=4 => pick(random, &INTEGERS).into(),
        5 => pick(random, &FLOATS).into(),
        _ => pick(random, &TEXTS).into(),
    }
}

fn comparison(random: &mut SmallRng) -> Comparison {
    match random.random_range(0..12) {
        0 => Comparison::Eq(operand(random)),
        1 => Comparison::Neq(operand(random)),
        2 => Comparison::Gt(operand(random)),
        3 => Comparison::Gte(operand(random)),
        4 => Comparison::Lt(operand(random)),
        5 => Comparison::Lte(operand(random)),
        6 => Comparison::Like(pattern(random)),
        7 => Comparison::Contains(operand(random)),
        8 => Comparison::StartsWith(pick(random, &TEXTS).to_owned()),
        9 => Comparison::IsNull,
        10 => Comparison::IsNotNull,
        _ => Comparison::InList((0..random.random_range(0..4)).map(|_| operand(random)).collect()),
    }
}

fn pattern(random: &mut SmallRng) -> String {
    let parts = [
        "%",
        "_",
        "a",
        "A",
        "b",
        "\\%",
        "\\_",
        "\\\\",
        "\u{1F980}",
        "1",
        "'",
        "\u{e9}",
    ];
    (0..random.random_range(0..5))
        .map(|_| pick(random, &parts))
        .collect()
}

fn field(random: &mut SmallRng) -> &'static str {
    if random.random_bool(0.1) {
        "$id"
    } else {
        pick(random, &FIELDS)
    }
}

fn filter(random: &mut SmallRng, depth: u32) -> Filter {
    match random.random_range(0..10) {
        0 if depth > 0 => Filter::And(filters(random, depth)),
        1 if depth > 0 => Filter::Or(filters(random, depth)),
        2 if depth > 0 => Filter::Not(Box::new(filter(random, depth - 1))),
        3 if depth > 0 => filter(random, depth - 1).and(filter(random, depth - 1)),
        4 if depth > 0 => filter(random, depth - 1).or(filter(random, depth - 1)),
        _ => Filter::compare(field(random), comparison(random)),
    }
}

fn filters(random: &mut SmallRng, depth: u32) -> Vec<Filter> {
    (0..random.random_range(0..3))
        .map(|_| filter(random, depth - 1))
        .collect()
}

fn order(random: &mut SmallRng) -> OrderBy {
    OrderBy {
        field: field(random).to_owned(),
        descending: random.random_bool(0.5),
    }
}

fn spec(random: &mut SmallRng, dataset: &Dataset) -> QuerySpec {
    let mut spec = QuerySpec::new();
    if random.random_bool(0.8) {
        let candidate = filter(random, 3);
        // What a filter refuses is the subject of other cases; here, all are to be answered.
        if candidate.validate().is_ok() {
            spec.filter = Some(candidate);
        }
    }
    spec.order_by = (0..random.random_range(0..3)).map(|_| order(random)).collect();
    if random.random_bool(0.3) {
        spec.limit = Some(random.random_range(0..8));
    }
    if random.random_bool(0.2) {
        spec.offset = Some(random.random_range(0..5));
    } else if random.random_bool(0.3) {
        spec = after_some_record(random, spec, dataset);
    }
    spec
}

/// Continues after a record of the data set, whether the filter keeps it or not.
fn after_some_record(random: &mut SmallRng, spec: QuerySpec, dataset: &Dataset) -> QuerySpec {
    let all = QuerySpec {
        order_by: spec.order_by.clone(),
        ..QuerySpec::new()
    };
    let records = evaluate(&all, rows(dataset)).unwrap_or_default();
    let Some((id, payload)) = records.choose(random) else {
        return spec;
    };
    match spec.keyset_after(id, payload) {
        Ok(keyset) => spec.after(keyset),
        Err(_) => spec,
    }
}

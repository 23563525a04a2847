//! Random rows and queries, of few values each, so that they meet.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde_json::{Value, json};
use sync_core::query::{Comparison, Filter, FilterValue, OrderBy, QuerySpec};

pub(super) struct Random(SmallRng);

const TEXTS: [&str; 12] = [
    "",
    "tea",
    "Tea",
    "a*b",
    "100%",
    "1_0",
    r"back\slash",
    r#"a,b.c:(d)"e\f"#,
    "null",
    "\u{e9}t\u{e9}",
    "\u{1F980}",
    "a b",
];
const INTEGERS: [i64; 8] = [0, 1, -1, 2, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
const FLOATS: [f64; 7] = [0.0, 1.0, 1.5, -0.1, 0.1, 9_007_199_254_740_992.0, 1e300];
const TIMES: [&str; 4] = [
    "2026-01-01T00:00:00+00:00",
    "2026-01-01T00:00:00.5+00:00",
    "2025-12-31T23:59:59.999999+00:00",
    "2026-02-03T10:20:30+00:00",
];
const FIELDS: [&str; 11] = [
    "title",
    "n",
    "rate",
    "price",
    "done",
    "due",
    "tags",
    "data",
    "data.kind",
    "data.deep.x",
    "$id",
];

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    fn one<T: Clone>(&mut self, values: &[T]) -> T {
        values.choose(&mut self.0).unwrap().clone()
    }

    fn maybe(&mut self, value: Value) -> Value {
        if self.0.random_bool(0.25) {
            Value::Null
        } else {
            value
        }
    }

    fn id(&mut self) -> String {
        uuid::Uuid::from_u128(self.0.random()).to_string()
    }

    pub(super) fn rows(&mut self, number: usize) -> Vec<Value> {
        (0..number).map(|_| self.row()).collect()
    }

    fn row(&mut self) -> Value {
        let (title, n, rate) = (self.one(&TEXTS), self.one(&INTEGERS), self.one(&FLOATS));
        let price = self.one(&[
            json!(0.1),
            json!(1),
            json!(1.5),
            json!(-2),
            json!(0.30000000000000004),
        ]);
        let tags = self.one(&[
            json!([]),
            json!(["a"]),
            json!(["a,\"b\"}", "tea"]),
            json!(["x", null]),
        ]);
        let kind = self.one(&[
            json!("a"),
            json!("5"),
            json!(5),
            json!(null),
            json!(true),
            json!(["a"]),
        ]);
        let data = self.one(&[
            json!({"kind": kind, "deep": {"x": title}}),
            json!({"kind": kind}),
            json!("a"),
            json!([kind]),
        ]);
        let done = self.0.random_bool(0.5);
        let due = self.one(&TIMES);
        json!({
            "id": self.id(), "owner": "ada", "updated_at": "2026-01-01T00:00:00+00:00", "title": self.maybe(json!(title)),
            "n": self.maybe(json!(n)), "rate": self.maybe(json!(rate)), "price": self.maybe(price),
            "done": self.maybe(json!(done)), "due": self.maybe(json!(due)), "tags": self.maybe(tags),
            "data": self.maybe(data),
        })
    }

    /// Mostly a value of the field's own kind.
    fn value(&mut self, field: &str) -> FilterValue {
        let own = match field {
            "done" => 1,
            "n" => 2,
            "rate" | "price" => 3,
            "due" => 4,
            _ => 6,
        };
        match if self.0.random_bool(0.7) {
            own
        } else {
            self.0.random_range(0..8)
        } {
            0 => FilterValue::Null,
            1 => self.0.random_bool(0.5).into(),
            2 => self.one(&INTEGERS).into(),
            3 => self.one(&FLOATS).into(),
            4 => self.one(&TIMES).into(),
            5 => self.one(&["2026-01-01T00:00:00Z", "a", "5"]).into(),
            _ => self.one(&TEXTS).into(),
        }
    }

    fn text(&mut self) -> String {
        let mut text: String = self.one(&TEXTS).chars().take(self.0.random_range(0..4)).collect();
        if self.0.random_bool(0.2) {
            text.push('*');
        }
        text
    }

    fn pattern(&mut self) -> String {
        let text = self.text().replace('\\', r"\\");
        self.one(&["%", "", "_"]).to_owned() + &text + self.one(&["%", "", r"\%", "_"])
    }

    fn comparison(&mut self, field: &str) -> Comparison {
        match self.0.random_range(0..12) {
            0 => Comparison::Eq(self.value(field)),
            1 => Comparison::Neq(self.value(field)),
            2 => Comparison::Gt(self.value(field)),
            3 => Comparison::Gte(self.value(field)),
            4 => Comparison::Lt(self.value(field)),
            5 => Comparison::Lte(self.value(field)),
            6 => Comparison::Like(self.pattern()),
            7 => Comparison::Contains(self.value(field)),
            8 => Comparison::StartsWith(self.text()),
            9 => Comparison::IsNull,
            10 => Comparison::IsNotNull,
            _ => Comparison::InList(
                (0..self.0.random_range(0..4))
                    .map(|_| self.value(field))
                    .collect(),
            ),
        }
    }

    fn filter(&mut self, depth: u32) -> Filter {
        match self.0.random_range(0..if depth == 0 { 1 } else { 9 }) {
            0..=4 => {
                let field = self.one(&FIELDS);
                Filter::compare(field, self.comparison(field))
            }
            5 | 6 => Filter::And(self.filters(depth)),
            7 => Filter::Or(self.filters(depth)),
            _ => Filter::Not(Box::new(self.filter(depth - 1))),
        }
    }

    fn filters(&mut self, depth: u32) -> Vec<Filter> {
        (0..self.0.random_range(0..4))
            .map(|_| self.filter(depth - 1))
            .collect()
    }

    pub(super) fn query(&mut self) -> QuerySpec {
        let mut spec = QuerySpec::new().filter(self.filter(3));
        for _ in 0..self.0.random_range(0..3) {
            let field = self.one(&FIELDS);
            spec = spec.order_by(if self.0.random_bool(0.5) {
                OrderBy::asc(field)
            } else {
                OrderBy::desc(field)
            });
        }
        if self.0.random_bool(0.5) {
            spec = spec.limit(self.0.random_range(0..20));
        }
        if self.0.random_bool(0.3) {
            spec.offset = Some(self.0.random_range(0..5));
        }
        spec
    }
}

//! Filters in Appwrite's words.
//!
//! MariaDB compares texts without regard to case and accents, and rounds large numbers. So a filter is translated
//! to conditions that hold for *at least* the records it means; what the server answers is then evaluated once more
//! by the reference evaluator, and the answer is exact. A filter for which there is no such condition is refused by
//! the name of its field and operator.

use serde_json::Value;
use sync_core::{
    Result, SyncError,
    query::{Comparison, FieldPath, Filter, FilterOperator, FilterValue},
};

use crate::{
    query::{MAX_QUERY_VALUES, Query},
    table::Table,
};

/// Integers up to here are the same as floats.
const EXACT_IN_FLOATS: i64 = 1 << 53;

/// How far a float may be off after two conversions to decimal and back, relative to itself.
const FLOAT_SLACK: f64 = 1e-12;

/// A condition that holds for at least the records meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Always,
    Never,
    If(Query),
}

impl Condition {
    fn all(parts: impl IntoIterator<Item = Result<Condition>>) -> Result<Condition> {
        let mut queries = Vec::new();
        for part in parts {
            match part? {
                Self::Always => {}
                Self::Never => return Ok(Self::Never),
                Self::If(query) => queries.push(query),
            }
        }
        Ok(match queries.pop() {
            None => Self::Always,
            Some(only) if queries.is_empty() => Self::If(only),
            Some(last) => {
                queries.push(last);
                Self::If(Query::and(queries))
            }
        })
    }

    fn any(parts: impl IntoIterator<Item = Result<Condition>>) -> Result<Condition> {
        let mut queries = Vec::new();
        let mut always = false;
        for part in parts {
            match part? {
                Self::Always => always = true,
                Self::Never => {}
                Self::If(query) => queries.push(query),
            }
        }
        Ok(match queries.pop() {
            _ if always => Self::Always,
            None => Self::Never,
            Some(only) if queries.is_empty() => Self::If(only),
            Some(last) => {
                queries.push(last);
                Self::If(Query::or(queries))
            }
        })
    }
}

/// Translates a filter to queries that all hold for the records it means; `None` if it means none.
///
/// # Errors
/// `Unsupported` naming the field and the operator.
pub(crate) fn translate(table: &Table, filter: &Filter) -> Result<Option<Vec<Query>>> {
    let parts = match filter {
        Filter::And(parts) => parts.iter().collect(),
        single => vec![single],
    };
    let mut queries = Vec::new();
    for part in parts {
        match condition(table, part, false)? {
            Condition::Always => {}
            Condition::Never => return Ok(None),
            Condition::If(query) if query.fits() => queries.push(query),
            Condition::If(_) => {
                return Err(SyncError::unsupported(
                    "filter",
                    "a part of it is longer than the server accepts",
                ));
            }
        }
    }
    Ok(Some(queries))
}

fn condition(table: &Table, filter: &Filter, negated: bool) -> Result<Condition> {
    match filter {
        Filter::Not(part) => condition(table, part, !negated),
        Filter::And(parts) if negated => {
            Condition::any(parts.iter().map(|part| condition(table, part, true)))
        }
        Filter::And(parts) => Condition::all(parts.iter().map(|part| condition(table, part, false))),
        Filter::Or(parts) if negated => Condition::all(parts.iter().map(|part| condition(table, part, true))),
        Filter::Or(parts) => Condition::any(parts.iter().map(|part| condition(table, part, false))),
        Filter::Compare { field, comparison } => {
            let operator = comparison.operator();
            let column = column(table, field, operator)?;
            Leaf {
                field,
                column,
                operator,
            }
            .condition(comparison, negated)
        }
    }
}

/// The column that holds a field.
fn column<'f>(table: &'f Table, field: &'f str, operator: FilterOperator) -> Result<&'f str> {
    if field == FieldPath::ID || field == table.id_field {
        return Ok("$id");
    }
    if table.document_column.is_some() {
        return Err(operator.unsupported(field, "the server keeps each record as one text"));
    }
    if field.contains('.') {
        return Err(operator.unsupported(field, "columns hold no objects"));
    }
    if table.hides(field) || field.starts_with('$') {
        return Err(operator.unsupported(field, "the column is not a field of the records"));
    }
    Ok(field)
}

/// One comparison of one column.
struct Leaf<'f> {
    field: &'f str,
    column: &'f str,
    operator: FilterOperator,
}

impl Leaf<'_> {
    fn condition(&self, comparison: &Comparison, negated: bool) -> Result<Condition> {
        match comparison {
            Comparison::Eq(value) => self.equal(value, negated),
            Comparison::Neq(value) => self.equal(value, !negated),
            Comparison::IsNull => self.equal(&FilterValue::Null, negated),
            Comparison::IsNotNull => self.equal(&FilterValue::Null, !negated),
            Comparison::Gt(value) => self.ordered(value, Side::Above, Edge::Without, negated),
            Comparison::Gte(value) => self.ordered(value, Side::Above, Edge::With, negated),
            Comparison::Lt(value) => self.ordered(value, Side::Below, Edge::Without, negated),
            Comparison::Lte(value) => self.ordered(value, Side::Below, Edge::With, negated),
            Comparison::InList(values) => self.in_list(values, negated),
            Comparison::StartsWith(prefix) => self.text(prefix, negated, Query::starts_with),
            Comparison::Contains(FilterValue::Text(part)) => self.text(part, negated, Query::contains),
            Comparison::Contains(_) => Err(self.unsupported("only texts can be looked for")),
            Comparison::Like(_) => {
                Err(self.unsupported("the server has no patterns; use starts_with or contains"))
            }
        }
    }

    fn unsupported(&self, why: &str) -> SyncError {
        self.operator.unsupported(self.field, why)
    }

    fn or_null(&self, query: Query) -> Condition {
        if self.column == "$id" {
            return Condition::If(query);
        }
        Condition::If(Query::or(vec![query, Query::is_null(self.column)]))
    }

    fn equal(&self, value: &FilterValue, negated: bool) -> Result<Condition> {
        Ok(match (value, negated) {
            (FilterValue::Null, false) if self.column == "$id" => Condition::Never,
            (FilterValue::Null, false) => Condition::If(Query::is_null(self.column)),
            // An unset list is null to the server and an empty list in the record.
            (FilterValue::Null, true) => Condition::Always,
            (FilterValue::Bool(value), false) => {
                Condition::If(Query::equal(self.column, vec![(*value).into()]))
            }
            (FilterValue::Bool(value), true) => self.or_null(Query::not_equal(self.column, (*value).into())),
            (FilterValue::Text(text), false) => {
                Condition::If(Query::equal(self.column, vec![text.as_str().into()]))
            }
            (FilterValue::Text(_), true) => {
                return Err(
                    self.unsupported("the server ignores the case of texts, so it cannot tell what differs")
                );
            }
            (number, false) => {
                let (low, high) = Number::of(number)?.bounds();
                if low == high {
                    Condition::If(Query::equal(self.column, vec![low]))
                } else {
                    Condition::If(Query::and(vec![
                        Query::greater_than_equal(self.column, low),
                        Query::less_than_equal(self.column, high),
                    ]))
                }
            }
            (number, true) => match Number::of(number)? {
                Number::Exact(value) => self.or_null(Query::not_equal(self.column, value.into())),
                Number::Rounded(_) => Condition::Always,
            },
        })
    }

    fn ordered(&self, value: &FilterValue, side: Side, edge: Edge, negated: bool) -> Result<Condition> {
        match value {
            FilterValue::Null if negated => return Ok(Condition::Always),
            FilterValue::Null => return Ok(Condition::Never),
            FilterValue::Bool(_) => return Err(self.unsupported("the server has no order of booleans")),
            FilterValue::Text(_) => {
                return Err(self.unsupported("the server orders texts by its collation, not by their bytes"));
            }
            FilterValue::Int(_) | FilterValue::Float(_) => {}
        }
        let number = Number::of(value)?;
        let (low, high) = number.bounds();
        let (side, edge) = if negated {
            (side.other(), edge.other())
        } else {
            (side, edge)
        };
        let strict = edge == Edge::Without && matches!(number, Number::Exact(_));
        let query = match (side, strict) {
            (Side::Above, true) => Query::greater_than(self.column, low),
            (Side::Above, false) => Query::greater_than_equal(self.column, low),
            (Side::Below, true) => Query::less_than(self.column, high),
            (Side::Below, false) => Query::less_than_equal(self.column, high),
        };
        Ok(if negated {
            self.or_null(query)
        } else {
            Condition::If(query)
        })
    }

    fn in_list(&self, values: &[FilterValue], negated: bool) -> Result<Condition> {
        if values.len() > MAX_QUERY_VALUES {
            return Err(self.unsupported("the server takes at most 500 values"));
        }
        if negated {
            return Condition::all(values.iter().map(|value| self.equal(value, true)));
        }
        let texts: Vec<Value> = values
            .iter()
            .filter_map(|value| match value {
                FilterValue::Text(text) => Some(text.as_str().into()),
                _ => None,
            })
            .collect();
        let texts = (!texts.is_empty()).then(|| Ok(Condition::If(Query::equal(self.column, texts))));
        let others = values
            .iter()
            .filter(|value| !matches!(value, FilterValue::Text(_)))
            .map(|value| self.equal(value, false));
        Condition::any(texts.into_iter().chain(others))
    }

    fn text(&self, part: &str, negated: bool, query: fn(&str, &str) -> Query) -> Result<Condition> {
        if negated {
            return Err(
                self.unsupported("the server ignores the case of texts, so it cannot tell what differs")
            );
        }
        if part.contains('\\') {
            return Err(self.unsupported("the server takes a backslash for an escape"));
        }
        Ok(if part.is_empty() {
            Condition::Always
        } else {
            Condition::If(query(self.column, part))
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Above,
    Below,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Edge {
    With,
    Without,
}

impl Edge {
    fn other(self) -> Self {
        match self {
            Self::With => Self::Without,
            Self::Without => Self::With,
        }
    }
}

/// A number as the server gets it.
#[derive(Clone, Copy)]
enum Number {
    /// The same in a column of integers and in one of floats.
    Exact(i64),
    /// The server may see a neighbour of it.
    Rounded(f64),
}

impl Number {
    fn of(value: &FilterValue) -> Result<Self> {
        let whole = |number: f64| number.fract() == 0.0 && number.abs() <= EXACT_IN_FLOATS as f64;
        match value {
            FilterValue::Int(number) if number.unsigned_abs() <= EXACT_IN_FLOATS.unsigned_abs() => {
                Ok(Self::Exact(*number))
            }
            FilterValue::Int(number) => Ok(Self::Rounded(*number as f64)),
            FilterValue::Float(number) if whole(*number) => Ok(Self::Exact(*number as i64)),
            FilterValue::Float(number) if number.is_finite() => Ok(Self::Rounded(*number)),
            other => Err(SyncError::invalid("filter", format!("{other:?} is not a number"))),
        }
    }

    /// The least and the greatest value that the server may see for it.
    fn bounds(self) -> (Value, Value) {
        match self {
            Self::Exact(number) => (number.into(), number.into()),
            Self::Rounded(number) => {
                let slack = number.abs() * FLOAT_SLACK + f64::MIN_POSITIVE;
                let bound = |value: f64| if value.is_finite() { value } else { number };
                (to_json(bound(number - slack)), to_json(bound(number + slack)))
            }
        }
    }
}

/// Whole numbers go as integers, which columns of both kinds take.
fn to_json(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < i64::MAX as f64 {
        (number as i64).into()
    } else {
        number.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(filter: &Filter) -> Vec<Value> {
        let queries = translate(&Table::new("main", "todos"), filter).unwrap().unwrap();
        queries
            .iter()
            .map(|query| serde_json::from_str(&query.text()).unwrap())
            .collect()
    }

    fn refused(filter: &Filter) -> String {
        translate(&Table::new("main", "todos"), filter)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_parts_of_an_and_are_queries_of_their_own() {
        assert_eq!(
            texts(&Filter::eq("done", false).and(Filter::gt("count", 1))),
            [
                json!({"method": "equal", "attribute": "done", "values": [false]}),
                json!({"method": "greaterThan", "attribute": "count", "values": [1]}),
            ]
        );
    }

    #[test]
    fn what_is_not_equal_includes_what_is_not_there() {
        let expected = json!({"method": "or", "values": [
            {"method": "notEqual", "attribute": "count", "values": [3]},
            {"method": "isNull", "attribute": "count", "values": []},
        ]});
        assert_eq!(texts(&Filter::neq("count", 3)), std::slice::from_ref(&expected));
        assert_eq!(texts(&!Filter::eq("count", 3)), [expected]);
    }

    #[test]
    fn negation_goes_down_to_the_comparisons() {
        let filter = !(Filter::gt("count", 2).or(Filter::eq("done", true)));
        assert_eq!(
            texts(&filter),
            [json!({"method": "and", "values": [
                {"method": "or", "values": [
                    {"method": "lessThanEqual", "attribute": "count", "values": [2]},
                    {"method": "isNull", "attribute": "count", "values": []},
                ]},
                {"method": "or", "values": [
                    {"method": "notEqual", "attribute": "done", "values": [true]},
                    {"method": "isNull", "attribute": "done", "values": []},
                ]},
            ]})]
        );
    }

    #[test]
    fn numbers_that_the_server_may_round_are_bounded_from_both_sides() {
        let [query] = &texts(&Filter::eq("score", 0.1))[..] else {
            panic!("one query")
        };
        let bound = |index: usize| query["values"][index]["values"][0].as_f64().unwrap();
        assert!(
            bound(0) < 0.1 && 0.1 < bound(1) && bound(1) - bound(0) < 1e-12,
            "{query}"
        );
        let large = Filter::gt("count", (1_i64 << 53) + 3);
        let [query] = &texts(&large)[..] else {
            panic!("one query")
        };
        assert_eq!(query["method"], "greaterThanEqual");
        assert!(query["values"][0].as_i64().unwrap() <= (1 << 53) + 3);
        assert_eq!(texts(&Filter::eq("count", 2.0))[0]["values"], json!([2]));
    }

    #[test]
    fn what_the_server_cannot_tell_is_refused_by_name() {
        for (filter, operator) in [
            (Filter::neq("title", "tea"), "operator neq"),
            (!Filter::eq("title", "tea"), "operator eq"),
            (Filter::gt("title", "tea"), "operator gt"),
            (Filter::lte("done", true), "operator lte"),
            (Filter::like("title", "%tea"), "operator like"),
            (!Filter::starts_with("title", "t"), "operator starts_with"),
            (Filter::contains("title", "a\\b"), "operator contains"),
            (Filter::contains("tags", 1), "operator contains"),
        ] {
            let message = refused(&filter);
            assert!(
                message.starts_with("unsupported") && message.contains(operator),
                "{message}"
            );
        }
        assert!(refused(&Filter::eq("address.city", 1)).contains("`address.city`"));
        assert!(refused(&Filter::eq("deleted", true)).contains("`deleted`"));
        assert!(refused(&Filter::contains("title", "x".repeat(5_000))).contains("longer"));
    }

    #[test]
    fn filters_that_hold_always_or_never_ask_nothing() {
        let table = Table::new("main", "todos");
        assert_eq!(translate(&table, &Filter::And(vec![])).unwrap(), Some(vec![]));
        assert_eq!(translate(&table, &Filter::Or(vec![])).unwrap(), None);
        assert_eq!(
            translate(&table, &Filter::gt("count", FilterValue::Null)).unwrap(),
            None
        );
        assert_eq!(
            translate(&table, &Filter::is_not_null("note")).unwrap(),
            Some(vec![])
        );
        assert_eq!(
            translate(&table, &Filter::in_list("title", Vec::<&str>::new())).unwrap(),
            None
        );
    }

    #[test]
    fn the_id_is_the_servers_own_field() {
        for field in ["$id", "id"] {
            assert_eq!(
                texts(&Filter::eq(field, "r1")),
                [json!({"method": "equal", "attribute": "$id", "values": ["r1"]})]
            );
        }
    }
}

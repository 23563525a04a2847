//! One comparison of one column.
//!
//! SQL knows a third truth value, the query language does not: so null is spelled out wherever a negation meets it.

use sync_core::query::{Comparison, FieldPath, FilterValue, LikePattern, LikeToken};
use uuid::Uuid;

use super::{condition::Condition, number};
use crate::{
    filter_text::quoted,
    table::{is_canonical_time, name},
    table_mapping::{ColumnKind, SupabaseTable},
};

/// A condition, with the reason for which it holds for others as well.
pub(super) type Translated = Result<(Condition, Option<&'static str>), &'static str>;

const NOT_NAMED: &str = "the configuration does not name the kind of its column";
const IN_A_LIST: &str = "it stands in a list";
const COLLATION: &str = "the database orders texts by a collation, not by their bytes";

/// The condition of a comparison.
///
/// # Errors
/// Why the database cannot narrow anything down by it.
pub(super) fn condition(
    mapping: &SupabaseTable,
    field: &str,
    comparison: &Comparison,
    negated: bool,
) -> Translated {
    let named = mapping.columns.get(field);
    if field == FieldPath::ID || (field == mapping.id && named.is_none()) {
        return of_id(mapping, field == FieldPath::ID, comparison, negated);
    }
    match (field.split_once('.'), named) {
        (_, Some(kind)) if !field.contains('.') => {
            let column = Column {
                name: name(field),
                negated,
            };
            column.compared(*kind, comparison)
        }
        (Some((column, path)), _) if mapping.columns.get(column) == Some(&ColumnKind::Json) => {
            within_json(column, path, comparison, negated)
        }
        _ => Err(NOT_NAMED),
    }
}

/// The record's id is a text, whatever its column is.
fn of_id(mapping: &SupabaseTable, is_text: bool, comparison: &Comparison, negated: bool) -> Translated {
    let column = Column {
        name: name(&mapping.id),
        negated,
    };
    let kind = match mapping.columns.get(&mapping.id) {
        Some(ColumnKind::Uuid) => ColumnKind::Uuid,
        _ => ColumnKind::Other,
    };
    match (kind, comparison) {
        (ColumnKind::Uuid, _) => column.compared(kind, comparison),
        (_, Comparison::Eq(FilterValue::Text(text))) if !negated => {
            // The column may take several texts for the same id.
            Ok((
                column.leaf("eq", text)?.0,
                Some("the configuration does not name the kind of the id"),
            ))
        }
        (_, Comparison::InList(values)) if !negated => column.in_list(kind, values),
        (_, Comparison::Eq(FilterValue::Null) | Comparison::IsNull) if is_text => column.constant(false),
        _ => Err("only equality with a text is asked of an id"),
    }
}

/// A field inside a JSON column. `->>` gives texts as they are, and everything else as a text too.
fn within_json(column: &str, path: &str, comparison: &Comparison, negated: bool) -> Translated {
    const WHY: &str = "the database tells texts in JSON from other values only as texts";
    let is_plain = |key: &str| key.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    let keys: Vec<&str> = path.split('.').collect();
    if negated || !keys.iter().all(|key| is_plain(key)) {
        return Err(WHY);
    }
    let (last, before) = keys.split_last().ok_or(WHY)?;
    let steps: String = before.iter().map(|key| format!("->{key}")).collect();
    let column = Column {
        name: format!("{}{steps}->>{last}", name(column)),
        negated,
    };
    match comparison {
        Comparison::Eq(FilterValue::Text(text)) => Ok((column.leaf("eq", text)?.0, Some(WHY))),
        Comparison::StartsWith(_) | Comparison::Like(_) => {
            Ok((column.compared(ColumnKind::Text, comparison)?.0, Some(WHY)))
        }
        _ => Err(WHY),
    }
}

struct Column {
    name: String,
    negated: bool,
}

impl Column {
    fn compared(&self, kind: ColumnKind, comparison: &Comparison) -> Translated {
        match comparison {
            Comparison::Eq(value) => self.equal(kind, value),
            Comparison::Neq(value) => self.opposite().equal(kind, value),
            Comparison::IsNull => self.equal(kind, &FilterValue::Null),
            Comparison::IsNotNull => self.opposite().equal(kind, &FilterValue::Null),
            Comparison::Gt(value) => self.ordered(kind, "gt", value),
            Comparison::Gte(value) => self.ordered(kind, "gte", value),
            Comparison::Lt(value) => self.ordered(kind, "lt", value),
            Comparison::Lte(value) => self.ordered(kind, "lte", value),
            Comparison::InList(values) => self.in_list(kind, values),
            Comparison::Like(pattern) => {
                let pattern = LikePattern::parse(pattern).map_err(|_| "the pattern is none")?;
                self.like(kind, pattern.tokens().to_vec())
            }
            Comparison::StartsWith(prefix) => {
                let mut tokens: Vec<LikeToken> = prefix.chars().map(LikeToken::Character).collect();
                tokens.push(LikeToken::AnySequence);
                self.like(kind, tokens)
            }
            Comparison::Contains(value) => self.contains(kind, value),
        }
    }

    fn opposite(&self) -> Self {
        Self {
            name: self.name.clone(),
            negated: !self.negated,
        }
    }

    fn constant(&self, holds: bool) -> Translated {
        Ok((Condition::constant(holds != self.negated), None))
    }

    fn null(&self) -> Condition {
        let operator = if self.negated { "not.is" } else { "is" };
        Condition::exact(format!("{}.{operator}.null", self.name))
    }

    /// `column.operator.value`, or that this does not hold. A text with U+0000 is in no column.
    fn leaf(&self, operator: &str, value: &str) -> Translated {
        if value.contains('\0') {
            return self.constant(false);
        }
        Ok((self.raw(operator, &quoted(value)), None))
    }

    fn raw(&self, operator: &str, value: &str) -> Condition {
        let name = &self.name;
        Condition::exact(if self.negated {
            format!("or({name}.not.{operator}.{value},{name}.is.null)")
        } else {
            format!("{name}.{operator}.{value}")
        })
    }

    fn equal(&self, kind: ColumnKind, value: &FilterValue) -> Translated {
        use ColumnKind::{Boolean, Decimal, Float, Integer, Json, Other, Text, TextList, Time, Uuid as Id};
        match (kind, value) {
            (Json | Other, _) => Err("the database compares it otherwise"),
            (_, FilterValue::Null) => Ok((self.null(), None)),
            (Text, FilterValue::Text(text)) => self.leaf("eq", text),
            (Id, FilterValue::Text(text)) if is_canonical_uuid(text) => self.leaf("eq", text),
            (Time, FilterValue::Text(text)) if is_canonical_time(text) => self.leaf("eq", text),
            (Boolean, FilterValue::Bool(value)) => {
                let operator = if self.negated { "not.is" } else { "is" };
                Ok((
                    Condition::exact(format!("{}.{operator}.{value}", self.name)),
                    None,
                ))
            }
            (Integer, FilterValue::Int(number)) => self.leaf("eq", &number.to_string()),
            (Integer, FilterValue::Float(number)) => match number::as_integer(*number) {
                Some(number) => self.leaf("eq", &number.to_string()),
                None => self.constant(false),
            },
            (Float, FilterValue::Int(_) | FilterValue::Float(_)) => match number::as_float(value) {
                Some(number) => self.leaf("eq", &number.to_string()),
                None => self.constant(false),
            },
            (Decimal, FilterValue::Int(_) | FilterValue::Float(_)) if self.negated => {
                Err("the record holds a decimal number as the nearest float")
            }
            (Decimal, FilterValue::Int(_) | FilterValue::Float(_)) => {
                let (low, high) = number::around(value);
                let bounds = vec![self.leaf("gt", &low)?.0, self.leaf("lt", &high)?.0];
                Ok((Condition::joined(bounds, true), Some(ROUNDED)))
            }
            // Columns of these kinds hold no value of another kind.
            (Text | Id | Time | Boolean | Integer | Float | Decimal | TextList, _) => self.constant(false),
        }
    }

    fn ordered(&self, kind: ColumnKind, operator: &'static str, value: &FilterValue) -> Translated {
        use ColumnKind::{Boolean, Decimal, Float, Integer, Json, Other, Text, TextList, Time, Uuid as Id};
        match (kind, value) {
            (Json | Other, _) => Err("the database compares it otherwise"),
            (Text, FilterValue::Text(_)) => Err(COLLATION),
            (Id, FilterValue::Text(text)) if is_canonical_uuid(text) => self.leaf(operator, text),
            (Id, FilterValue::Text(_)) => Err("the operand is no uuid in its canonical form"),
            (Time, FilterValue::Text(text)) if is_canonical_time(text) => self.leaf(operator, text),
            (Time, FilterValue::Text(_)) => Err("the operand is no time as the database writes it"),
            (Boolean, FilterValue::Bool(operand)) => {
                let accepts = |value: bool| match operator {
                    "gt" => value & !operand,
                    "gte" => value >= *operand,
                    "lt" => !value & operand,
                    _ => value <= *operand,
                };
                match (accepts(false), accepts(true)) {
                    (false, false) => self.constant(false),
                    (true, true) => Ok((self.opposite().null(), None)),
                    (_, only) => self.equal(Boolean, &FilterValue::Bool(only)),
                }
            }
            (Integer, FilterValue::Int(number)) => self.leaf(operator, &number.to_string()),
            (Integer, FilterValue::Float(number)) => match number::integer_bound(operator, *number) {
                number::Bound::All => Ok((self.opposite().null(), None)),
                number::Bound::None => self.constant(false),
                number::Bound::At(operator, number) => self.leaf(operator, &number.to_string()),
            },
            (Float, FilterValue::Int(_) | FilterValue::Float(_)) => match number::as_float(value) {
                Some(number) => self.leaf(operator, &number.to_string()),
                None => Err("the operand is beyond 2^53, where a float is not exact"),
            },
            (Decimal, FilterValue::Int(_) | FilterValue::Float(_)) => {
                let (low, high) = number::around(value);
                let wants_greater = operator.starts_with('g') != self.negated;
                let positive = Self {
                    name: self.name.clone(),
                    negated: false,
                };
                let bound = if wants_greater {
                    positive.leaf("gt", &low)?.0
                } else {
                    positive.leaf("lt", &high)?.0
                };
                let parts = if self.negated {
                    vec![bound, positive.null()]
                } else {
                    vec![bound]
                };
                Ok((Condition::joined(parts, false), Some(ROUNDED)))
            }
            (Text | Id | Time | Boolean | Integer | Float | Decimal | TextList, _) => self.constant(false),
        }
    }

    fn in_list(&self, kind: ColumnKind, values: &[FilterValue]) -> Translated {
        let mut parts = Vec::with_capacity(values.len());
        let mut inexact = None;
        for value in values {
            let (part, why) = match (kind, value) {
                (ColumnKind::Other, FilterValue::Text(text)) if !self.negated => {
                    (self.leaf("eq", text)?.0, Some(IN_A_LIST))
                }
                _ => self.equal(kind, value)?,
            };
            inexact = inexact.or(why);
            parts.push(part);
        }
        let one_of = format!("{}.eq.", self.name);
        let same = parts
            .iter()
            .map(|part| part.text().and_then(|text| text.strip_prefix(&one_of)));
        let joined = match same.collect::<Option<Vec<_>>>() {
            Some(same) if !self.negated && same.len() > 1 => {
                Condition::exact(format!("{}.in.({})", self.name, same.join(",")))
            }
            _ => Condition::joined(parts, self.negated),
        };
        Ok((joined, inexact))
    }

    fn like(&self, kind: ColumnKind, tokens: Vec<LikeToken>) -> Translated {
        match kind {
            ColumnKind::Text => {}
            ColumnKind::Boolean
            | ColumnKind::Integer
            | ColumnKind::Float
            | ColumnKind::Decimal
            | ColumnKind::TextList => return self.constant(false),
            _ => return Err("the database has patterns of texts only"),
        }
        let mut pattern = String::new();
        let mut wider = false;
        for token in tokens {
            match token {
                LikeToken::AnySequence => pattern.push('%'),
                LikeToken::AnyCharacter => pattern.push('_'),
                // The data API takes it for `%`, whatever stands before it.
                LikeToken::Character('*') => {
                    wider = true;
                    pattern.push('_');
                }
                LikeToken::Character(c) => {
                    if matches!(c, '%' | '_' | '\\') {
                        pattern.push('\\');
                    }
                    pattern.push(c);
                }
            }
        }
        const WIDER: &str = "the data API has no way to say an asterisk";
        if wider && self.negated {
            return Err(WIDER);
        }
        let (condition, _) = self.leaf("like", &pattern)?;
        Ok((condition, wider.then_some(WIDER)))
    }

    fn contains(&self, kind: ColumnKind, value: &FilterValue) -> Translated {
        match (kind, value) {
            (ColumnKind::Text, FilterValue::Text(part)) => {
                let characters = part.chars().map(LikeToken::Character);
                let tokens = [LikeToken::AnySequence].into_iter().chain(characters);
                self.like(kind, tokens.chain([LikeToken::AnySequence]).collect())
            }
            (ColumnKind::TextList, FilterValue::Text(element)) => {
                self.leaf("cs", &format!("{{{}}}", quoted(element)))
            }
            (ColumnKind::TextList, FilterValue::Null) => Err("the database finds no null in a list"),
            (ColumnKind::Json | ColumnKind::Other | ColumnKind::Uuid | ColumnKind::Time, _) => {
                Err("the database has patterns of texts only")
            }
            _ => self.constant(false),
        }
    }
}

const ROUNDED: &str = "the record holds a decimal number as the nearest float";

fn is_canonical_uuid(text: &str) -> bool {
    Uuid::parse_str(text).is_ok_and(|id| id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use sync_core::query::Filter;

    use super::*;

    fn table() -> SupabaseTable {
        SupabaseTable::new("todos")
            .with_column("title", ColumnKind::Text)
            .with_column("n", ColumnKind::Integer)
            .with_column("rate", ColumnKind::Float)
            .with_column("price", ColumnKind::Decimal)
            .with_column("done", ColumnKind::Boolean)
            .with_column("due", ColumnKind::Time)
            .with_column("tags", ColumnKind::TextList)
            .with_column("data", ColumnKind::Json)
    }

    #[test]
    fn exact_conditions_mean_what_the_filter_means() {
        for (filter, expected) in [
            (Filter::eq("title", "a\"b"), r#"title.eq."a\"b""#),
            (Filter::neq("title", "x"), r#"or(title.not.eq."x",title.is.null)"#),
            (!Filter::neq("title", "x"), r#"title.eq."x""#),
            (Filter::is_null("n"), "n.is.null"),
            (Filter::is_not_null("n"), "n.not.is.null"),
            (Filter::gt("n", 1.5), r#"n.gt."1""#),
            (!Filter::gt("n", 2), r#"or(n.not.gt."2",n.is.null)"#),
            (Filter::lt("n", 1e30), "n.not.is.null"),
            (Filter::eq("done", true), "done.is.true"),
            (!Filter::eq("done", true), "done.not.is.true"),
            (Filter::gte("done", false), "done.not.is.null"),
            (Filter::lt("done", true), "done.is.false"),
            (Filter::eq("rate", 0.1), r#"rate.eq."0.1""#),
            (Filter::like("title", r"50\%_%"), r#"title.like."50\\%_%""#),
            (Filter::starts_with("title", "a_b"), r#"title.like."a\\_b%""#),
            (Filter::contains("tags", "a\"b"), r#"tags.cs."{\"a\\\"b\"}""#),
            (Filter::in_list("title", ["a", "b,c"]), r#"title.in.("a","b,c")"#),
            (
                !Filter::in_list("n", [1, 2]),
                r#"and(or(n.not.eq."1",n.is.null),or(n.not.eq."2",n.is.null))"#,
            ),
            (
                Filter::in_list("n", [FilterValue::Null, 1.into()]),
                r#"or(n.is.null,n.eq."1")"#,
            ),
            (
                !(Filter::eq("n", 1).and(Filter::is_null("title"))),
                r#"or(or(n.not.eq."1",n.is.null),title.not.is.null)"#,
            ),
        ] {
            let condition = Condition::of(&table(), &filter);
            assert_eq!(condition.text(), Some(expected), "{filter:?}");
            assert!(condition.is_exact(), "{filter:?}");
        }
    }

    #[test]
    fn what_always_or_never_holds_asks_nothing() {
        for filter in [
            Filter::eq("n", "1"),
            Filter::gt("title", 5),
            Filter::eq("n", 1.5),
            Filter::eq("title", "a\0b"),
            Filter::like("n", "%"),
            Filter::gt("n", 1e30),
            Filter::Or(Vec::new()),
            Filter::like("title", "a%").and(Filter::eq("n", true)),
        ] {
            let condition = Condition::of(&table(), &filter);
            assert!(condition.is_never() && condition.is_exact(), "{filter:?}");
            let negated = Condition::of(&table(), &!filter.clone());
            assert!(
                !negated.is_never() && negated.text().is_none() && negated.is_exact(),
                "not {filter:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_said_exactly_narrows_as_far_as_it_can_and_is_named() {
        for (filter, text) in [
            (Filter::gt("title", "a"), None),
            (
                Filter::eq("price", 1),
                Some(r#"and(price.gt."0.9999999999999998",price.lt."1.0000000000000004")"#),
            ),
            (Filter::neq("price", 1), None),
            (Filter::eq("other", 1), None),
            (Filter::eq("data", 1), None),
            (Filter::eq("data.a.b", "x"), Some(r#"data->a->>b.eq."x""#)),
            (Filter::eq("data.a.b", 5), None),
            (Filter::gt("due", "2026-01-01T00:00:00Z"), None),
            (Filter::like("title", "a*b"), Some(r#"title.like."a_b""#)),
            (
                Filter::eq("n", 1).and(Filter::gt("title", "a")),
                Some(r#"n.eq."1""#),
            ),
            (Filter::eq("n", 1).or(Filter::gt("title", "a")), None),
            (Filter::eq("$id", "r1"), Some(r#"id.eq."r1""#)),
        ] {
            let condition = Condition::of(&table(), &filter);
            assert_eq!(condition.text(), text, "{filter:?}");
            assert!(!condition.is_exact() && !condition.is_never(), "{filter:?}");
        }
        let condition = Condition::of(&table(), &Filter::eq("n", 1).or(Filter::gt("title", "a")));
        let inexact = condition.inexact().unwrap();
        assert_eq!(
            (inexact.field.as_str(), inexact.operator.as_str()),
            ("title", "gt")
        );
    }
}

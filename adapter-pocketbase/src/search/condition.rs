//! Filters in the server's words: conditions that hold for every record a filter matches, and, where they are
//! exact, for no other.

use sync_core::query::{Comparison, Filter, FilterOperator, FilterValue};

use super::column_of;
use crate::{fields::FieldKind, filter::quote, rows::Table};

/// Conditions that are longer are not sent: the server takes 3,500 characters and 200 expressions.
const LONGEST: usize = 2_000;
const MOST_TERMS: usize = 80;

/// Every row has an id.
const ALWAYS: &str = "id != ''";
const NEVER: &str = "id = ''";

/// What a filter says that the server cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inexact {
    pub(super) field: String,
    pub(super) operator: FilterOperator,
}

/// A condition that holds for every record the filter matches.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// Empty if it says nothing.
    text: String,
    terms: usize,
    /// Why it may hold for other records too.
    inexact: Option<Inexact>,
}

impl Condition {
    /// Holds for all.
    pub(super) fn anything() -> Self {
        Self {
            text: String::new(),
            terms: 0,
            inexact: None,
        }
    }

    pub(super) fn of(table: &Table, filter: &Filter) -> Self {
        let condition = build(table, filter, false);
        if condition.text.len() > LONGEST || condition.terms > MOST_TERMS {
            return Self {
                inexact: condition.inexact.or_else(|| first_of(filter)),
                ..Self::anything()
            };
        }
        condition
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_exact(&self) -> bool {
        self.inexact.is_none()
    }

    pub(super) fn inexact(&self) -> Option<&Inexact> {
        self.inexact.as_ref()
    }

    fn exact(text: impl Into<String>, terms: usize) -> Self {
        Self {
            text: text.into(),
            terms,
            inexact: None,
        }
    }

    /// Both hold, or one of them does. What says nothing narrows an "and" no further, and makes an "or" say
    /// nothing.
    fn joined(parts: Vec<Condition>, all: bool) -> Self {
        let inexact = parts.iter().find_map(|part| part.inexact.clone());
        if parts.is_empty() {
            return Self::exact(if all { ALWAYS } else { NEVER }, 1);
        }
        if !all && parts.iter().any(|part| part.text.is_empty()) {
            return Self {
                inexact,
                ..Self::anything()
            };
        }
        let texts: Vec<String> = parts
            .iter()
            .filter(|part| !part.text.is_empty())
            .map(|part| format!("({})", part.text))
            .collect();
        Self {
            text: texts.join(if all { " && " } else { " || " }),
            terms: parts.iter().map(|part| part.terms).sum(),
            inexact,
        }
    }
}

/// The first comparison of a filter.
fn first_of(filter: &Filter) -> Option<Inexact> {
    match filter {
        Filter::Compare { field, comparison } => Some(Inexact {
            field: field.clone(),
            operator: comparison.operator(),
        }),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().find_map(first_of),
        Filter::Not(part) => first_of(part),
    }
}

/// The condition of a filter, or of its opposite: the server has no "not".
fn build(table: &Table, filter: &Filter, negated: bool) -> Condition {
    match filter {
        Filter::Not(part) => build(table, part, !negated),
        Filter::And(parts) | Filter::Or(parts) => {
            let all = matches!(filter, Filter::And(_)) != negated;
            let parts = parts.iter().map(|part| build(table, part, negated));
            Condition::joined(parts.collect(), all)
        }
        Filter::Compare { field, comparison } => {
            let exact =
                column_of(table, field).and_then(|(column, kind)| compare(column, kind, comparison, negated));
            exact.unwrap_or_else(|| Condition {
                inexact: Some(Inexact {
                    field: field.clone(),
                    operator: comparison.operator(),
                }),
                ..Condition::anything()
            })
        }
    }
}

/// The exact condition of a comparison; `None` if there is none.
fn compare(column: &str, kind: FieldKind, comparison: &Comparison, negated: bool) -> Option<Condition> {
    let holds = |value: bool| Condition::exact(if value != negated { ALWAYS } else { NEVER }, 1);
    match comparison {
        Comparison::Eq(value) => equal(column, kind, value, negated),
        Comparison::Neq(value) => equal(column, kind, value, !negated),
        Comparison::IsNull => equal(column, kind, &FilterValue::Null, negated),
        Comparison::IsNotNull => equal(column, kind, &FilterValue::Null, !negated),
        Comparison::Gt(value) => ordered(column, kind, [">", "<="], value, negated),
        Comparison::Gte(value) => ordered(column, kind, [">=", "<"], value, negated),
        Comparison::Lt(value) => ordered(column, kind, ["<", ">="], value, negated),
        Comparison::Lte(value) => ordered(column, kind, ["<=", ">"], value, negated),
        Comparison::InList(values) => {
            let parts = values.iter().map(|value| equal(column, kind, value, negated));
            parts
                .collect::<Option<Vec<_>>>()
                .map(|parts| Condition::joined(parts, negated))
        }
        Comparison::StartsWith(prefix) => match kind {
            FieldKind::Text | FieldKind::OptionalText => starts_with(column, prefix, negated),
            FieldKind::Number | FieldKind::Bool => Some(holds(false)),
            _ => None,
        },
        Comparison::Like(_) | Comparison::Contains(_) => match kind {
            FieldKind::Number | FieldKind::Bool => Some(holds(false)),
            // The server's own operator ignores case.
            _ => None,
        },
    }
}

fn equal(column: &str, kind: FieldKind, value: &FilterValue, negated: bool) -> Option<Condition> {
    let operator = if negated { "!=" } else { "=" };
    let constant = |value: bool| Some(Condition::exact(if value != negated { ALWAYS } else { NEVER }, 1));
    match (kind, value) {
        (FieldKind::OptionalText, FilterValue::Null) => {
            Some(Condition::exact(format!("{column} {operator} ''"), 1))
        }
        // The empty text is null in this column.
        (FieldKind::OptionalText, FilterValue::Text(text)) if text.is_empty() => constant(false),
        (FieldKind::Text | FieldKind::OptionalText, FilterValue::Text(text)) => {
            let literal = literal(text)?;
            Some(Condition::exact(format!("{column} {operator} {literal}"), 1))
        }
        (FieldKind::Number, FilterValue::Int(_) | FilterValue::Float(_)) => Some(Condition::exact(
            format!("{column} {operator} {}", number(value)?),
            1,
        )),
        (FieldKind::Bool, FilterValue::Bool(value)) => {
            Some(Condition::exact(format!("{column} {operator} {value}"), 1))
        }
        // Columns of these kinds hold no value of another kind.
        (FieldKind::Text | FieldKind::OptionalText | FieldKind::Number | FieldKind::Bool, _) => {
            constant(false)
        }
        _ => None,
    }
}

/// An order comparison: the operator, and its opposite among values of one kind.
fn ordered(
    column: &str,
    kind: FieldKind,
    operators: [&str; 2],
    value: &FilterValue,
    negated: bool,
) -> Option<Condition> {
    let operator = operators[usize::from(negated)];
    match (kind, value) {
        (FieldKind::Text, FilterValue::Text(text)) => Some(Condition::exact(
            format!("{column} {operator} {}", literal(text)?),
            1,
        )),
        (FieldKind::OptionalText, FilterValue::Text(text)) => {
            // The empty text is null, which is ordered with nothing.
            let compared = format!("{column} {operator} {}", literal(text)?);
            let null = if negated {
                format!("({compared} || {column} = '')")
            } else {
                format!("({compared} && {column} != '')")
            };
            Some(Condition::exact(null, 2))
        }
        (FieldKind::Number, FilterValue::Int(_) | FilterValue::Float(_)) => Some(Condition::exact(
            format!("{column} {operator} {}", number(value)?),
            1,
        )),
        (FieldKind::Bool, FilterValue::Bool(_)) => None,
        (FieldKind::Text | FieldKind::OptionalText | FieldKind::Number | FieldKind::Bool, _) => {
            Some(Condition::exact(if negated { ALWAYS } else { NEVER }, 1))
        }
        _ => None,
    }
}

/// Texts are ordered by their bytes, so those with a prefix are a range.
fn starts_with(column: &str, prefix: &str, negated: bool) -> Option<Condition> {
    if prefix.is_empty() || negated {
        return None;
    }
    let mut chars: Vec<char> = prefix.chars().collect();
    let last = chars.pop()?;
    let next = match u32::from(last) + 1 {
        0xD800 => '\u{E000}',
        next => char::from_u32(next)?,
    };
    chars.push(next);
    let end: String = chars.into_iter().collect();
    let text = format!(
        "{column} >= {} && {column} < {}",
        literal(prefix)?,
        literal(&end)?
    );
    Some(Condition::exact(text, 2))
}

/// A text as a literal; `None` for texts that the server's parser might take otherwise.
fn literal(text: &str) -> Option<String> {
    (!text.contains(char::is_control) && text.len() < LONGEST).then(|| quote(text))
}

/// A number as a literal: exact, and without an exponent, which the server does not read.
fn number(value: &FilterValue) -> Option<String> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    match value {
        FilterValue::Int(integer) if integer.unsigned_abs() <= 1 << 53 => Some(integer.to_string()),
        FilterValue::Float(float) if float.abs() <= LARGEST && (*float == 0.0 || float.abs() > 1e-9) => {
            Some(float.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::CollectionMapping, rows::RowKind};

    fn table() -> Table {
        let mapping = CollectionMapping::fields(
            "todos",
            [
                ("title", FieldKind::Text),
                ("note", FieldKind::OptionalText),
                ("n", FieldKind::Number),
                ("done", FieldKind::Bool),
                ("data", FieldKind::Json),
            ],
        );
        Table::new(mapping, RowKind::Plain)
    }

    #[test]
    fn exact_conditions_mean_what_the_filter_means() {
        for (filter, expected) in [
            (Filter::eq("title", "it's"), r"title = 'it\'s'"),
            (Filter::neq("note", "x"), "note != 'x'"),
            (Filter::is_null("note"), "note = ''"),
            (Filter::eq("note", ""), NEVER),
            (Filter::is_null("n"), NEVER),
            (Filter::neq("title", 5), ALWAYS),
            (!Filter::gt("n", 1.5), "n <= 1.5"),
            (Filter::lt("note", "m"), "(note < 'm' && note != '')"),
            (!Filter::lt("note", "m"), "(note >= 'm' || note = '')"),
            (Filter::eq("done", true), "done = true"),
            (Filter::starts_with("title", "T"), "title >= 'T' && title < 'U'"),
            (
                Filter::in_list("title", ["a", "b"]),
                "(title = 'a') || (title = 'b')",
            ),
            (
                !Filter::in_list("title", ["a", "b"]),
                "(title != 'a') && (title != 'b')",
            ),
            (
                !Filter::eq("title", "a").or(Filter::gt("n", 2)),
                "(title != 'a') && (n <= 2)",
            ),
            (Filter::eq("$id", "nobody"), "id = 'nobody'"),
            (Filter::And(Vec::new()), ALWAYS),
        ] {
            let condition = Condition::of(&table(), &filter);
            assert_eq!(condition.text(), expected, "{filter:?}");
            assert!(condition.is_exact(), "{filter:?}");
        }
    }

    #[test]
    fn what_cannot_be_said_exactly_narrows_as_far_as_it_can_and_is_named() {
        let like = Filter::like("title", "%x%");
        let condition = Condition::of(&table(), &Filter::eq("n", 1).and(like.clone()));
        assert_eq!(condition.text(), "(n = 1)");
        assert_eq!(condition.inexact().unwrap().operator, FilterOperator::Like);
        let either = Condition::of(&table(), &Filter::eq("n", 1).or(like));
        assert_eq!(either.text(), "", "an or with an unknown part narrows nothing");
        for filter in [
            Filter::eq("data", 1),
            Filter::eq("n", i64::MAX),
            Filter::eq("n", 1e-300),
            Filter::eq("title", "a\u{0}b"),
            Filter::eq("deep.field", 1),
            Filter::in_list("title", (0..200).map(|number| number.to_string())),
        ] {
            let condition = Condition::of(&table(), &filter);
            assert_eq!(condition.text(), "", "{filter:?}");
            assert!(!condition.is_exact(), "{filter:?}");
        }
    }
}

//! The query language: JSON texts in `queries[]`, read, checked and evaluated.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::row::{Row, SYSTEM_FIELDS};
use crate::schema::{ColumnKind, Table};
use crate::time::Timestamp;

/// What a list request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub(crate) filters: Vec<Filter>,
    pub(crate) orders: Vec<Order>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: usize,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) select: Option<Vec<String>>,
}

/// One column of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) attribute: String,
    pub(crate) descending: bool,
}

/// Where a page begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) row: String,
    pub(crate) after: bool,
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Compare {
        method: Method,
        attribute: String,
        values: Vec<Value>,
    },
}

macro_rules! methods {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// The methods that compare a column.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Method { $($name),+ }

        impl Method {
            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

methods! {
    Equal "equal", NotEqual "notEqual", LessThan "lessThan", LessThanEqual "lessThanEqual",
    GreaterThan "greaterThan", GreaterThanEqual "greaterThanEqual", Between "between", NotBetween "notBetween",
    IsNull "isNull", IsNotNull "isNotNull", StartsWith "startsWith", NotStartsWith "notStartsWith",
    EndsWith "endsWith", NotEndsWith "notEndsWith", Contains "contains", NotContains "notContains",
    ContainsAny "containsAny", ContainsAll "containsAll", Search "search",
}

impl ListQuery {
    /// Reads the texts of `queries[]`.
    pub(crate) fn parse(texts: &[String], table: &Table) -> Result<Self> {
        if texts.len() > 100
            || texts
                .iter()
                .any(|text| text.is_empty() || text.chars().count() > 4096)
        {
            return Err(invalid_queries_parameter());
        }
        let mut query = Self::default();
        for text in texts {
            let parsed: Value =
                serde_json::from_str(text).map_err(|_| ApiError::query("Invalid query: Syntax error"))?;
            query.add(&parsed, table)?;
        }
        Ok(query)
    }

    fn add(&mut self, parsed: &Value, table: &Table) -> Result<()> {
        let method = method_of(parsed);
        let attribute = parsed
            .get("attribute")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let values = values_of(parsed)?;
        match method {
            "limit" => self.limit = Some(number(&values, "limit", 1)?),
            "offset" => self.offset = number(&values, "offset", 0)?,
            "cursorAfter" | "cursorBefore" => {
                let row = values
                    .first()
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                self.cursor = Some(Cursor {
                    row,
                    after: method == "cursorAfter",
                });
            }
            "orderAsc" | "orderDesc" => {
                check_attribute(table, attribute)?;
                self.orders.push(Order {
                    attribute: attribute.to_owned(),
                    descending: method == "orderDesc",
                });
            }
            "select" => {
                let names: Vec<String> = values
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect();
                for name in names.iter().filter(|name| *name != "*") {
                    check_attribute(table, name)?;
                }
                self.select.get_or_insert_default().extend(names);
            }
            _ => self.filters.push(Filter::parse(parsed, table)?),
        }
        Ok(())
    }
}

/// The `values` of a query; without any, there are none.
fn values_of(parsed: &Value) -> Result<Vec<Value>> {
    match parsed.get("values") {
        Some(Value::Array(values)) => Ok(values.clone()),
        None => Ok(Vec::new()),
        Some(other) => {
            let kind = match other {
                Value::String(_) => "string",
                Value::Number(number) if number.is_f64() => "double",
                Value::Number(_) => "integer",
                Value::Bool(_) => "boolean",
                _ => "NULL",
            };
            Err(ApiError::query(format!(
                "Invalid query values. Must be an array, got {kind}"
            )))
        }
    }
}

fn method_of(parsed: &Value) -> &str {
    parsed.get("method").and_then(Value::as_str).unwrap_or_default()
}

/// The error of a `queries` parameter that is not a list of short texts.
pub(crate) fn invalid_queries_parameter() -> ApiError {
    ApiError::argument(
        "Invalid `queries` param: Value must a valid array no longer than 100 items and Value must be a valid string \
         and at least 1 chars and no longer than 4096 chars",
    )
}

fn number(values: &[Value], name: &str, least: usize) -> Result<usize> {
    let value = values.first();
    let parsed = value
        .and_then(Value::as_u64)
        .or_else(|| value.and_then(Value::as_str)?.parse().ok());
    parsed
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| *number >= least)
        .ok_or_else(|| {
            ApiError::query(format!(
                "Invalid query: Invalid {name}: Value must be a valid range between {least} and \
             9,223,372,036,854,775,808"
            ))
        })
}

fn check_attribute(table: &Table, attribute: &str) -> Result<()> {
    if table.column(attribute).is_some() || SYSTEM_FIELDS.contains(&attribute) {
        return Ok(());
    }
    Err(ApiError::query(format!(
        "Invalid query: Attribute not found in schema: {attribute}"
    )))
}

impl Filter {
    pub(crate) fn parse(parsed: &Value, table: &Table) -> Result<Self> {
        let name = method_of(parsed);
        let values = values_of(parsed)?;
        if name == "and" || name == "or" {
            let parts = values
                .iter()
                .map(|part| Self::parse(part, table))
                .collect::<Result<Vec<_>>>()?;
            return Ok(if name == "and" {
                Self::And(parts)
            } else {
                Self::Or(parts)
            });
        }
        let Some(method) = Method::parse(name) else {
            return Err(ApiError::query(format!("Invalid query method: {name}")));
        };
        let attribute = parsed
            .get("attribute")
            .and_then(Value::as_str)
            .unwrap_or_default();
        check_attribute(table, attribute)?;
        if values.len() > 500 {
            return Err(ApiError::query(format!(
                "Invalid query: Query on attribute has greater than 500 values: {attribute}"
            )));
        }
        if method == Method::Search {
            return Err(ApiError::query(format!(
                "Searching by attribute \"{attribute}\" requires a fulltext index."
            )));
        }
        let values = values
            .iter()
            .map(|value| comparable(table, attribute, value))
            .collect::<Result<_>>()?;
        Ok(Self::Compare {
            method,
            attribute: attribute.to_owned(),
            values,
        })
    }

    /// A condition of a realtime subscription, which knows fewer methods and no table.
    pub(crate) fn parse_for_events(parsed: &Value) -> Option<Self> {
        let name = method_of(parsed);
        let values = values_of(parsed).ok()?;
        if name == "and" || name == "or" {
            let parts = values
                .iter()
                .map(Self::parse_for_events)
                .collect::<Option<Vec<_>>>()?;
            return Some(if name == "and" {
                Self::And(parts)
            } else {
                Self::Or(parts)
            });
        }
        let known = [
            "equal",
            "notEqual",
            "lessThan",
            "lessThanEqual",
            "greaterThan",
            "greaterThanEqual",
            "isNull",
            "isNotNull",
        ];
        let method = Method::parse(name).filter(|_| known.contains(&name))?;
        let attribute = parsed.get("attribute")?.as_str()?.to_owned();
        Some(Self::Compare {
            method,
            attribute,
            values,
        })
    }

    /// Whether a row fits. Text is compared as the database's collation does.
    pub(crate) fn matches(&self, row: &Row, collation: Collation) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.matches(row, collation)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(row, collation)),
            Self::Compare {
                method,
                attribute,
                values,
            } => {
                let value = attribute_of(row, attribute);
                // Ids ignore case by a rule of their own.
                let collation = if attribute == "$id" {
                    collation.of_ids()
                } else {
                    collation
                };
                collation.compare(*method, &value, values)
            }
        }
    }
}

/// Brings a value of a query into the form of the column's values.
fn comparable(table: &Table, attribute: &str, value: &Value) -> Result<Value> {
    let invalid = || {
        ApiError::query(format!(
            "Invalid query: Query value is invalid for attribute \"{attribute}\""
        ))
    };
    match attribute {
        "$createdAt" | "$updatedAt" => date_value(value).ok_or_else(invalid),
        "$sequence" => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            number
                .filter(|number| *number >= 1)
                .map(|number| json!(number))
                .ok_or_else(invalid)
        }
        "$id" => value.as_str().map(|text| json!(text)).ok_or_else(invalid),
        _ => match table.column(attribute).map(|column| column.kind) {
            Some(ColumnKind::Datetime) => date_value(value).ok_or_else(invalid),
            Some(ColumnKind::Integer | ColumnKind::Float) if !value.is_number() => Err(invalid()),
            Some(ColumnKind::Boolean) if !value.is_boolean() => Err(invalid()),
            Some(ColumnKind::Text { .. }) if !value.is_string() => Err(invalid()),
            _ => Ok(value.clone()),
        },
    }
}

fn date_value(value: &Value) -> Option<Value> {
    Timestamp::parse(value.as_str()?).map(|date| json!(date.to_wire()))
}

/// The value of a column, or of what the system adds, in comparable form.
pub(crate) fn attribute_of(row: &Row, attribute: &str) -> Value {
    match attribute {
        "$id" => json!(row.id),
        "$sequence" => json!(row.sequence),
        "$createdAt" => json!(row.created_at.to_wire()),
        "$updatedAt" => json!(row.updated_at.to_wire()),
        _ => row.data.get(attribute).cloned().unwrap_or_default(),
    }
}

/// How text is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Collation {
    pub(crate) text_ignores_case: bool,
    pub(crate) ids_ignore_case: bool,
}

impl Collation {
    pub(crate) fn of_ids(self) -> Self {
        Self {
            text_ignores_case: self.ids_ignore_case,
            ..self
        }
    }

    fn fold(self, text: &str) -> String {
        if self.text_ignores_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    }

    /// The order of two values; null comes first, and values of different types do not compare.
    pub(crate) fn order(self, left: &Value, right: &Value) -> Option<Ordering> {
        match (left, right) {
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            (Value::Null, _) => Some(Ordering::Less),
            (_, Value::Null) => Some(Ordering::Greater),
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
            },
            (Value::String(a), Value::String(b)) => Some(self.fold(a).cmp(&self.fold(b))),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// A comparison as SQL makes it: null fits nothing but a test for null.
    fn compare(self, method: Method, value: &Value, wanted: &[Value]) -> bool {
        match method {
            Method::IsNull => return value.is_null(),
            Method::IsNotNull => return !value.is_null(),
            _ if value.is_null() => return false,
            _ => {}
        }
        let order = |other: &Value| self.order(value, other);
        let first = wanted.first().map(order);
        let within = || match wanted {
            [low, high, ..] => {
                order(low).is_some_and(Ordering::is_ge) && order(high).is_some_and(Ordering::is_le)
            }
            _ => false,
        };
        let any_text = |test: fn(&str, &str) -> bool| {
            let text = value.as_str().map(|text| self.fold(text));
            let wanted = wanted
                .iter()
                .filter_map(Value::as_str)
                .map(|text| self.fold(text));
            text.is_some_and(|text| wanted.into_iter().any(|part| test(&text, &part)))
        };
        let equals = |left: &Value, right: &Value| self.order(left, right) == Some(Ordering::Equal);
        let contains = || match value {
            Value::Array(items) => items
                .iter()
                .any(|item| wanted.iter().any(|part| equals(item, part))),
            _ => any_text(|text, part| text.contains(part)),
        };
        match method {
            Method::Equal => wanted.iter().any(|other| order(other) == Some(Ordering::Equal)),
            Method::NotEqual => wanted.iter().all(|other| order(other) != Some(Ordering::Equal)),
            Method::LessThan => first.flatten().is_some_and(Ordering::is_lt),
            Method::LessThanEqual => first.flatten().is_some_and(Ordering::is_le),
            Method::GreaterThan => first.flatten().is_some_and(Ordering::is_gt),
            Method::GreaterThanEqual => first.flatten().is_some_and(Ordering::is_ge),
            Method::Between => within(),
            Method::NotBetween => !within(),
            Method::StartsWith => any_text(|text, part| text.starts_with(part)),
            Method::NotStartsWith => !any_text(|text, part| text.starts_with(part)),
            Method::EndsWith => any_text(|text, part| text.ends_with(part)),
            Method::NotEndsWith => !any_text(|text, part| text.ends_with(part)),
            Method::Contains | Method::ContainsAny => contains(),
            Method::NotContains => !contains(),
            Method::ContainsAll => value.as_array().is_some_and(|items| {
                wanted
                    .iter()
                    .all(|part| items.iter().any(|item| equals(item, part)))
            }),
            Method::Search | Method::IsNull | Method::IsNotNull => false,
        }
    }
}

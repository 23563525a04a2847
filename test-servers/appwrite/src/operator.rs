//! Operators: text that reads as `{"method":"increment","values":[5]}` changes the stored value instead of
//! replacing it.

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::time::Timestamp;

/// The operators that Appwrite knows.
const METHODS: [&str; 20] = [
    "increment",
    "decrement",
    "multiply",
    "divide",
    "modulo",
    "power",
    "stringConcat",
    "stringReplace",
    "toggle",
    "arrayAppend",
    "arrayPrepend",
    "arrayInsert",
    "arrayRemove",
    "arrayUnique",
    "arrayIntersect",
    "arrayDiff",
    "arrayFilter",
    "dateAddDays",
    "dateSubDays",
    "dateSetNow",
];

/// An operator with its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operator {
    method: String,
    values: Vec<Value>,
}

impl Operator {
    /// Reads text as an operator.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let parsed: Value = serde_json::from_str(value.as_str()?).ok()?;
        let method = parsed.get("method")?.as_str()?;
        let values = parsed.get("values")?.as_array()?.clone();
        METHODS.contains(&method).then(|| Self {
            method: method.to_owned(),
            values,
        })
    }

    /// The value after the operator.
    pub(crate) fn apply(&self, column: &str, current: &Value, now: Timestamp) -> Result<Value> {
        match self.method.as_str() {
            "increment" | "decrement" | "multiply" | "divide" | "modulo" | "power" => {
                self.apply_to_number(column, current)
            }
            "stringConcat" | "stringReplace" => self.apply_to_text(column, current),
            "toggle" => match current {
                Value::Bool(on) => Ok(json!(!on)),
                Value::Null => Ok(json!(true)),
                _ => Err(self.misplaced(column, "non-boolean")),
            },
            "dateAddDays" | "dateSubDays" | "dateSetNow" => self.apply_to_date(column, current, now),
            _ => self.apply_to_list(column, current),
        }
    }

    fn misplaced(&self, column: &str, what: &str) -> ApiError {
        ApiError::structure(format!(
            "Cannot apply {} operator to {what} field '{column}'",
            self.method
        ))
    }

    fn apply_to_number(&self, column: &str, current: &Value) -> Result<Value> {
        let current = if current.is_null() { &json!(0) } else { current };
        if !current.is_number() {
            return Err(self.misplaced(column, "non-numeric"));
        }
        let operand = self.values.first().cloned().unwrap_or(json!(1));
        if let (Some(left), Some(right)) = (current.as_i64(), operand.as_i64()) {
            let whole = match self.method.as_str() {
                "increment" => left.checked_add(right),
                "decrement" => left.checked_sub(right),
                "multiply" => left.checked_mul(right),
                "modulo" => left.checked_rem(right),
                _ => None,
            };
            if let Some(whole) = whole {
                return Ok(json!(whole));
            }
        }
        let (left, right) = (current.as_f64().unwrap_or(0.0), operand.as_f64().unwrap_or(1.0));
        Ok(json!(match self.method.as_str() {
            "increment" => left + right,
            "decrement" => left - right,
            "multiply" => left * right,
            "divide" => left / right,
            "modulo" => left % right,
            _ => left.powf(right),
        }))
    }

    fn apply_to_text(&self, column: &str, current: &Value) -> Result<Value> {
        let text = match current {
            Value::String(text) => text.as_str(),
            Value::Null => "",
            _ => return Err(self.misplaced(column, "non-string")),
        };
        let argument = |at: usize| self.values.get(at).and_then(Value::as_str).unwrap_or_default();
        Ok(match self.method.as_str() {
            "stringConcat" => json!(format!("{text}{}", argument(0))),
            _ => json!(text.replace(argument(0), argument(1))),
        })
    }

    fn apply_to_date(&self, column: &str, current: &Value, now: Timestamp) -> Result<Value> {
        if self.method == "dateSetNow" {
            return Ok(json!(now.to_wire()));
        }
        let date = current.as_str().and_then(Timestamp::parse);
        let date = date.ok_or_else(|| self.misplaced(column, "non-datetime"))?;
        let days = self.values.first().and_then(Value::as_i64).unwrap_or(0) * 86_400_000;
        let moved = date.plus_millis(if self.method == "dateAddDays" { days } else { -days });
        Ok(json!(moved.to_wire()))
    }

    fn apply_to_list(&self, column: &str, current: &Value) -> Result<Value> {
        let Value::Array(list) = current else {
            return Err(self.misplaced(column, "non-array"));
        };
        let mut list = list.clone();
        match self.method.as_str() {
            "arrayAppend" => list.extend(self.values.iter().cloned()),
            "arrayPrepend" => list = self.values.iter().cloned().chain(list).collect(),
            "arrayInsert" => {
                let at = self.values.first().and_then(Value::as_u64).unwrap_or(0);
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(list.len());
                list.insert(at, self.values.get(1).cloned().unwrap_or_default());
            }
            "arrayRemove" => list.retain(|item| !self.values.contains(item)),
            "arrayIntersect" => list.retain(|item| self.values.contains(item)),
            "arrayDiff" => list.retain(|item| !self.values.contains(item)),
            "arrayUnique" => {
                let mut seen = Vec::new();
                list.retain(|item| {
                    !seen.contains(item) && {
                        seen.push(item.clone());
                        true
                    }
                });
            }
            _ => {
                return Err(ApiError::new(
                    501,
                    "stand_in_unsupported",
                    format!("The stand-in does not execute the operator {}", self.method),
                ));
            }
        }
        Ok(Value::Array(list))
    }
}

//! Filters in SQLite's SQL.
//!
//! SQL's logic has three values, ours two. A condition here is true exactly where ours holds, and false or null where
//! it does not; so AND and OR need no care, and NOT turns null into false first.

use sync_core::{
    Result,
    query::{Comparison, FieldPath, Filter, FilterValue, LikePattern, LikeToken},
};

use super::field::{BELOW_NUMBERS, comparable_of, comparable_operand, json_path, kind, value};
use crate::sql::Sql;

/// The column that is filtered.
pub(super) const VIEW: &str = "r.view";

/// Appends a condition, in parentheses. The filter must be valid.
pub(super) fn condition(sql: &mut Sql, filter: &Filter) -> Result<()> {
    sql.push("(");
    match filter {
        Filter::Compare { field, comparison } => compare(sql, &FieldPath::new(field)?, comparison)?,
        Filter::And(parts) => join(sql, parts, " AND ", "1")?,
        Filter::Or(parts) => join(sql, parts, " OR ", "0")?,
        Filter::Not(part) => {
            sql.push("NOT COALESCE(");
            condition(sql, part)?;
            sql.push(", 0)");
        }
    }
    sql.push(")");
    Ok(())
}

/// Joins the parts as a balanced tree: SQLite follows expressions only so deep.
fn join(sql: &mut Sql, parts: &[Filter], operator: &str, without_parts: &str) -> Result<()> {
    match parts {
        [] => {
            sql.push(without_parts);
            Ok(())
        }
        [part] => condition(sql, part),
        parts => {
            let (left, right) = parts.split_at(parts.len() / 2);
            sql.push("(");
            join(sql, left, operator, without_parts)?;
            sql.push(operator);
            join(sql, right, operator, without_parts)?;
            sql.push(")");
            Ok(())
        }
    }
}

fn compare(sql: &mut Sql, path: &FieldPath, comparison: &Comparison) -> Result<()> {
    let field = Field::at(path);
    match comparison {
        Comparison::Eq(operand) => field.equals(sql, operand),
        Comparison::IsNull => field.equals(sql, &FilterValue::Null),
        Comparison::Neq(operand) => {
            field.equals(sql.push("NOT COALESCE("), operand);
            sql.push(", 0)");
        }
        Comparison::IsNotNull => {
            field.equals(sql.push("NOT COALESCE("), &FilterValue::Null);
            sql.push(", 0)");
        }
        Comparison::Gt(operand) => field.ordered(sql, ">", operand),
        Comparison::Gte(operand) => field.ordered(sql, ">=", operand),
        Comparison::Lt(operand) => field.ordered(sql, "<", operand),
        Comparison::Lte(operand) => field.ordered(sql, "<=", operand),
        Comparison::Like(pattern) => field.like(sql, &LikePattern::parse(pattern)?),
        Comparison::StartsWith(prefix) => field.starts_with(sql, prefix),
        Comparison::Contains(part) => field.contains(sql, part),
        Comparison::InList(operands) => field.one_of(sql, operands),
    }
    Ok(())
}

/// A field as SQL: a value that compares as the query language does, and tests of its kind.
pub(super) struct Field {
    pub(super) value: String,
    /// The JSON type; `None` for the id, which is always a text.
    pub(super) kind: Option<String>,
    path: String,
}

impl Field {
    pub(super) fn at(path: &FieldPath) -> Self {
        if path.is_id() {
            Self {
                value: "r.id".to_owned(),
                kind: None,
                path: String::new(),
            }
        } else {
            let path = json_path(path);
            let kind = kind(VIEW, &path);
            Self {
                value: comparable_of(&kind, &value(VIEW, &path)),
                kind: Some(kind),
                path,
            }
        }
    }

    /// Appends a test that is true if the field is a text.
    fn is_text(&self, sql: &mut Sql) {
        match &self.kind {
            Some(kind) => sql.push(kind).push(" = 'text'"),
            None => sql.push("1"),
        };
    }

    /// Appends a test that is true if the field is null or missing.
    fn is_null(&self, sql: &mut Sql) {
        match &self.kind {
            Some(_) => sql.push(&self.value).push(" IS NULL"),
            None => sql.push("0"),
        };
    }

    fn equals(&self, sql: &mut Sql, operand: &FilterValue) {
        match operand {
            FilterValue::Null => self.is_null(sql),
            operand => self.ordered(sql, "=", operand),
        }
    }

    /// Appends `value operator operand`, with the end of the operand's kind where the operator has none.
    fn ordered(&self, sql: &mut Sql, operator: &str, operand: &FilterValue) {
        let is_id = self.kind.is_none();
        let (least, beyond) = match operand {
            FilterValue::Null => {
                sql.push("0");
                return;
            }
            FilterValue::Bool(operand) => return self.ordered_bool(sql, operator, *operand),
            // The column of the id would take numbers for texts.
            FilterValue::Int(_) | FilterValue::Float(_) if is_id => {
                sql.push("0");
                return;
            }
            FilterValue::Int(_) | FilterValue::Float(_) => (BELOW_NUMBERS, "''"),
            FilterValue::Text(_) => ("''", "x''"),
        };
        sql.push(&self.value).push(" ").push(operator).push(" ");
        sql.bind(comparable_operand(operand));
        if is_id || operator == "=" {
            return;
        }
        let (other, end) = if operator.starts_with('<') {
            (" >= ", least)
        } else {
            (" < ", beyond)
        };
        sql.push(" AND ").push(&self.value).push(other).push(end);
    }

    fn ordered_bool(&self, sql: &mut Sql, operator: &str, operand: bool) {
        let holds = |value: &bool| {
            let order = value.cmp(&operand);
            match operator {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                _ => order.is_eq(),
            }
        };
        let values: Vec<FilterValue> = [false, true]
            .into_iter()
            .filter(holds)
            .map(FilterValue::Bool)
            .collect();
        match &values[..] {
            _ if self.kind.is_none() => {
                sql.push("0");
            }
            [] => {
                sql.push("0");
            }
            [value] => {
                sql.push(&self.value).push(" = ").bind(comparable_operand(value));
            }
            values => {
                sql.push(&self.value).push(" IN ");
                sql.bind_list(values.iter().map(comparable_operand));
            }
        }
    }

    fn like(&self, sql: &mut Sql, pattern: &LikePattern) {
        let Some(glob) = glob(pattern) else {
            sql.push("0");
            return;
        };
        sql.push(&self.value).push(" GLOB ").bind(glob);
        self.is_text(sql.push(" AND "));
    }

    /// A range, which an index can serve.
    fn starts_with(&self, sql: &mut Sql, prefix: &str) {
        sql.push(&self.value).push(" >= ").bind(prefix);
        match after_prefix(prefix) {
            Some(end) => {
                sql.push(" AND ").push(&self.value).push(" < ").bind(end);
            }
            None if self.kind.is_some() => {
                sql.push(" AND ").push(&self.value).push(" < x''");
            }
            None => {}
        }
    }

    fn contains(&self, sql: &mut Sql, part: &FilterValue) {
        if let FilterValue::Text(text) = part {
            // A text with NUL is in no text here: records with such texts are not filtered by SQL.
            if text.contains('\0') && self.kind.is_some() {
                sql.push("0");
            } else {
                sql.push("instr(")
                    .push(&self.value)
                    .push(", ")
                    .bind(text.as_str())
                    .push(") > 0");
                self.is_text(sql.push(" AND "));
            }
            sql.push(" OR ");
        }
        let Some(kind) = &self.kind else {
            sql.push("0");
            return;
        };
        sql.push(kind)
            .push(" = 'array' AND EXISTS (SELECT 1 FROM json_each(")
            .push(VIEW)
            .push(", ")
            .push(&self.path);
        sql.push(") e WHERE ");
        let element = Field {
            value: comparable_of("e.type", "e.value"),
            kind: Some("e.type".to_owned()),
            path: String::new(),
        };
        element.equals(sql, part);
        sql.push(")");
    }

    /// The values share a list, which an index can serve.
    fn one_of(&self, sql: &mut Sql, operands: &[FilterValue]) {
        let is_id = self.kind.is_none();
        let comparable: Vec<&FilterValue> = operands
            .iter()
            .filter(|operand| match operand {
                FilterValue::Null => false,
                FilterValue::Text(_) => true,
                FilterValue::Bool(_) | FilterValue::Int(_) | FilterValue::Float(_) => !is_id,
            })
            .collect();
        // A lone list stands without OR, which would keep the index away.
        let nulls = operands.contains(&FilterValue::Null);
        match (nulls, comparable.is_empty()) {
            (true, _) => self.is_null(sql),
            (false, true) => {
                sql.push("0");
            }
            (false, false) => {}
        }
        if !comparable.is_empty() {
            sql.push(if nulls { " OR " } else { "" }).push(&self.value);
            sql.push(" IN ")
                .bind_list(comparable.into_iter().map(comparable_operand));
        }
    }
}

/// The pattern for GLOB, which minds case and takes `?` for one character; `None` if it matches no text without NUL.
fn glob(pattern: &LikePattern) -> Option<String> {
    let mut glob = String::new();
    for token in pattern.tokens() {
        match token {
            LikeToken::AnySequence => glob.push('*'),
            LikeToken::AnyCharacter => glob.push('?'),
            LikeToken::Character('\0') => return None,
            LikeToken::Character(c @ ('*' | '?' | '[')) => {
                glob.push('[');
                glob.push(*c);
                glob.push(']');
            }
            LikeToken::Character(c) => glob.push(*c),
        }
    }
    Some(glob)
}

/// The least text that is greater than every text with this prefix; `None` if there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            char::MAX => continue,
            // The code points between are no characters.
            '\u{d7ff}' => '\u{e000}',
            last => char::from_u32(u32::from(last) + 1)?,
        };
        chars.push(next);
        return Some(chars.into_iter().collect());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_follows_all_that_begin_with_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }

    #[test]
    fn what_glob_takes_specially_is_escaped() {
        let glob_of = |pattern| glob(&LikePattern::parse(pattern).expect("a valid pattern"));
        assert_eq!(glob_of(r"a%b_c*d?e[f]\%").as_deref(), Some("a*b?c[*]d[?]e[[]f]%"));
        assert_eq!(glob_of("\0"), None);
    }
}

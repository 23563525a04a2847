//! Filters in SQLite's SQL.
//!
//! SQL's logic has three values, ours two. A condition here is true exactly where ours holds, and false or null where
//! it does not; so AND and OR need no care, and NOT turns null into false first.

use sync_core::{
    Result,
    query::{Comparison, FieldPath, Filter, FilterValue, LikePattern, LikeToken},
};

use super::field::{json_path, kind, value};
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

/// A field as SQL: its value, and tests of its kind.
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
            Self {
                value: value(VIEW, path),
                kind: Some(kind(VIEW, path)),
                path: json_path(path),
            }
        }
    }

    /// Appends a test that is true if the field has one of these JSON types (`'text'`, ...).
    fn has_kind(&self, sql: &mut Sql, kinds: &str) {
        match &self.kind {
            Some(kind) => sql.push(kind).push(" IN (").push(kinds).push(")"),
            None => sql.push(if kinds.contains("'text'") { "1" } else { "0" }),
        };
    }

    /// Appends a test that is true if the field is null or missing.
    fn is_null(&self, sql: &mut Sql) {
        match &self.kind {
            Some(kind) => sql.push("COALESCE(").push(kind).push(", 'null') = 'null'"),
            None => sql.push("0"),
        };
    }

    fn equals(&self, sql: &mut Sql, operand: &FilterValue) {
        match operand {
            FilterValue::Null => self.is_null(sql),
            operand => self.ordered(sql, "=", operand),
        }
    }

    /// The value comes first, so that an index on it can serve; the kind keeps out values of another kind that SQL
    /// finds equal (1 and true) or ordered (numbers before texts).
    fn ordered(&self, sql: &mut Sql, operator: &str, operand: &FilterValue) {
        let value = |sql: &mut Sql| {
            sql.push(&self.value).push(" ").push(operator).push(" ");
        };
        let kinds = match operand {
            FilterValue::Null => {
                sql.push("0");
                return;
            }
            FilterValue::Bool(operand) => {
                value(sql);
                sql.bind(*operand);
                BOOLEANS
            }
            FilterValue::Int(operand) => {
                value(sql);
                sql.bind(*operand);
                NUMBERS
            }
            FilterValue::Float(operand) => {
                value(sql);
                sql.bind(*operand);
                NUMBERS
            }
            FilterValue::Text(operand) => {
                value(sql);
                sql.bind(operand.as_str());
                TEXTS
            }
        };
        self.has_kind(sql.push(" AND "), kinds);
    }

    fn like(&self, sql: &mut Sql, pattern: &LikePattern) {
        let Some(glob) = glob(pattern) else {
            sql.push("0");
            return;
        };
        sql.push(&self.value).push(" GLOB ").bind(glob);
        self.has_kind(sql.push(" AND "), TEXTS);
    }

    /// A range, which an index can serve.
    fn starts_with(&self, sql: &mut Sql, prefix: &str) {
        sql.push(&self.value).push(" >= ").bind(prefix);
        if let Some(end) = after_prefix(prefix) {
            sql.push(" AND ").push(&self.value).push(" < ").bind(end);
        }
        self.has_kind(sql.push(" AND "), TEXTS);
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
                self.has_kind(sql.push(" AND "), TEXTS);
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
            value: "e.value".to_owned(),
            kind: Some("e.type".to_owned()),
            path: String::new(),
        };
        element.equals(sql, part);
        sql.push(")");
    }

    /// Values of one kind share a list, which an index can serve.
    fn one_of(&self, sql: &mut Sql, operands: &[FilterValue]) {
        let kinds: [(&str, IsOfKind); 3] = [
            (BOOLEANS, |operand| matches!(operand, FilterValue::Bool(_))),
            (NUMBERS, |operand| {
                matches!(operand, FilterValue::Int(_) | FilterValue::Float(_))
            }),
            (TEXTS, |operand| matches!(operand, FilterValue::Text(_))),
        ];
        // A lone alternative stands without OR, which would keep the index away.
        let mut separator = "";
        if operands.contains(&FilterValue::Null) {
            self.is_null(sql);
            separator = " OR ";
        }
        for (names, is_of_kind) in kinds {
            let mut values = operands.iter().filter(|operand| is_of_kind(operand)).peekable();
            if values.peek().is_none() {
                continue;
            }
            sql.push(separator).push("(").push(&self.value).push(" IN (");
            for (index, operand) in values.enumerate() {
                sql.push(if index > 0 { "," } else { "" });
                bind_operand(sql, operand);
            }
            self.has_kind(sql.push(") AND "), names);
            sql.push(")");
            separator = " OR ";
        }
        if separator.is_empty() {
            sql.push("0");
        }
    }
}

/// A test of an operand's kind.
type IsOfKind = fn(&FilterValue) -> bool;

const BOOLEANS: &str = "'true', 'false'";
const NUMBERS: &str = "'integer', 'real'";
const TEXTS: &str = "'text'";

/// Binds a value as SQL compares it; booleans as 1 and 0.
pub(super) fn bind_operand(sql: &mut Sql, operand: &FilterValue) {
    match operand {
        FilterValue::Null => sql.push("NULL"),
        FilterValue::Bool(operand) => sql.bind(*operand),
        FilterValue::Int(operand) => sql.bind(*operand),
        FilterValue::Float(operand) => sql.bind(*operand),
        FilterValue::Text(operand) => sql.bind(operand.as_str()),
    };
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

//! Building statements: text with placeholders, and the values for them.

use std::borrow::Cow;

use sync_core::{OpId, Payload, Timestamp};
use uuid::Uuid;

use crate::dialect::Dialect;

/// A value bound to a placeholder. Null keeps its type, since PostgreSQL asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Param {
    Int(Option<i64>),
    Float(f64),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    /// The text of a record, without a copy of it.
    Record(Payload),
}

macro_rules! param_from {
    ($($type:ty => |$value:ident| $param:expr;)*) => {$(
        impl From<$type> for Param {
            fn from($value: $type) -> Self {
                $param
            }
        }
    )*};
}

param_from! {
    i64 => |value| Self::Int(Some(value));
    Option<i64> => |value| Self::Int(value);
    u32 => |value| Self::Int(Some(value.into()));
    bool => |value| Self::Int(Some(value.into()));
    f64 => |value| Self::Float(value);
    &str => |value| Self::Text(Some(value.to_owned()));
    String => |value| Self::Text(Some(value));
    Option<&str> => |value| Self::Text(value.map(str::to_owned));
    Option<String> => |value| Self::Text(value);
    Timestamp => |value| Self::Int(Some(value.as_micros()));
    Option<Timestamp> => |value| Self::Int(value.map(Timestamp::as_micros));
    Uuid => |value| Self::Bytes(Some(value.as_bytes().to_vec()));
    OpId => |value| Self::from(value.as_uuid());
    Option<Uuid> => |value| Self::Bytes(value.map(|uuid| uuid.as_bytes().to_vec()));
    Option<&Payload> => |value| value.map_or(Self::Text(None), |record| Self::Record(record.clone()));
}

/// A statement under construction.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    dialect: Dialect,
    text: Cow<'static, str>,
    params: Vec<Param>,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            dialect,
            text: text.into(),
            params: Vec::new(),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Appends fixed text. Never put data here.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Appends a placeholder and its value.
    pub(crate) fn bind(&mut self, value: impl Into<Param>) -> &mut Self {
        self.params.push(value.into());
        let text = self.text.to_mut();
        match self.dialect {
            Dialect::Postgres => text.push_str(&format!("${}", self.params.len())),
            Dialect::Sqlite | Dialect::MySql => text.push('?'),
        }
        self
    }

    /// Appends `(?, ?, ...)`. There must be at least one value.
    pub(crate) fn bind_list<P: Into<Param>>(&mut self, values: impl IntoIterator<Item = P>) -> &mut Self {
        self.push("(");
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.bind(value);
        }
        self.push(")")
    }

    /// Appends `text`, unless it would come first.
    pub(crate) fn separate(&mut self, text: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.push(text);
        }
        self
    }

    /// Appends a derived table `(...) AS alias` with these rows. There must be at least one.
    pub(crate) fn table<const N: usize>(
        &mut self,
        alias: &str,
        columns: [&str; N],
        rows: impl IntoIterator<Item = [Param; N]>,
    ) -> &mut Self {
        self.push("(");
        for (index, row) in rows.into_iter().enumerate() {
            // The first row names the columns: only PostgreSQL and MySQL can name those of a VALUES table.
            let (start, end) = match (index, self.dialect) {
                (0, _) => ("SELECT ", ""),
                (_, Dialect::MySql) => (" UNION ALL SELECT ", ""),
                (1, _) => (" UNION ALL VALUES (", ")"),
                (_, _) => (", (", ")"),
            };
            self.push(start);
            for (place, (column, value)) in columns.iter().zip(row).enumerate() {
                self.push(if place > 0 { ", " } else { "" }).bind(value);
                if index == 0 {
                    self.push(" AS ").push(column);
                }
            }
            self.push(end);
        }
        self.push(") AS ").push(alias)
    }

    /// Appends ` LIMIT ?`, if there is a limit. Numbers beyond `i64` mean no limit.
    pub(crate) fn limit(&mut self, limit: Option<u64>) -> &mut Self {
        match limit.and_then(|limit| i64::try_from(limit).ok()) {
            Some(limit) => self.push(" LIMIT ").bind(limit),
            None => self,
        }
    }

    /// How many values the statement has.
    pub(crate) fn width(&self) -> usize {
        self.params.len()
    }

    /// Appends another statement, to be run after this one. Only for SQLite, whose placeholders have no numbers.
    pub(crate) fn append(&mut self, next: Sql) {
        let text = self.text.to_mut();
        text.push_str("; ");
        text.push_str(&next.text);
        self.params.extend(next.params);
    }

    /// Takes over the values of text that was pushed with its placeholders.
    #[cfg(test)]
    #[cfg(feature = "sqlite")]
    pub(crate) fn adopt(&mut self, params: Vec<Param>) {
        self.params.extend(params);
    }

    /// Whether nothing was pushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn into_parts(self) -> (Cow<'static, str>, Vec<Param>) {
        (self.text, self.params)
    }
}

/// Collects the conditions of a WHERE clause.
#[derive(Debug)]
pub(crate) struct Conditions<'a> {
    sql: &'a mut Sql,
    any: bool,
}

impl<'a> Conditions<'a> {
    pub(crate) fn new(sql: &'a mut Sql) -> Self {
        Self { sql, any: false }
    }

    /// Goes on with one more condition, to be pushed to the statement returned.
    pub(crate) fn and(&mut self) -> &mut Sql {
        self.sql.push(if self.any { " AND " } else { " WHERE " });
        self.any = true;
        self.sql
    }

    /// Goes on within the condition begun last.
    pub(crate) fn go_on(&mut self) -> &mut Sql {
        self.sql
    }
}

//! Statements that do the same with each of many rows.

use sync_core::RecordKey;

use crate::{
    commit::CHUNK,
    dialect::Dialect,
    sql::{Param, Sql},
};

/// A statement to be run, whose answer is of no interest.
#[derive(Debug)]
pub(crate) enum Statement {
    One(Sql),
    Rows(Rows),
}

/// A statement for rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) shape: &'static Shape,
    /// The values of all rows, one after the other.
    pub(crate) params: Vec<Param>,
    /// The records that the rows are about, if each of them has to change a row of the table: one that does not was
    /// changed since it was read. Only where statements run row by row.
    pub(crate) guarded: Option<Vec<RecordKey>>,
}

/// The text of a statement for rows, made once.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The text for one row, with `?` for each value.
    one: String,
    /// Where the row is within that text.
    row: std::ops::Range<usize>,
    width: usize,
    /// How many rows one statement can have.
    most: usize,
}

impl Shape {
    /// `INSERT ... VALUES (row) ...`; `?` stands for values, in `row` only.
    pub(crate) fn new(head: &str, row: &str, tail: &str) -> Self {
        Self {
            one: format!("{head}{row}{tail}"),
            row: head.len()..head.len() + row.len(),
            width: row.matches('?').count(),
            most: CHUNK,
        }
    }

    /// A statement for one row at a time; `?` stands for values.
    pub(crate) fn each(text: &str) -> Self {
        Self {
            most: 1,
            ..Self::new("", text, "")
        }
    }

    /// The statement for a single row.
    pub(crate) fn of_one(&self) -> &str {
        &self.one
    }

    /// How many values a row has.
    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

/// Text that is made once for each dialect.
#[derive(Debug)]
pub(crate) struct PerDialect<T> {
    sqlite: T,
    postgres: T,
    mysql: T,
}

impl<T> PerDialect<T> {
    pub(crate) fn new(make: impl Fn(Dialect) -> T) -> Self {
        Self {
            sqlite: make(Dialect::Sqlite),
            postgres: make(Dialect::Postgres),
            mysql: make(Dialect::MySql),
        }
    }

    pub(crate) fn of(&self, dialect: Dialect) -> &T {
        match dialect {
            Dialect::Sqlite => &self.sqlite,
            Dialect::Postgres => &self.postgres,
            Dialect::MySql => &self.mysql,
        }
    }
}

impl Statement {
    /// The same as statements of many rows each.
    pub(crate) fn joined(self, dialect: Dialect) -> Vec<Sql> {
        match self {
            Self::One(sql) => vec![sql],
            Self::Rows(Rows { shape, params, .. }) => {
                let mut params = params.into_iter().peekable();
                let mut statements = Vec::new();
                while params.peek().is_some() {
                    statements.push(shape.joined(dialect, params.by_ref().take(shape.most * shape.width)));
                }
                statements
            }
        }
    }
}

impl Shape {
    fn joined(&self, dialect: Dialect, params: impl Iterator<Item = Param>) -> Sql {
        let pieces: Vec<&str> = self.one[self.row.clone()].split('?').collect();
        let mut sql = Sql::new(dialect, self.one[..self.row.start].to_owned());
        for (place, value) in params.enumerate() {
            let column = place % self.width;
            if column == 0 {
                sql.push(if place > 0 { ", " } else { "" }).push(pieces[0]);
            }
            sql.bind(value).push(pieces[column + 1]);
        }
        sql.push(&self.one[self.row.end..]);
        sql
    }
}

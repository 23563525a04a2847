//! The query language, and the evaluator that defines what it means.
//!
//! A [`QuerySpec`] says which records of a scope to read, in which order, and which part of them. It is data: it
//! can be stored, sent and compared. Stores and remotes translate it into their own language; whatever they do,
//! the answer must be the one that [`evaluate`] gives, or an `Unsupported` error that names the field and the
//! operator ([`FilterOperator::unsupported`]).
//!
//! ```
//! use sync_core::{Payload, RecordId};
//! use sync_core::query::{Field, Filter, QuerySpec, evaluate};
//!
//! // `#[derive(SyncRecord)]` makes such typed names; plain strings work as well.
//! const DONE: Field<bool> = Field::new("done");
//! const TITLE: Field<String> = Field::new("title");
//!
//! let spec = QuerySpec::new()
//!     .filter(DONE.eq(false).and(TITLE.starts_with("buy")).or(Filter::gt("priority", 3)))
//!     .order_by(TITLE.desc())
//!     .limit(10);
//!
//! let rows = [
//!     ("a", r#"{"done":false,"title":"buy tea"}"#),
//!     ("b", r#"{"done":true,"title":"buy milk"}"#),
//!     ("c", r#"{"done":true,"title":"call Ada","priority":5}"#),
//! ]
//! .map(|(id, text)| Ok((RecordId::new(id)?, Payload::parse(text)?)));
//! let rows = rows.into_iter().collect::<sync_core::Result<Vec<_>>>()?;
//!
//! let found = evaluate(&spec, rows)?;
//! let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
//! assert_eq!(ids, ["c", "a"]);
//! # Ok::<(), sync_core::SyncError>(())
//! ```
//!
//! # Semantics
//!
//! ## Fields
//! - A field is named by a [`FieldPath`]: the keys from the payload's top to the field, joined by dots. The name
//!   `$id` is the record's id, a text.
//! - A field is *missing* if a key of its path is absent, or if a value on the way is not an object (an index
//!   into an array is not a path). Missing and null are the same to every filter and to the order.
//! - Numbers are exact: a JSON integer within the range of `i64` is that integer, every other JSON number is the
//!   nearest `f64`. Integers and floats are compared by their exact values, never rounded: `1` equals `1.0`, and
//!   `9007199254740993` is greater than `9007199254740992.0`. `-0.0` equals `0`. There is no NaN.
//! - Texts are compared by the bytes of their UTF-8 form, which is the order of their Unicode scalar values. Case
//!   counts; nothing is normalised.
//!
//! ## Filters
//! Logic has two values: a condition holds or it does not, also when the field is missing.
//!
//! | operator | holds if and only if |
//! |---|---|
//! | `eq` | both are null, or both are booleans, numbers or texts of the same value; arrays and objects equal nothing |
//! | `neq` | `eq` does not hold; so a missing field is `neq` to every value but null |
//! | `gt`, `gte`, `lt`, `lte` | both are numbers, both are texts or both are booleans (`false` before `true`), and so ordered |
//! | `like` | the field is a text that the whole [`LikePattern`] matches |
//! | `contains` | the field is a text with the operand, also a text, inside it; or it is an array with an element that is `eq` to the operand |
//! | `starts_with` | the field is a text that begins with the operand |
//! | `is_null` | the field is missing or null; the same as `eq` null |
//! | `is_not_null` | `is_null` does not hold |
//! | `in_list` | the field is `eq` to one of the values; never, if there are none |
//!
//! - [`Filter::And`] holds if all of its parts hold (so it holds without parts), [`Filter::Or`] if one of them
//!   does (so it does not without parts), [`Filter::Not`] if its part does not.
//! - The empty text is inside every text, and every text begins with it.
//!
//! ## Order and paging
//! - The order of values: missing or null, `false`, `true`, numbers, texts, and last arrays and objects, which
//!   are equal among themselves. A descending field turns this round, nulls included.
//! - Records that all fields of [`QuerySpec::order_by`] leave equal are ordered by their ids, ascending by bytes,
//!   whatever the direction of the fields. So every order is total, and equal queries give equal answers.
//! - [`QuerySpec::after`] keeps the records strictly after a position in that order; the record the position was
//!   taken from need not exist any more. Then `offset` records are skipped, then at most `limit` are taken; a
//!   limit of 0 takes none.

mod columns;
mod evaluate;
mod field;
mod filter;
mod keyset;
mod like;
mod path;
mod predicate;
mod row;
mod scalar;
mod soft_delete;
mod spec;
#[cfg(test)]
mod tests;
mod value;

pub use columns::ColumnTable;
pub use evaluate::{Query, count, evaluate};
pub use field::{Field, ValueFor};
pub use filter::{Comparison, Filter, FilterOperator};
pub use keyset::{Keyset, OrderValue, Position};
pub use like::{LikePattern, LikeToken};
pub use path::FieldPath;
pub use predicate::{MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_LIST_VALUES, Predicate};
pub use soft_delete::{is_marked_deleted, not_marked_deleted};
pub use spec::{MAX_ORDER_FIELDS, OrderBy, QuerySpec};
pub use value::FilterValue;

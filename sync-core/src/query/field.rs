//! Typed names of fields.

use std::{fmt, marker::PhantomData};

use super::{
    filter::{Comparison, Filter},
    spec::OrderBy,
    value::FilterValue,
};

/// The name of a field whose values have the type `V` in the app's own record type.
///
/// `#[derive(SyncRecord)]` makes one per field, so that a misspelt name or a comparison with the wrong type does
/// not compile:
///
/// ```
/// use sync_core::query::{Field, Filter, OrderBy};
/// const DONE: Field<bool> = Field::new("done");
/// const DUE: Field<Option<i64>> = Field::new("due");
/// assert_eq!(DONE.eq(false), Filter::eq("done", false));
/// assert_eq!(DUE.eq(5).or(DUE.eq(None)), Filter::eq("due", 5).or(Filter::eq("due", None::<i64>)));
/// assert_eq!(DUE.desc(), OrderBy::desc("due"));
/// ```
/// ```compile_fail
/// # use sync_core::query::Field;
/// const DONE: Field<bool> = Field::new("done");
/// let _ = DONE.eq("yes");
/// ```
pub struct Field<V> {
    name: &'static str,
    // Shared between threads and copied whatever V is: the field holds no V.
    values: PhantomData<fn() -> V>,
}

impl<V> Field<V> {
    /// The field at the path `name`, written as a [`FieldPath`](super::FieldPath); checked when a query is used.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            values: PhantomData,
        }
    }

    /// The path.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// See [`Filter::eq`].
    pub fn eq(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Eq(value.into_filter_value()))
    }

    /// See [`Filter::neq`].
    pub fn neq(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Neq(value.into_filter_value()))
    }

    /// See [`Filter::gt`].
    pub fn gt(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Gt(value.into_filter_value()))
    }

    /// See [`Filter::gte`].
    pub fn gte(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Gte(value.into_filter_value()))
    }

    /// See [`Filter::lt`].
    pub fn lt(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Lt(value.into_filter_value()))
    }

    /// See [`Filter::lte`].
    pub fn lte(self, value: impl ValueFor<V>) -> Filter {
        self.compare(Comparison::Lte(value.into_filter_value()))
    }

    /// See [`Filter::like`].
    pub fn like(self, pattern: impl Into<String>) -> Filter {
        self.compare(Comparison::Like(pattern.into()))
    }

    /// See [`Filter::contains`]. Takes any value, because it is a part of `V`: a piece of text or an element.
    pub fn contains(self, value: impl Into<FilterValue>) -> Filter {
        self.compare(Comparison::Contains(value.into()))
    }

    /// See [`Filter::starts_with`].
    pub fn starts_with(self, prefix: impl Into<String>) -> Filter {
        self.compare(Comparison::StartsWith(prefix.into()))
    }

    /// See [`Filter::is_null`].
    pub fn is_null(self) -> Filter {
        self.compare(Comparison::IsNull)
    }

    /// See [`Filter::is_not_null`].
    pub fn is_not_null(self) -> Filter {
        self.compare(Comparison::IsNotNull)
    }

    /// See [`Filter::in_list`].
    pub fn in_list<T: ValueFor<V>>(self, values: impl IntoIterator<Item = T>) -> Filter {
        self.compare(Comparison::InList(
            values.into_iter().map(T::into_filter_value).collect(),
        ))
    }

    /// Ordered by this field, nulls and small values first.
    pub fn asc(self) -> OrderBy {
        OrderBy::asc(self.name)
    }

    /// Ordered by this field, large values first and nulls last.
    pub fn desc(self) -> OrderBy {
        OrderBy::desc(self.name)
    }

    fn compare(self, comparison: Comparison) -> Filter {
        Filter::compare(self.name, comparison)
    }
}

// Derives would ask the same of V.
impl<V> Clone for Field<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Field<V> {}

impl<V> fmt::Debug for Field<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name)
    }
}

impl<V> From<Field<V>> for String {
    fn from(field: Field<V>) -> Self {
        field.name.to_owned()
    }
}

/// A value that a field of the type `V` can be compared with: a `V`, for `Option<V>` also a plain `V`, and for
/// texts also `&str`.
///
/// Holds for every type that converts into a [`FilterValue`]; see there for own types.
#[diagnostic::on_unimplemented(
    message = "a field of type `{V}` cannot be compared with `{Self}`",
    note = "own types need `impl From<...> for sync_core::query::FilterValue`"
)]
pub trait ValueFor<V> {
    /// The operand.
    fn into_filter_value(self) -> FilterValue;
}

impl<V: Into<FilterValue>> ValueFor<V> for V {
    fn into_filter_value(self) -> FilterValue {
        self.into()
    }
}

impl<V: Into<FilterValue>> ValueFor<Option<V>> for V {
    fn into_filter_value(self) -> FilterValue {
        self.into()
    }
}

impl ValueFor<String> for &str {
    fn into_filter_value(self) -> FilterValue {
        self.into()
    }
}

impl ValueFor<Option<String>> for &str {
    fn into_filter_value(self) -> FilterValue {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn every_method_gives_the_untyped_filter() {
        let number = Field::<i64>::new("n");
        let text = Field::<String>::new("address.city");
        let optional = Field::<Option<String>>::new("note");
        let tags = Field::<Vec<String>>::new("tags");
        for (typed, plain) in [
            (number.eq(1), Filter::eq("n", 1_i64)),
            (number.neq(1), Filter::neq("n", 1_i64)),
            (number.gt(1), Filter::gt("n", 1_i64)),
            (number.gte(1), Filter::gte("n", 1_i64)),
            (number.lt(1), Filter::lt("n", 1_i64)),
            (number.lte(1), Filter::lte("n", 1_i64)),
            (number.in_list([1, 2]), Filter::in_list("n", [1_i64, 2])),
            (text.eq("Oslo"), Filter::eq("address.city", "Oslo")),
            (text.eq(String::from("Oslo")), Filter::eq("address.city", "Oslo")),
            (text.like("O%"), Filter::like("address.city", "O%")),
            (text.contains("sl"), Filter::contains("address.city", "sl")),
            (text.starts_with("O"), Filter::starts_with("address.city", "O")),
            (
                text.in_list(["a", "b"]),
                Filter::in_list("address.city", ["a", "b"]),
            ),
            (optional.eq("x"), Filter::eq("note", "x")),
            (optional.eq(None), Filter::eq("note", FilterValue::Null)),
            (optional.is_null(), Filter::is_null("note")),
            (optional.is_not_null(), Filter::is_not_null("note")),
            (tags.contains("red"), Filter::contains("tags", "red")),
        ] {
            assert_eq!(typed, plain);
        }
        assert_eq!(
            (text.asc(), text.desc()),
            (OrderBy::asc("address.city"), OrderBy::desc("address.city"))
        );
    }

    #[test]
    fn ids_times_and_floats_are_accepted() {
        let id = Uuid::from_u128(7);
        assert_eq!(
            Field::<Uuid>::new("list").eq(id),
            Filter::eq("list", id.to_string())
        );
        assert_eq!(
            Field::<Timestamp>::new("at").gt(Timestamp::from_micros(5)),
            Filter::gt("at", 5)
        );
        assert_eq!(Field::<Option<f64>>::new("rate").lt(0.5), Filter::lt("rate", 0.5));
        assert_eq!(Field::<u64>::new("size").lt(5), Filter::lt("size", 5));
    }

    #[test]
    fn a_field_is_copied_and_shared_whatever_its_type() {
        fn shared<T: Copy + Send + Sync>(_: T) {}
        shared(Field::<std::rc::Rc<()>>::new("x"));
    }
}

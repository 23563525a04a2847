//! Conditions in the words of the data API, joined by and, or, not.

use sync_core::query::{Filter, FilterOperator};

use super::comparison;
use crate::table_mapping::SupabaseTable;

/// A condition that holds for at least the records meant, and for no others if it is exact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    shape: Shape,
    inexact: Option<Inexact>,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Always,
    Never,
    If(String),
}

/// What could not be said exactly.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Inexact {
    pub(super) field: String,
    pub(super) operator: FilterOperator,
    pub(super) why: &'static str,
}

impl Condition {
    pub(super) fn always() -> Self {
        Self::exactly(Shape::Always)
    }

    pub(super) fn constant(holds: bool) -> Self {
        Self::exactly(if holds { Shape::Always } else { Shape::Never })
    }

    /// This condition, and nothing else.
    pub(super) fn exact(text: impl Into<String>) -> Self {
        Self::exactly(Shape::If(text.into()))
    }

    fn exactly(shape: Shape) -> Self {
        Self { shape, inexact: None }
    }

    /// The same condition, which holds for others as well.
    pub(super) fn but_inexact(mut self, inexact: Inexact) -> Self {
        self.inexact = Some(inexact);
        self
    }

    /// All parts hold, or at least one of them.
    pub(super) fn joined(parts: Vec<Condition>, all: bool) -> Self {
        let inexact = parts.iter().find_map(|part| part.inexact.clone());
        let (neutral, absorbing) = if all {
            (Shape::Always, Shape::Never)
        } else {
            (Shape::Never, Shape::Always)
        };
        // A part that never holds settles an and exactly; one that always may hold says nothing exact of an or.
        let settled = parts
            .iter()
            .find(|part| part.shape == absorbing && part.inexact.is_none());
        if settled.is_some() {
            return Self::exactly(absorbing);
        }
        if parts.iter().any(|part| part.shape == absorbing) {
            return Self {
                shape: absorbing,
                inexact,
            };
        }
        let mut texts: Vec<String> = parts
            .into_iter()
            .filter_map(|part| match part.shape {
                Shape::If(text) => Some(text),
                Shape::Always | Shape::Never => None,
            })
            .collect();
        let shape = match texts.len() {
            0 => neutral,
            1 => Shape::If(texts.remove(0)),
            _ => Shape::If(format!("{}({})", if all { "and" } else { "or" }, texts.join(","))),
        };
        Self { shape, inexact }
    }

    /// The condition of a filter.
    pub(super) fn of(mapping: &SupabaseTable, filter: &Filter) -> Self {
        build(mapping, filter, false)
    }

    /// Gives up a condition that is longer than this.
    pub(super) fn shorten(&mut self, longest: usize) {
        if let Shape::If(text) = &self.shape
            && text.len() > longest
        {
            self.inexact.get_or_insert_with(|| Inexact {
                field: "filter".to_owned(),
                operator: FilterOperator::InList,
                why: "the filter is longer than an address may be",
            });
            self.shape = Shape::Always;
        }
    }

    /// The text; `None` if the condition holds for all records.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::If(text) => Some(text),
            Shape::Always | Shape::Never => None,
        }
    }

    pub(super) fn is_never(&self) -> bool {
        self.shape == Shape::Never
    }

    pub(super) fn is_exact(&self) -> bool {
        self.inexact.is_none()
    }

    pub(super) fn inexact(&self) -> Option<&Inexact> {
        self.inexact.as_ref()
    }
}

fn build(mapping: &SupabaseTable, filter: &Filter, negated: bool) -> Condition {
    match filter {
        Filter::Not(part) => build(mapping, part, !negated),
        Filter::And(parts) | Filter::Or(parts) => {
            let all = matches!(filter, Filter::And(_)) != negated;
            let parts = parts.iter().map(|part| build(mapping, part, negated));
            Condition::joined(parts.collect(), all)
        }
        Filter::Compare { field, comparison } => {
            let inexact = |why: &'static str| Inexact {
                field: field.clone(),
                operator: comparison.operator(),
                why,
            };
            match comparison::condition(mapping, field, comparison, negated) {
                Ok((condition, None)) => condition,
                Ok((condition, Some(why))) => condition.but_inexact(inexact(why)),
                Err(why) => Condition::always().but_inexact(inexact(why)),
            }
        }
    }
}

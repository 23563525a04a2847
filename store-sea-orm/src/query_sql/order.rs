//! Orders and positions in SQLite's SQL.

use sync_core::{
    Result,
    query::{FieldPath, FilterValue, OrderBy, OrderValue, Position},
};

use super::filter::{Field, bind_operand};
use crate::sql::Sql;

/// The rank of a kind of value, as the query language orders them.
const RANKS: &str = "WHEN 'null' THEN 0 WHEN 'false' THEN 1 WHEN 'true' THEN 1 WHEN 'integer' THEN 2 WHEN 'real' \
                     THEN 2 WHEN 'text' THEN 3 ELSE 4 END";

/// A field of an order: what SQL orders by.
struct OrderField {
    /// The rank of the value's kind; `None` for the id, whose kind is always the same.
    rank: Option<String>,
    /// The value among those of its rank; null for arrays and objects, which are all equal.
    value: String,
    descending: bool,
}

impl OrderField {
    fn of(order: &OrderBy) -> Result<Self> {
        let field = Field::at(&FieldPath::new(&order.field)?);
        Ok(match field.kind {
            Some(kind) => Self {
                rank: Some(format!("CASE COALESCE({kind}, 'null') {RANKS}")),
                value: format!(
                    "CASE WHEN {kind} IN ('array', 'object') THEN NULL ELSE {} END",
                    field.value
                ),
                descending: order.descending,
            },
            None => Self {
                rank: None,
                value: field.value,
                descending: order.descending,
            },
        })
    }
}

/// Appends ` ORDER BY ...`, with the id last.
pub(super) fn order_by(sql: &mut Sql, orders: &[OrderBy]) -> Result<()> {
    sql.push(" ORDER BY ");
    for order in orders {
        let field = OrderField::of(order)?;
        let direction = if field.descending { " DESC, " } else { ", " };
        if let Some(rank) = &field.rank {
            sql.push(rank).push(direction);
        }
        sql.push(&field.value).push(direction);
    }
    sql.push("r.id");
    Ok(())
}

/// Appends a condition that holds for the records after a position, in parentheses.
pub(super) fn after(sql: &mut Sql, orders: &[OrderBy], position: &Position) -> Result<()> {
    let fields = orders.iter().map(OrderField::of).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = fields.iter().zip(position.values()).collect();
    // Equal in the first fields and beyond in the next; or equal in all and with a greater id.
    sql.push("(");
    for (count, (field, value)) in pairs.iter().enumerate() {
        equal_in(sql, &pairs[..count]);
        beyond(sql, field, value);
        sql.push(" OR ");
    }
    equal_in(sql, &pairs);
    sql.push("r.id > ").bind(position.id().as_str()).push(")");
    Ok(())
}

/// Appends `a = ... AND b = ... AND `.
fn equal_in(sql: &mut Sql, pairs: &[(&OrderField, &OrderValue)]) {
    for (field, value) in pairs {
        if let Some(field_rank) = &field.rank {
            sql.push(field_rank)
                .push(" = ")
                .push(&rank(value).to_string())
                .push(" AND ");
        }
        if let Some(operand) = operand(value) {
            sql.push(&field.value).push(" = ");
            bind_operand(sql, operand);
            sql.push(" AND ");
        }
    }
}

fn beyond(sql: &mut Sql, field: &OrderField, value: &OrderValue) {
    let operator = if field.descending { " < " } else { " > " };
    let operand = operand(value);
    sql.push("(");
    match &field.rank {
        Some(field_rank) => {
            let rank = rank(value).to_string();
            sql.push(field_rank).push(operator).push(&rank);
            if let Some(operand) = operand {
                sql.push(" OR ")
                    .push(field_rank)
                    .push(" = ")
                    .push(&rank)
                    .push(" AND ");
                sql.push(&field.value).push(operator);
                bind_operand(sql, operand);
            }
        }
        None => match operand {
            Some(FilterValue::Text(operand)) => {
                sql.push(&field.value).push(operator).bind(operand.as_str());
            }
            // The id is a text, whatever a position made elsewhere says of it.
            _ => {
                let beyond_all = (rank(value) < TEXT_RANK) != field.descending;
                sql.push(if beyond_all { "1" } else { "0" });
            }
        },
    }
    sql.push(")");
}

const TEXT_RANK: u8 = 3;

fn rank(value: &OrderValue) -> u8 {
    match value {
        OrderValue::Scalar(FilterValue::Null) => 0,
        OrderValue::Scalar(FilterValue::Bool(_)) => 1,
        OrderValue::Scalar(FilterValue::Int(_) | FilterValue::Float(_)) => 2,
        OrderValue::Scalar(FilterValue::Text(_)) => TEXT_RANK,
        OrderValue::Composite => 4,
    }
}

/// The value to compare with, if the rank alone does not settle it.
fn operand(value: &OrderValue) -> Option<&FilterValue> {
    match value {
        OrderValue::Scalar(FilterValue::Null) | OrderValue::Composite => None,
        OrderValue::Scalar(operand) => Some(operand),
    }
}

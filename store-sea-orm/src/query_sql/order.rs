//! Orders and positions in SQLite's SQL.

use sync_core::{
    Result,
    query::{FieldPath, FilterValue, OrderBy, OrderValue, Position},
};

use super::{field::comparable_operand, filter::Field};
use crate::sql::Sql;

/// A field of an order: what SQL orders by.
struct OrderField {
    value: String,
    is_id: bool,
    descending: bool,
}

impl OrderField {
    fn of(order: &OrderBy) -> Result<Self> {
        let field = Field::at(&FieldPath::new(&order.field)?);
        Ok(Self {
            is_id: field.kind.is_none(),
            value: field.value,
            descending: order.descending,
        })
    }

    /// Appends a condition that holds for the fields which the order takes for equal to `value`.
    fn same(&self, sql: &mut Sql, value: &OrderValue) {
        match (self.is_id, value) {
            (true, OrderValue::Scalar(FilterValue::Text(id))) => {
                sql.push("r.id = ").bind(id.as_str());
            }
            // The id is a text, whatever a position made elsewhere says of it.
            (true, _) => {
                sql.push("0");
            }
            (false, OrderValue::Composite) => {
                sql.push(&self.value).push(" = x''");
            }
            (false, OrderValue::Scalar(value)) => {
                sql.push(&self.value).push(" IS ").bind(comparable_operand(value));
            }
        }
    }

    /// Appends a condition that holds for the fields which come later in the order than `value`.
    fn beyond(&self, sql: &mut Sql, value: &OrderValue) {
        let operator = if self.descending { " < " } else { " > " };
        match (self.is_id, value) {
            (true, OrderValue::Scalar(FilterValue::Text(id))) => {
                sql.push("r.id").push(operator).bind(id.as_str());
            }
            (true, value) => {
                let before_texts = !matches!(value, OrderValue::Composite);
                sql.push(if before_texts == self.descending { "0" } else { "1" });
            }
            (false, OrderValue::Scalar(FilterValue::Null)) if self.descending => {
                sql.push("0");
            }
            (false, OrderValue::Scalar(FilterValue::Null)) => {
                sql.push(&self.value).push(" IS NOT NULL");
            }
            (false, value) => {
                sql.push(&self.value).push(operator);
                match value {
                    OrderValue::Composite => sql.push("x''"),
                    OrderValue::Scalar(value) => sql.bind(comparable_operand(value)),
                };
                if self.descending {
                    sql.push(" OR ").push(&self.value).push(" IS NULL");
                }
            }
        }
    }
}

/// Appends ` ORDER BY ...`, with the id last.
pub(super) fn order_by(sql: &mut Sql, orders: &[OrderBy]) -> Result<()> {
    sql.push(" ORDER BY ");
    for order in orders {
        let field = OrderField::of(order)?;
        sql.push(&field.value)
            .push(if field.descending { " DESC, " } else { ", " });
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
        same_in(sql, &pairs[..count]);
        sql.push("(");
        field.beyond(sql, value);
        sql.push(") OR ");
    }
    same_in(sql, &pairs);
    sql.push("r.id > ").bind(position.id().as_str()).push(")");
    Ok(())
}

/// Appends `a IS ... AND b IS ... AND `.
fn same_in(sql: &mut Sql, pairs: &[(&OrderField, &OrderValue)]) {
    for (field, value) in pairs {
        field.same(sql, value);
        sql.push(" AND ");
    }
}

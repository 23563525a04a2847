//! Columns that are stepped up or down.

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::exchange::Response;
use crate::machine::{Context, Machine, Place};
use crate::permission::Action;
use crate::quirk::Quirk;
use crate::realtime::{Change, EventOrigin};
use crate::row::Row;
use crate::schema::ColumnKind;
use crate::single::body_of;

impl Machine {
    /// `PATCH .../rows/{id}/{column}/increment` and `decrement`.
    pub(crate) fn step_column(
        &mut self,
        context: &Context<'_>,
        place: &Place,
        id: &str,
        column: &str,
        up: bool,
    ) -> Result<Response> {
        let body = body_of(self, context)?;
        self.table(place)?;
        let step = body.get("value").cloned().unwrap_or(json!(1));
        if step.as_f64().is_none_or(|step| step <= 0.0) {
            return Err(ApiError::argument("Value must be numeric and greater than 0"));
        }
        let row = self.table(place)?.row(id).cloned();
        let Some(before) = row.filter(|_| {
            self.table(place)
                .is_ok_and(|table| table.column(column).is_some())
        }) else {
            return Err(self.missing_step_target(id));
        };
        self.check_allowed(context, place, &before, Action::Update)?;
        let after = self.step_row(place, &before, column, up, &step, &body)?;
        let stamp = self.stamp(context.arrival);
        let stored = Row {
            updated_at: stamp,
            ..after.clone()
        };
        self.table_mut(place)?.put(stored.clone());
        let shown = if self.has(Quirk::IncrementAnswersOldStamp) {
            after
        } else {
            stored
        };
        self.publish(place, &shown, Change::Update, EventOrigin::Single);
        Ok(Response::json(200, self.row_form(place).show(&shown)))
    }

    fn missing_step_target(&self, id: &str) -> ApiError {
        if self.has(Quirk::IncrementOfMissingRowNamesColumn) {
            return ApiError::new(
                404,
                "column_not_found",
                "Column with the requested key '%s' could not be found.",
            );
        }
        ApiError::row_not_found(id)
    }

    /// The row with a number stepped up or down, its stamp untouched.
    pub(crate) fn step_row(
        &self,
        place: &Place,
        row: &Row,
        column: &str,
        up: bool,
        step: &Value,
        bounds: &Value,
    ) -> Result<Row> {
        let kind = self.table(place)?.column(column).map(|column| column.kind);
        if !matches!(kind, Some(ColumnKind::Integer | ColumnKind::Float)) {
            return Err(ApiError::new(
                400,
                "attribute_type_invalid",
                format!("tablesDB \"{column}\" is not a number"),
            ));
        }
        let current = row
            .data
            .get(column)
            .filter(|value| !value.is_null())
            .cloned()
            .unwrap_or(json!(0));
        // Some clients send whole steps with a fraction of zero.
        let whole = |value: &Value| {
            let fraction_free = value.as_f64().filter(|number| number.fract() == 0.0);
            value
                .as_i64()
                .or_else(|| fraction_free.map(|number| number as i64))
        };
        let stepped = match (whole(&current), whole(step)) {
            (Some(current), Some(step)) => json!(if up { current + step } else { current - step }),
            _ => {
                let (current, step) = (current.as_f64().unwrap_or(0.0), step.as_f64().unwrap_or(0.0));
                json!(if up { current + step } else { current - step })
            }
        };
        let (name, which) = if up {
            ("max", "maximum")
        } else {
            ("min", "minimum")
        };
        if let (Some(bound), Some(value)) = (bounds.get(name).and_then(Value::as_f64), stepped.as_f64())
            && (if up { value > bound } else { value < bound })
        {
            let bound = &bounds[name];
            return Err(ApiError::new(
                400,
                "column_limit_exceeded",
                format!("tablesDB \"{column}\" has reached the {which} value of {bound}"),
            ));
        }
        let mut after = row.clone();
        after.data.insert(column.to_owned(), stepped);
        Ok(after)
    }
}

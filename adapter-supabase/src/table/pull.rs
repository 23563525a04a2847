//! Pulling: rows by `updated_at` and then id, from the watermark less the overlap to the newest.

use sync_core::{
    Delta, ErrorKind, JsonObject, MalformedRow, PullRequest, RemoteChange, Result, SyncError, Timestamp,
};

use super::{
    Tables,
    cursor::{self, Cursor, Pass, Position, Watermark},
    place::{Place, name},
    row::{Row, id_text, read_time},
};
use crate::{client::Client, feed::shrinking, filter_text::quoted};

impl Tables {
    pub(crate) async fn pull(&self, client: &Client, request: &PullRequest) -> Result<Delta> {
        let place = self.place(&request.target)?;
        let since = request.since.as_ref().map(Cursor::read).transpose()?;
        let user = client.user().await?;
        let was_user = since.as_ref().map(|cursor| cursor.user.clone());
        let is_another = was_user.as_ref().is_some_and(|was| *was != user);
        let watermark = match since.map(|cursor| cursor.position) {
            Some(Position::Within(pass)) => {
                let user = was_user.unwrap_or(user);
                return self
                    .page(client, &place, request.page_size, pass, user, is_another)
                    .await;
            }
            Some(Position::At(watermark)) => Some(watermark),
            None => None,
        };
        let newest = newest(client, &place).await?;
        let Some((until, written)) = newest.row else {
            let ended = Watermark {
                newest: watermark.as_ref().and_then(|watermark| watermark.newest.clone()),
                settled: false,
                count: newest.count,
            };
            let had_rows = watermark
                .and_then(|watermark| watermark.count)
                .is_some_and(|count| count > 0);
            return Ok(delta(client, user, ended, is_another || had_rows));
        };
        let is_still = watermark.as_ref().is_some_and(|watermark| {
            let unmoved = watermark
                .newest
                .as_ref()
                .is_some_and(|(place, _)| *place == until);
            watermark.settled && unmoved && watermark.count == newest.count
        });
        if let (true, Some(watermark)) = (is_still, &watermark) {
            return Ok(delta(client, user, watermark.clone(), is_another));
        }
        let begun = Pass::begin(
            watermark.as_ref(),
            (until, written),
            newest.count,
            self.options.overlap,
            surely_past(client),
            request.holds_nothing && watermark.is_none(),
        );
        let user = was_user.unwrap_or(user);
        self.page(client, &place, request.page_size, begun, user, is_another)
            .await
    }

    /// One page of a pass. `user` is who pulled when it began.
    async fn page(
        &self,
        client: &Client,
        place: &Place<'_>,
        page_size: u32,
        mut pass: Pass,
        user: Option<String>,
        is_another: bool,
    ) -> Result<Delta> {
        let most = page_size.clamp(1, self.options.page);
        let rows = shrinking(most, |limit| read_page(client, place, &pass, limit)).await?;
        let now = server_now(client);
        let asked_from = pass.after.clone();
        let (mut changes, mut malformed) = (Vec::new(), Vec::new());
        // A short page is not the last one: the project may give fewer rows than were asked for.
        let mut more = !rows.is_empty();
        for row in rows {
            let at = place_of(place, &row);
            let written = at.as_ref().and_then(|at| read_time(&at.0));
            if let Some(at) = at {
                more = at != pass.until;
                pass.deliver(at, written, now);
            }
            match understood(place, row, pass.skips_tombstones) {
                Ok(change) => changes.extend(change),
                Err(row) => malformed.push(row),
            }
        }
        if more && pass.after == asked_from {
            let why = "no row of a whole page has an id to go on from";
            return Err(SyncError::new(ErrorKind::Malformed, why).with_field(place.mapping.id.as_str()));
        }
        let (position, user, wants_sweep) = if more {
            (Position::Within(pass), user, false)
        } else {
            let (watermark, unexplained) = pass.end();
            (
                Position::At(watermark),
                client.user().await?,
                unexplained || is_another,
            )
        };
        Ok(Delta {
            changes,
            malformed,
            has_more: more,
            wants_sweep,
            server_time: now,
            ..Delta::empty(Cursor::new(user, position).to_sync_point())
        })
    }
}

/// The newest row, and how many there are.
struct Newest {
    row: Option<(cursor::Place, Option<Timestamp>)>,
    count: Option<u64>,
}

async fn newest(client: &Client, place: &Place<'_>) -> Result<Newest> {
    let (updated_at, id) = (name(&place.mapping.updated_at), name(&place.mapping.id));
    let call = place
        .call(sync_http::Method::GET)
        .query("select", format!("{id},{updated_at}"))
        .query(&place.mapping.updated_at, "not.is.null")
        .query("order", format!("{updated_at}.desc,{id}.desc"))
        .query("limit", "1")
        .prefer("count=exact");
    let answer = client.rows(&call).await?;
    let row = answer.rows.first().and_then(|row| place_of(place, row));
    Ok(Newest {
        row: row.map(|at| {
            let written = read_time(&at.0);
            (at, written)
        }),
        count: answer.total,
    })
}

/// The condition has a form that uses the index.
async fn read_page(client: &Client, place: &Place<'_>, pass: &Pass, limit: u32) -> Result<Vec<JsonObject>> {
    let mapping = place.mapping;
    let (updated_at, id) = (name(&mapping.updated_at), name(&mapping.id));
    let mut call = place.rows();
    if let Some(from) = pass.from() {
        call = call.query(&mapping.updated_at, format!("gte.{from}"));
    }
    if let Some(cursor::Place(time, last)) = &pass.after {
        let (time, last) = (quoted(time), quoted(last));
        let beyond = format!("({updated_at}.gt.{time},and({updated_at}.eq.{time},{id}.gt.{last}))");
        call = call.query("or", beyond);
    }
    let call = call
        .query(&mapping.updated_at, format!("lte.{}", pass.until.0))
        .query("order", format!("{updated_at}.asc,{id}.asc"))
        .query("limit", limit.to_string());
    Ok(client.rows(&call).await?.rows)
}

fn place_of(place: &Place<'_>, row: &JsonObject) -> Option<cursor::Place> {
    let id = id_text(row.get(&place.mapping.id)?)?;
    let updated_at = row.get(&place.mapping.updated_at)?.as_str()?;
    Some(cursor::Place(updated_at.to_owned(), id))
}

fn understood(
    place: &Place<'_>,
    row: JsonObject,
    skips_tombstones: bool,
) -> Result<Option<RemoteChange>, MalformedRow> {
    let row = Row::read(place.mapping, row)?;
    let is_left_out = row.deleted && skips_tombstones;
    Ok((!is_left_out).then(|| RemoteChange {
        state: row.state(),
        id: row.id,
    }))
}

/// A time that the server's clock has surely reached, if an answer told it.
fn surely_past(client: &Client) -> Option<Timestamp> {
    let clock = client.server_clock();
    let error = clock.skew()?.error_micros;
    Some(Timestamp::from_micros(
        clock.now().as_micros().saturating_sub(error),
    ))
}

/// The server's time, if an answer told it.
pub(super) fn server_now(client: &Client) -> Option<Timestamp> {
    let clock = client.server_clock();
    clock.skew().map(|_| clock.now())
}

/// An answer without changes.
fn delta(client: &Client, user: Option<String>, watermark: Watermark, wants_sweep: bool) -> Delta {
    Delta {
        wants_sweep,
        server_time: server_now(client),
        ..Delta::empty(Cursor::new(user, Position::At(watermark)).to_sync_point())
    }
}

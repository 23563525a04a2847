//! The names and channels of a realtime event, in the order in which the server sends them.

use crate::machine::Place;
use crate::realtime::{Change, EventOrigin};

/// Which of database, table and row stand as a star, in order.
const ROW_PATTERNS: [[bool; 3]; 8] = [
    [false, false, false],
    [true, true, true],
    [true, false, false],
    [false, true, false],
    [true, true, false],
    [false, false, true],
    [true, false, true],
    [false, true, true],
];
const TABLE_PATTERNS: [[bool; 2]; 4] = [[false, false], [true, true], [true, false], [false, true]];

/// The 64 names of an event; the first is the most precise.
///
/// For creates and bulk writes the server lists names with a given table later than else.
pub(crate) fn event_names(place: &Place, row: &str, change: Change, origin: EventOrigin) -> Vec<String> {
    let mut rows = ROW_PATTERNS;
    let mut tables = TABLE_PATTERNS;
    let late = match origin {
        EventOrigin::Bulk => true,
        EventOrigin::Single => change == Change::Create,
        EventOrigin::Committed => false,
    };
    if late {
        rows[2..5].rotate_left(1);
        tables[2..4].rotate_left(1);
    }
    let star = |stands: bool, name: &str| if stands { "*".to_owned() } else { name.to_owned() };
    let row_names: Vec<String> = rows
        .iter()
        .flat_map(|[d, t, r]| {
            let (d, t, r) = (star(*d, &place.database), star(*t, &place.table), star(*r, row));
            [
                format!("tablesdb.{d}.tables.{t}.rows.{r}"),
                format!("databases.{d}.collections.{t}.documents.{r}"),
                format!("databases.{d}.tables.{t}.rows.{r}"),
            ]
        })
        .collect();
    let table_names = tables.iter().flat_map(|[d, t]| {
        let (d, t) = (star(*d, &place.database), star(*t, &place.table));
        [
            format!("tablesdb.{d}.tables.{t}"),
            format!("databases.{d}.collections.{t}"),
            format!("databases.{d}.tables.{t}"),
        ]
    });
    let database_names = [place.database.as_str(), "*"]
        .into_iter()
        .flat_map(|database| [format!("tablesdb.{database}"), format!("databases.{database}")]);
    let with_action = row_names.iter().map(|name| format!("{name}.{}", change.name()));
    with_action
        .chain(row_names.iter().cloned())
        .chain(table_names)
        .chain(database_names)
        .collect()
}

/// The 16 channels of an event.
pub(crate) fn event_channels(place: &Place, row: &str, change: Change) -> Vec<String> {
    let Place { database, table } = place;
    let plain = [
        "documents".to_owned(),
        format!("databases.{database}.collections.{table}.documents"),
        format!("databases.{database}.collections.{table}.documents.{row}"),
        "rows".to_owned(),
        format!("databases.{database}.tables.{table}.rows"),
        format!("databases.{database}.tables.{table}.rows.{row}"),
        format!("tablesdb.{database}.tables.{table}.rows"),
        format!("tablesdb.{database}.tables.{table}.rows.{row}"),
    ];
    let with_action = plain.iter().map(|channel| format!("{channel}.{}", change.name()));
    plain.iter().cloned().chain(with_action).collect()
}

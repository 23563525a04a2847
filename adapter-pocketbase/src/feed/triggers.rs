//! The SQL of the feed: the counter's table and the triggers.

use super::{
    names::{FIELD_BASE, FIELD_OP, FIELD_REV, FIELD_STAMP},
    options::FeedOptions,
};

/// Now, as PocketBase writes times.
const NOW: &str = "strftime('%Y-%m-%d %H:%M:%fZ', 'now')";

/// What happens to a record, and the name of its trigger.
const EVENTS: [&str; 7] = [
    "before_insert",
    "after_insert",
    "before_update",
    "after_update",
    "after_scope_change",
    "after_delete",
    "before_intent",
];

/// Makes the table of the counter, with its one row. The counter starts behind the versions there may be from an
/// earlier feed, and its history with a mark.
pub(super) fn make_counter(options: &FeedOptions) -> String {
    let (counter, marks) = (options.names().counter(), options.names().marks());
    let collection = options.collection();
    format!(
        "CREATE TABLE IF NOT EXISTS \"{counter}\" (only INTEGER PRIMARY KEY CHECK (only = 1), \
         epoch TEXT NOT NULL, seq INTEGER NOT NULL, nonce TEXT NOT NULL, floor INTEGER NOT NULL);\n\
         INSERT OR IGNORE INTO \"{counter}\" SELECT 1, lower(hex(randomblob(8))), \
         COALESCE((SELECT MAX({FIELD_REV}) FROM \"{collection}\"), 0), lower(hex(randomblob(6))), 0;\n\
         INSERT OR IGNORE INTO \"{marks}\" (id) SELECT printf('%013d-%s', seq, nonce) FROM \"{counter}\";"
    )
}

pub(super) fn drop_counter(options: &FeedOptions) -> String {
    format!("DROP TABLE IF EXISTS \"{}\";", options.names().counter())
}

/// The query of the view that clients read before and after each page.
pub(super) fn meta_query(options: &FeedOptions, version: u32) -> String {
    format!(
        "SELECT CAST('meta' AS TEXT) AS id, CAST({version} AS INT) AS version, CAST(epoch AS TEXT) AS epoch, \
         CAST(seq AS INT) AS seq, CAST(nonce AS TEXT) AS nonce, CAST(floor AS INT) AS floor, \
         CAST({NOW} AS TEXT) AS now FROM {}",
        options.names().counter()
    )
}

/// Each trigger with the statement that removes an older form of it, to be run in one transaction.
pub(super) fn replace_triggers(options: &FeedOptions) -> Vec<String> {
    let sql = Sql::new(options);
    let bodies = [
        sql.before_insert(),
        sql.after_insert(),
        sql.before_update(),
        sql.after_update(),
        sql.after_scope_change(),
        sql.after_delete(),
        sql.before_intent(),
    ];
    EVENTS
        .iter()
        .zip(bodies)
        .map(|(event, body)| {
            let name = options.names().trigger(event);
            format!("DROP TRIGGER IF EXISTS \"{name}\";\nCREATE TRIGGER \"{name}\" {body};")
        })
        .collect()
}

pub(super) fn drop_triggers(options: &FeedOptions) -> String {
    EVENTS
        .map(|event| format!("DROP TRIGGER IF EXISTS \"{}\";", options.names().trigger(event)))
        .join("\n")
}

/// Numbers at most `most` records that were there before the feed.
pub(super) fn number_old_records(options: &FeedOptions, most: u32) -> String {
    let collection = options.collection();
    format!(
        "UPDATE \"{collection}\" SET {FIELD_REV} = {FIELD_REV} WHERE rowid IN \
         (SELECT rowid FROM \"{collection}\" WHERE {FIELD_REV} = 0 LIMIT {most});"
    )
}

pub(super) fn count_old_records(options: &FeedOptions) -> String {
    format!(
        "SELECT COUNT(*) AS old FROM \"{}\" WHERE {FIELD_REV} = 0",
        options.collection()
    )
}

/// Forgets tombstones of more than `seconds` ago, and remembers up to which number.
pub(super) fn forget_tombstones(options: &FeedOptions, seconds: u64) -> String {
    let (counter, gone) = (options.names().counter(), options.names().gone());
    let limit = format!("strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-{seconds} seconds')");
    format!(
        "UPDATE \"{counter}\" SET floor = MAX(floor, COALESCE(\
         (SELECT MAX(seq) FROM \"{gone}\" WHERE at < {limit}), 0));\n\
         DELETE FROM \"{gone}\" WHERE at < {limit} AND seq <= (SELECT floor FROM \"{counter}\");"
    )
}

/// The statements, with the names of one feed filled in.
struct Sql<'o> {
    options: &'o FeedOptions,
    collection: &'o str,
    counter: String,
    gone: String,
    marks: String,
    ops: String,
}

impl<'o> Sql<'o> {
    fn new(options: &'o FeedOptions) -> Self {
        let names = options.names();
        Self {
            options,
            collection: options.collection(),
            counter: names.counter(),
            gone: names.gone(),
            marks: names.marks(),
            ops: names.ops(),
        }
    }

    /// The current number.
    fn seq(&self) -> String {
        format!("(SELECT seq FROM \"{}\")", self.counter)
    }

    /// The scope fields as further columns: `, "owner"`.
    fn scope_columns(&self) -> String {
        self.each_scope_field(|field| format!(", \"{field}\""))
    }

    /// Their values in the row `row` as further columns: `, OLD."owner"`.
    fn scope_values(&self, row: &str) -> String {
        self.each_scope_field(|field| format!(", {row}.\"{field}\""))
    }

    /// A further condition: the scope is that of the row `row`.
    fn same_scope(&self, row: &str) -> String {
        self.each_scope_field(|field| format!(" AND \"{field}\" IS {row}.\"{field}\""))
    }

    fn each_scope_field(&self, text: impl Fn(&String) -> String) -> String {
        self.options.scope_fields().iter().map(text).collect()
    }

    /// Takes the next number, and marks it in the history.
    fn take_number(&self) -> String {
        let Self { counter, marks, .. } = self;
        let history = self.options.history();
        format!(
            "UPDATE \"{counter}\" SET seq = seq + 1, nonce = lower(hex(randomblob(6)));\n\
             INSERT INTO \"{marks}\" (id) SELECT printf('%013d-%s', seq, nonce) FROM \"{counter}\";\n\
             DELETE FROM \"{marks}\" WHERE id < (SELECT printf('%013d', seq - {history}) FROM \"{counter}\");\n"
        )
    }

    /// Takes the tombstone of the row `row` away, if there is one.
    fn remove_tombstone(&self, row: &str) -> String {
        let same_scope = self.same_scope(row);
        format!(
            "DELETE FROM \"{}\" WHERE record = {row}.id{same_scope};\n",
            self.gone
        )
    }

    /// Leaves a tombstone with the current number for the old row.
    fn leave_tombstone(&self, why: &str, stamp: &str) -> String {
        let Self { counter, gone, .. } = self;
        let (mut columns, mut values) = (self.scope_columns(), self.scope_values("OLD"));
        for field in self.options.copied_fields() {
            columns += &format!(", \"{field}\"");
            values += &format!(", OLD.\"{field}\"");
        }
        let removed = self.remove_tombstone("OLD");
        format!(
            "{removed}INSERT INTO \"{gone}\" (id, seq, record, stamp, at, why{columns}) \
             SELECT CAST(seq AS TEXT), seq, OLD.id, {stamp}, {NOW}, '{why}'{values} FROM \"{counter}\";\n"
        )
    }

    /// Refuses an operation that was logged before.
    fn refuse_repetition(&self) -> String {
        format!(
            "SELECT RAISE(ABORT, 'sync_duplicate') WHERE NEW.{FIELD_OP} <> '' \
             AND EXISTS (SELECT 1 FROM \"{}\" WHERE id = NEW.{FIELD_OP});\n",
            self.ops
        )
    }

    /// A client that made its record without knowing of the tombstone is refused. Others, who name no operation,
    /// may do as they always could.
    fn before_insert(&self) -> String {
        let Self { collection, gone, .. } = self;
        let (repetition, same_scope) = (self.refuse_repetition(), self.same_scope("NEW"));
        format!(
            "BEFORE INSERT ON \"{collection}\" WHEN NEW.{FIELD_OP} <> '' BEGIN\n{repetition}\
             SELECT RAISE(ABORT, 'sync_conflict') WHERE EXISTS (SELECT 1 FROM \"{gone}\" \
             WHERE record = NEW.id{same_scope} AND seq <> NEW.{FIELD_BASE});\nEND"
        )
    }

    /// A new row counts as an update of itself, so that there is one place that takes numbers.
    fn after_insert(&self) -> String {
        let Self { collection, .. } = self;
        let removed = self.remove_tombstone("NEW");
        format!(
            "AFTER INSERT ON \"{collection}\" BEGIN\n{removed}\
             UPDATE \"{collection}\" SET {FIELD_REV} = {FIELD_REV} WHERE id = NEW.id;\nEND"
        )
    }

    /// PocketBase writes whole rows, so a writer that read an older state brings its number along. `sync_base` is
    /// already there (and equal) when a new row counts as an update of itself.
    fn before_update(&self) -> String {
        let Self { collection, .. } = self;
        let repetition = self.refuse_repetition();
        format!(
            "BEFORE UPDATE ON \"{collection}\" BEGIN\n{repetition}\
             SELECT RAISE(ABORT, 'sync_conflict') WHERE NEW.{FIELD_REV} < OLD.{FIELD_REV} \
             OR (NEW.{FIELD_BASE} > 0 AND OLD.{FIELD_BASE} = 0 AND NEW.{FIELD_BASE} <> OLD.{FIELD_REV});\nEND"
        )
    }

    /// The update within is not seen by this trigger again: SQLite's triggers do not fire themselves.
    fn after_update(&self) -> String {
        let Self {
            collection,
            counter,
            ops,
            ..
        } = self;
        let (number, seq, history) = (self.take_number(), self.seq(), self.options.history());
        let (columns, values) = (self.scope_columns(), self.scope_values("NEW"));
        format!(
            "AFTER UPDATE ON \"{collection}\" BEGIN\n{number}\
             INSERT INTO \"{ops}\" (id, seq, record, stamp{columns}) \
             SELECT NEW.{FIELD_OP}, seq, NEW.id, NEW.{FIELD_STAMP}{values} FROM \"{counter}\" \
             WHERE NEW.{FIELD_OP} <> '';\n\
             DELETE FROM \"{ops}\" WHERE seq > 0 AND seq < {seq} - {history};\n\
             UPDATE \"{collection}\" SET {FIELD_REV} = {seq}, {FIELD_BASE} = 0, {FIELD_OP} = '', \
             {FIELD_STAMP} = CASE NEW.{FIELD_OP} WHEN '' THEN '' ELSE NEW.{FIELD_STAMP} END \
             WHERE id = NEW.id;\nEND"
        )
    }

    fn after_scope_change(&self) -> String {
        let changed: String =
            self.each_scope_field(|field| format!(" OR OLD.\"{field}\" IS NOT NEW.\"{field}\""));
        let (number, removed) = (self.take_number(), self.remove_tombstone("NEW"));
        // A writer that names no operation leaves the old stamp where it was.
        let stamp = format!("CASE NEW.{FIELD_OP} WHEN '' THEN '' ELSE NEW.{FIELD_STAMP} END");
        let left = self.leave_tombstone("left", &stamp);
        format!(
            "AFTER UPDATE ON \"{}\" WHEN OLD.id <> NEW.id{changed} BEGIN\n{number}{removed}{left}END",
            self.collection
        )
    }

    fn after_delete(&self) -> String {
        let Self { collection, ops, .. } = self;
        let (number, seq) = (self.take_number(), self.seq());
        let stamp = format!(
            "COALESCE((SELECT o.stamp FROM \"{ops}\" o WHERE o.record = OLD.id AND o.seq = 0 \
             ORDER BY o.rowid DESC LIMIT 1), '')"
        );
        let deleted = self.leave_tombstone("deleted", &stamp);
        format!(
            "AFTER DELETE ON \"{collection}\" BEGIN\n{number}{deleted}\
             UPDATE \"{ops}\" SET seq = {seq} WHERE record = OLD.id AND seq = 0;\nEND"
        )
    }

    /// A delete cannot carry fields, so it comes with an intent in the same transaction, and that is checked.
    fn before_intent(&self) -> String {
        let Self { collection, ops, .. } = self;
        format!(
            "BEFORE INSERT ON \"{ops}\" WHEN NEW.seq = 0 AND NEW.base > 0 BEGIN\n\
             SELECT RAISE(ABORT, 'sync_conflict') WHERE NOT EXISTS (SELECT 1 FROM \"{collection}\" \
             WHERE id = NEW.record AND {FIELD_REV} = NEW.base);\nEND"
        )
    }
}

//! Where the data API's server is known to differ from PostgREST, and the gateway mends it (one is mended in the database).
//!
//! The ledger's test asks for each entry twice, with the mend switched off and on. It fails if the mended answer is not
//! PostgREST's, and also if the unmended one is: then the entry is obsolete.

/// One known deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deviation {
    /// A refusal by privileges or policies is 401 for signed-in users as well; PostgREST answers 403.
    RefusalOfSignedInUsers,
    /// Names in quotes in `columns=` are not found; PostgREST takes the quotes off.
    QuotedColumnNames,
    /// A null argument of a function arrives as an empty text; PostgREST passes null.
    NullArguments,
    /// Error bodies do not say that they are UTF-8; PostgREST says it.
    ErrorsWithoutCharset,
    /// A filter on a time in PATCH and DELETE sends its value as text, for which there is no operator; PostgREST leaves
    /// its type open. No gateway can mend that: [`MEND_OF_TIMES`] does in the database.
    TimesInFiltersOfWrites,
}

/// What is known of a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub deviation: Deviation,
    /// Where PostgREST states its answer: a file of its specification, or the client that relies on it.
    pub stated_in: &'static str,
    /// PostgREST's answer.
    pub postgrest: &'static str,
    /// The answer of the server in its place.
    pub postrust: &'static str,
}

/// Every known deviation that matters here.
pub const LEDGER: [Entry; 5] = [
    Entry {
        deviation: Deviation::RefusalOfSignedInUsers,
        stated_in: "AuthSpec",
        postgrest: "403, code 42501",
        postrust: "401, code 42501, WWW-Authenticate",
    },
    Entry {
        deviation: Deviation::QuotedColumnNames,
        stated_in: "supabase-js sends it with every array",
        postgrest: "201",
        postrust: "400, code PGRST204",
    },
    Entry {
        deviation: Deviation::NullArguments,
        stated_in: "RpcSpec",
        postgrest: "the function is called with null",
        postrust: "the function is called with an empty text",
    },
    Entry {
        deviation: Deviation::ErrorsWithoutCharset,
        stated_in: "every specification of an error",
        postgrest: "application/json; charset=utf-8",
        postrust: "application/json",
    },
    Entry {
        deviation: Deviation::TimesInFiltersOfWrites,
        stated_in: "UpdateSpec",
        postgrest: "204",
        postrust: "404, code 42883",
    },
];

/// What a project runs whose clients filter writes by a time.
pub const MEND_OF_TIMES: &str = "create cast (text as timestamptz) with inout as implicit";

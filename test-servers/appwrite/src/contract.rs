//! The check of answers against the official OpenAPI files.
//!
//! The files are not part of the project. They are looked for in the directory of the environment variable
//! `APPWRITE_SPECS`, and else in `../shared/appwrite/specs` beside the checkout. Without them nothing is
//! checked, which is said on the error stream; with `CI=true` it is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::exchange::{Body, Request, Response};
use crate::quirk::Profile;

/// A known way in which a real Appwrite differs from its own OpenAPI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviation {
    /// The file describes no errors.
    ErrorsAreUndocumented,
    /// An upsert answers 200, and the file says 201.
    UpsertAnswers200,
    /// A bulk create answers a list, and the file says a row.
    BulkCreateAnswersList,
    /// The answer to a staged write, or a read in a transaction, lacks fields that the file requires.
    StagedRowLacksFields,
    /// The route is not in the file.
    RouteIsMissing,
    /// An unknown route answers a page for people.
    UnknownRouteAnswersPage,
}

impl Deviation {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::ErrorsAreUndocumented,
        Self::UpsertAnswers200,
        Self::BulkCreateAnswersList,
        Self::StagedRowLacksFields,
        Self::RouteIsMissing,
        Self::UnknownRouteAnswersPage,
    ];
}

/// Routes that Appwrite has though its file does not name them.
const MISSING_ROUTES: [&str; 2] = ["/ping", "/health/version"];

/// What the file says about a method of a path.
#[derive(Debug)]
struct Operation {
    /// The names of the schemas by status; a status without a body has none.
    answers: BTreeMap<u16, Option<String>>,
}

/// A contract, nothing if there is no file, or what is wrong with the file.
type Loaded = Result<Option<Arc<Contract>>, String>;

/// The OpenAPI file of a version.
#[derive(Debug)]
pub struct Contract {
    /// Operations by method and by the segments of their path; a segment in braces fits anything.
    operations: Vec<(String, Vec<String>, Operation)>,
    schemas: BTreeMap<String, Validator>,
    error: Validator,
}

/// The directory where the files are looked for.
#[must_use]
pub fn specs_directory() -> PathBuf {
    std::env::var_os("APPWRITE_SPECS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/appwrite/specs"),
        PathBuf::from,
    )
}

impl Contract {
    /// The contract of a version, read once in a process; nothing if the file is missing outside of CI.
    ///
    /// # Errors
    ///
    /// If the file is missing and `CI` is `true`, or if it cannot be understood.
    pub fn of(profile: Profile) -> Result<Option<Arc<Self>>, String> {
        static OLD: OnceLock<Loaded> = OnceLock::new();
        static NEW: OnceLock<Loaded> = OnceLock::new();
        let (loaded, file) = match profile {
            Profile::V1_8_1 => (&OLD, "slice-1.8.1-server.json"),
            Profile::V1_9_6 => (&NEW, "slice-1.9.3-server.json"),
        };
        loaded.get_or_init(|| Self::load(file)).clone()
    }

    fn load(file: &str) -> Loaded {
        match std::fs::read(specs_directory().join(file)) {
            Ok(bytes) => {
                let spec = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
                Self::new(spec).map(|contract| Some(Arc::new(contract)))
            }
            Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                Err(format!("the OpenAPI file {file} is needed in CI: {error}"))
            }
            Err(_) => {
                // Written past the capture of test output, so that the skip is seen.
                let mut errors = std::io::stderr();
                let _ = writeln!(
                    errors,
                    "SKIPPED: answers are not checked, the OpenAPI file {file} is missing"
                );
                Ok(None)
            }
        }
    }

    fn new(mut spec: Value) -> Result<Self, String> {
        allow_null(&mut spec);
        let mut operations = Vec::new();
        for (path, methods) in spec["paths"].as_object().into_iter().flatten() {
            let segments: Vec<String> = path.trim_matches('/').split('/').map(str::to_owned).collect();
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let answers = operation["responses"].as_object().into_iter().flatten();
                let answers = answers.filter_map(|(status, answer)| {
                    let schema = answer["content"]["application/json"]["schema"]["$ref"].as_str();
                    let name = schema.and_then(|name| name.rsplit('/').next()).map(str::to_owned);
                    Some((status.parse().ok()?, name))
                });
                let operation = Operation {
                    answers: answers.collect(),
                };
                operations.push((method.to_uppercase(), segments.clone(), operation));
            }
        }
        let names: BTreeSet<String> = operations
            .iter()
            .flat_map(|(_, _, operation)| operation.answers.values().flatten().cloned())
            .chain(["rowList".to_owned()])
            .collect();
        let mut schemas = BTreeMap::new();
        for name in names {
            let reference = format!("#/components/schemas/{name}");
            let schema = json!({"$ref": reference, "components": spec["components"]});
            schemas.insert(name, validator(&schema)?);
        }
        let error = validator(&json!({
            "type": "object",
            "required": ["message", "code", "type", "version"],
            "properties": {
                "message": {"type": "string"},
                "code": {"type": "integer"},
                "type": {"type": "string"},
                "version": {"type": "string"},
            },
        }))?;
        Ok(Self {
            operations,
            schemas,
            error,
        })
    }

    /// Checks an answer and tells which known deviations it shows.
    ///
    /// # Errors
    ///
    /// What is wrong, if the answer differs from the file in a way that is not known.
    pub fn check(&self, request: &Request, response: &Response) -> Result<Vec<Deviation>, String> {
        let place = format!("{} {} -> {}", request.method, request.path, response.status);
        let outcome = self.deviations(request, response);
        outcome.map_err(|problem| format!("{place}: {problem}"))
    }

    fn deviations(&self, request: &Request, response: &Response) -> Result<Vec<Deviation>, String> {
        if response.status >= 400 {
            return match &response.body {
                Body::Json(body) => {
                    check_schema(&self.error, body)?;
                    Ok(vec![Deviation::ErrorsAreUndocumented])
                }
                Body::Html(_) if response.status == 404 && self.operation(request).is_none() => {
                    Ok(vec![Deviation::UnknownRouteAnswersPage])
                }
                _ => Err("an error without a JSON body".into()),
            };
        }
        let Some(operation) = self.operation(request) else {
            let known = MISSING_ROUTES
                .iter()
                .any(|route| request.path == format!("/v1{route}"));
            return if known {
                Ok(vec![Deviation::RouteIsMissing])
            } else {
                Err("the route is not in the file".into())
            };
        };
        let body = request.body_json().unwrap_or_default();
        let mut shown = Vec::new();
        let mut status = response.status;
        if request.method == "PUT" && status == 200 && !operation.answers.contains_key(&200) {
            shown.push(Deviation::UpsertAnswers200);
            status = 201;
        }
        let Some(schema) = operation.answers.get(&status) else {
            return Err("the status is not in the file".into());
        };
        let (Some(schema), Body::Json(answer)) = (schema, &response.body) else {
            let empty = schema.is_none() && response.body == Body::Empty;
            return if empty {
                Ok(shown)
            } else {
                Err("the kind of body is not in the file".into())
            };
        };
        let bulk_create = request.method == "POST" && schema == "row" && body.get("rows").is_some();
        let schema = if bulk_create {
            shown.push(Deviation::BulkCreateAnswersList);
            "rowList"
        } else {
            schema.as_str()
        };
        let validator = self
            .schemas
            .get(schema)
            .ok_or_else(|| format!("there is no schema {schema}"))?;
        let staged = body.get("transactionId").is_some() || request.parameter("transactionId").is_some();
        match check_schema(validator, answer) {
            Ok(()) => Ok(shown),
            Err(_) if staged && schema == "row" => {
                shown.push(Deviation::StagedRowLacksFields);
                Ok(shown)
            }
            Err(problem) => Err(problem),
        }
    }

    fn operation(&self, request: &Request) -> Option<&Operation> {
        let path = request.path.trim_matches('/').strip_prefix("v1/")?;
        let asked: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &[String]| {
            pattern.len() == asked.len()
                && pattern
                    .iter()
                    .zip(&asked)
                    .all(|(part, asked)| part.starts_with('{') || part == asked)
        };
        // A path without braces is more precise than one with them.
        let mut found: Vec<_> = self
            .operations
            .iter()
            .filter(|(method, pattern, _)| *method == request.method && fits(pattern))
            .collect();
        found.sort_by_key(|(_, pattern, _)| pattern.iter().filter(|part| part.starts_with('{')).count());
        found.first().map(|(_, _, operation)| operation)
    }
}

fn validator(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_draft(Draft::Draft7);
    options.build(schema).map_err(|error| error.to_string())
}

fn check_schema(validator: &Validator, value: &Value) -> Result<(), String> {
    let problems: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

/// Turns OpenAPI's `nullable` into a type of JSON Schema.
fn allow_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let nullable = ["nullable", "x-nullable"]
                .iter()
                .any(|name| map.get(*name) == Some(&json!(true)));
            if nullable && let Some(Value::String(kind)) = map.get("type").cloned() {
                map.insert("type".into(), json!([kind, "null"]));
            }
            map.values_mut().for_each(allow_null);
        }
        Value::Array(items) => items.iter_mut().for_each(allow_null),
        _ => {}
    }
}

//! Failures that were found once, kept as files and replayed for ever.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Simulator,
    backend::Backends,
    doubles::{Doubles, Mistake},
    outcome::Outcome,
    plan::Plan,
};

/// One kept failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptBug {
    /// What went wrong, as a sentence.
    pub title: String,
    /// The mistake on purpose that shows it, by its name in [`MISTAKES`](super::MISTAKES). Such a plan must fail
    /// for ever: it shows that the simulation finds the mistake. Without one, it must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<String>,
    /// The plan.
    pub plan: Plan,
}

impl KeptBug {
    /// Replays it, and tells what is wrong with the result.
    ///
    /// # Errors
    /// What does not hold, or that a mistake is not found any more.
    pub fn replay(&self, backends: impl Backends + 'static) -> Result<Outcome, String> {
        let doubles = match &self.mistake {
            None => Doubles::default(),
            Some(name) => Mistake::named(name)
                .ok_or_else(|| format!("{}: there is no mistake {name:?}", self.title))?
                .doubles(),
        };
        let outcome = Simulator::new(backends).with_doubles(doubles).run(&self.plan);
        match (&self.mistake, outcome.violations.first()) {
            (None, Some(violation)) => Err(format!("{}: {violation}", self.title)),
            (Some(name), None) => Err(format!(
                "{}: the mistake {name:?} is not found any more",
                self.title
            )),
            _ => Ok(outcome),
        }
    }
}

/// Every kept failure in a folder of JSON files, by file name.
///
/// # Errors
/// The file system's; a file that is no kept failure is `InvalidData` and named.
pub fn bug_base(folder: &Path) -> io::Result<Vec<(PathBuf, KeptBug)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut bugs = Vec::with_capacity(paths.len());
    for path in paths {
        let bug = serde_json::from_str(&fs::read_to_string(&path)?).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        })?;
        bugs.push((path, bug));
    }
    Ok(bugs)
}

/// Keeps a failure as a file of this name, without extension.
///
/// # Errors
/// The file system's.
pub fn keep_bug(folder: &Path, name: &str, bug: &KeptBug) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name).with_extension("json");
    let text = serde_json::to_string_pretty(bug).map_err(io::Error::other)?;
    fs::write(&path, text + "\n")?;
    Ok(path)
}

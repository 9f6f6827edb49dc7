//! The resources of files that a gateway can be given, checked.
//!
//! Paths are made absolute here, where the files are. A plugin that a file binds
//! and none has may be one that the gateway has: it is asked then, and only then.
//! Used by `apply`, `diff` and `delete`.

use super::connect::Gateway;
use super::files::Files;
use super::kind::Named;
use super::{Failure, To, tell};
use crate::resource::{self, Beside, Checked, Document, Source};

/// The resources of some files, and the texts they were read from.
pub(super) struct Resources {
    pub(super) sources: Vec<Source>,
    pub(super) documents: Vec<Document>,
    /// Whether there was one that is left out.
    pub(super) others: bool,
}

impl Resources {
    /// Reads and checks; tells every problem, and what is left out.
    pub(super) async fn read(files: &Files, to: &To) -> Result<Self, Failure> {
        let (sources, unread) = files.texts();
        let elsewhere = resource::plugins_elsewhere(&sources);
        let asked = if elsewhere.is_empty() {
            Ok(Beside::new())
        } else {
            plugins(to).await
        };
        let (beside, failure) = match asked {
            Ok(there) => (there, None),
            // What is wrong in the files alone is told whether or not it answers.
            Err(failure) => {
                let names = elsewhere.into_iter().map(|name| (name, None));
                (names.collect(), Some(failure))
            }
        };
        let checked = resource::checked_beside(&sources, unread, beside);
        let set = checked.map_err(|problems| tell(&problems))?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let (documents, others): (Vec<_>, Vec<_>) = set
            .documents
            .into_iter()
            .partition(|document| collection(&document.kind).is_some());
        for other in &others {
            super::complain(&format!(
                "{} is left as it is: it is read at start",
                object(other)
            ));
        }
        Ok(Self {
            sources,
            documents,
            others: !others.is_empty(),
        })
    }

    /// Refuses texts without a resource: the program that should have written them
    /// failed, or it is the wrong file. `verb` is what was to be done with it.
    pub(super) fn some(&self, verb: &str) -> Result<(), Failure> {
        if self.others || !self.documents.is_empty() {
            return Ok(());
        }
        let what = match self.sources.as_slice() {
            [one] => format!("{} has", one.name),
            _ => "the files have".to_owned(),
        };
        Err(Failure::Refused(format!(
            "{what} no resource to {verb}; nothing was done"
        )))
    }

    /// Puts plugins before endpoints; how many there are.
    pub(super) fn plugins_first(&mut self) -> usize {
        let plugin = |document: &Document| document.kind == "Plugin";
        self.documents.sort_by_key(|document| !plugin(document));
        self.documents.iter().filter(|one| plugin(one)).count()
    }
}

/// The plugins of the gateway. One that does not check here, as of a later
/// gateway, is known by its name: the gateway judges what binds it.
async fn plugins(to: &To) -> Result<Beside, Failure> {
    let items = Gateway::find(to)?.items("/v1/plugins").await?;
    let named = items.iter().map(|item| {
        let plugin = match resource::check_one(item, []) {
            Ok(Checked::Plugin(plugin)) => Some(*plugin),
            _ => None,
        };
        (super::row::text(item, "/metadata/name").to_owned(), plugin)
    });
    Ok(named.collect())
}

/// Where the admin API has the resources of a kind; none for a kind that is
/// read at start.
fn collection(kind: &str) -> Option<&'static str> {
    match kind {
        "Endpoint" => Some("/v1/endpoints"),
        "Plugin" => Some("/v1/plugins"),
        _ => None,
    }
}

/// What a document of [`Resources`] is.
pub(super) fn named(document: &Document) -> Named {
    let name = document.name.clone();
    match document.kind.as_str() {
        "Plugin" => Named::Plugin(name),
        _ => Named::Endpoint(name),
    }
}

/// A document as `endpoint/iris`.
pub(super) fn object(document: &Document) -> String {
    format!("{}/{}", document.kind.to_lowercase(), document.name)
}

/// Where the admin API has a document.
pub(super) fn path(document: &Document) -> String {
    let collection = collection(&document.kind).unwrap_or("/v1");
    format!("{collection}/{}", document.name)
}

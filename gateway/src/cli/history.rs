//! `tidegate history` and `rollback`: what a resource was, and back to it.
//!
//! Going back is a new revision; none is ever taken away. Called by `cli`.

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::age::{age, now};
use super::connect::Gateway;
use super::get::structured;
use super::kind::{Named, Object};
use super::row::{list, text, whole};
use super::table::Table;
use super::wait::{Patience, Wanted};
use super::{Failure, Output, say};

/// `tidegate history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate history endpoint iris
  tidegate history endpoint/iris -o json")]
pub struct History {
    /// How to show them.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    object: Object,
}

impl History {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let named = self.object.named()?;
        if let Named::Version(endpoint, _) = &named {
            return Err(Failure::Usage(format!(
                "a version's history is its endpoint's: tidegate history endpoint/{endpoint}"
            )));
        }
        let path = format!("{}/history", named.path());
        let items = Gateway::find(&self.object.to)?.items(&path).await?;
        let found = json!({ "items": items, "continue": null });
        if matches!(self.output, Output::Json | Output::Yaml) {
            return structured(&found, self.output);
        }
        let mut table = Table::new(&["REVISION", "AGE", "BY", "CHANGE"]);
        if self.output == Output::Wide {
            table = Table::new(&["REVISION", "TIME", "BY", "CHANGE"]);
        }
        let now = now();
        for one in list(&found, "/items") {
            let revision = whole(one, "/revision").to_string();
            if self.output == Output::Name {
                say(&revision)?;
                continue;
            }
            let time = text(one, "/time");
            let time = match self.output {
                Output::Wide => time.to_owned(),
                _ => age(time, now),
            };
            table.add(vec![
                revision.into(),
                time.into(),
                text(one, "/by").into(),
                text(one, "/change").into(),
            ]);
        }
        match self.output {
            Output::Name => Ok(()),
            _ => table.print(),
        }
    }
}

/// `tidegate rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate rollback endpoint iris --to 3
  tidegate rollback endpoint/iris --to 3 --wait --timeout 5m
  tidegate rollback plugin weighted-split")]
pub struct Rollback {
    /// The revision to go back to, as `history` shows it; of a plugin left out:
    /// the content before.
    #[arg(long = "to", value_name = "REVISION")]
    revision: Option<u64>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    object: Object,
}

impl Rollback {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let named = self.object.named()?;
        match (&named, self.revision) {
            (Named::Plugin(name), None) => {
                super::plugin::rollback(&Gateway::find(&self.object.to)?, name).await
            }
            (Named::Version(endpoint, _), _) => Err(Failure::Usage(format!(
                "a version goes back with its endpoint: tidegate rollback endpoint/{endpoint}"
            ))),
            (Named::Endpoint(_), None) => Err(Failure::Usage(
                "--to REVISION is missing; `tidegate history` shows them".to_owned(),
            )),
            (Named::Endpoint(_) | Named::Plugin(_), Some(to)) => {
                let path = format!("{}/rollback", named.path());
                let content = Bytes::from(json!({ "to": to }).to_string());
                let gateway = Gateway::find(&self.object.to)?;
                gateway.post(&path, "application/json", content).await?;
                say(&format!("{named} is as it was at revision {to}"))?;
                let one = std::slice::from_ref(&named);
                self.patience.until(&gateway, one, Wanted::Healthy).await
            }
        }
    }
}

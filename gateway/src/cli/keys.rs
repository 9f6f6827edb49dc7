//! `tidegate keys`: the keys of an endpoint, for whoever may see them.
//!
//! Writes them to standard output alone. Called by `cli`.

use clap::{Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::connect::Gateway;
use super::get::structured;
use super::kind::segment;
use super::row::text;
use super::{Failure, Output, To, complete, say};

/// `tidegate keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Show the keys of an endpoint; -o name: the primary one alone.
    #[command(after_help = "Examples:
  tidegate keys show iris
  curl -H \"authorization: Bearer $(tidegate keys show iris primary)\" …")]
    Show {
        /// The endpoint.
        #[arg(add = ArgValueCompleter::new(complete::endpoints))]
        endpoint: String,
        /// One of the two, alone.
        which: Option<Which>,
        /// How to show them.
        #[arg(short, long, default_value = "table")]
        output: Output,
        /// Where the gateway is.
        #[command(flatten)]
        to: To,
    },
}

/// One of an endpoint's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

impl Keys {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let Self::Show {
            endpoint,
            which,
            output,
            to,
        } = self;
        let path = format!("/v1/endpoints/{}/keys", segment(endpoint)?);
        let keys = Gateway::find(to)?.get(&path).await?;
        let primary = text(&keys, "/primaryKey");
        let secondary = text(&keys, "/secondaryKey");
        match (which, output) {
            (_, Output::Json | Output::Yaml) => structured(&keys, *output),
            (Some(Which::Secondary), _) => say(secondary),
            (Some(Which::Primary), _) | (None, Output::Name) => say(primary),
            (None, _) => say(&format!("primary    {primary}\nsecondary  {secondary}")),
        }
    }
}

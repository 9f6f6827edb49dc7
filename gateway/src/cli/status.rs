//! `tidegate status`: the gateway itself.
//!
//! Changes nothing. Called by `cli`.

use clap::Args;
use serde_json::Value;

use super::connect::Gateway;
use super::get::structured;
use super::row::{list, or_dash, text, whole};
use super::tone::{Tone, colour, plain};
use super::{Failure, Output, To, say};

/// `tidegate status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate status
  tidegate status -o json")]
pub struct Status {
    /// table, json or yaml.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    to: To,
}

impl Status {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let status = Gateway::find(&self.to)?.get("/v1/status").await?;
        match self.output {
            Output::Json | Output::Yaml => structured(&status, self.output),
            Output::Table | Output::Wide => say(&lines(&status).join("\n")),
            Output::Name => Err(Failure::Usage(
                "status has no names; tidegate get all -o name lists those of resources".to_owned(),
            )),
        }
    }
}

fn lines(status: &Value) -> Vec<String> {
    let mut lines = vec![format!("version    {}", text(status, "/version"))];
    for listener in list(status, "/listeners") {
        let (name, url) = (text(listener, "/name"), text(listener, "/url"));
        lines.push(format!("listener   {name} {url}"));
    }
    lines.push(format!(
        "endpoints  {} of {} ready",
        whole(status, "/endpoints/ready"),
        whole(status, "/endpoints/total")
    ));
    for plugin in list(status, "/plugins") {
        let digest = match text(plugin, "/activeDigest") {
            "" => "nothing loaded",
            digest => digest,
        };
        let (name, role) = (text(plugin, "/name"), text(plugin, "/role"));
        lines.push(format!("plugin     {name} ({}) {digest}", or_dash(role)));
    }
    for warning in list(status, "/warnings") {
        let warning = plain(warning.as_str().unwrap_or_default());
        let warning = Tone::Waiting.paint(&warning, colour());
        lines.push(format!("warning    {warning}"));
    }
    lines
}

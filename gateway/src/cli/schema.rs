//! `tidegate schema`: the JSON Schema of resource files, without a gateway.
//!
//! Only prints; what it says is `resource::schema`'s. Called by `cli`.

use clap::{Args, ValueEnum};

use super::{Failure, say};
use crate::resource::schema::{self, Draft};

/// `tidegate schema`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate schema > tidegate.schema.json
  tidegate schema endpoint --draft 2020-12

The first line of a resource file, for editors with yaml-language-server:
  # yaml-language-server: $schema=tidegate.schema.json")]
pub struct Schema {
    /// Of one kind. Left out: of all; the `kind` of a resource chooses.
    #[arg(value_name = "KIND", ignore_case = true)]
    kind: Option<ResourceKind>,
    /// The version of the JSON Schema language; 7 is what editors read.
    #[arg(long, value_name = "DRAFT", default_value = "7")]
    draft: Language,
}

/// A kind of resource that a file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResourceKind {
    /// The gateway itself.
    #[value(name = "gatewayconfig", aliases = ["gatewayconfigs", "gateway"])]
    GatewayConfig,
    /// A plugin.
    #[value(name = "plugin", alias = "plugins")]
    Plugin,
    /// An endpoint.
    #[value(name = "endpoint", alias = "endpoints")]
    Endpoint,
}

impl ResourceKind {
    /// As files write it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::GatewayConfig => "GatewayConfig",
            Self::Plugin => "Plugin",
            Self::Endpoint => "Endpoint",
        }
    }
}

/// A version of the JSON Schema language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Draft 7, which editors read.
    #[value(name = "7", aliases = ["07", "draft-07", "draft-7"])]
    Seven,
    /// 2020-12, the language of OpenAPI 3.1.
    #[value(name = "2020-12")]
    TwentyTwenty,
}

impl Schema {
    pub(super) fn act(&self) -> Result<(), Failure> {
        let draft = match self.draft {
            Language::Seven => Draft::Seven,
            Language::TwentyTwenty => Draft::TwentyTwenty,
        };
        let of_one = self
            .kind
            .and_then(|kind| schema::of_kind(kind.as_str(), draft));
        let schema = of_one.unwrap_or_else(|| schema::of_all(draft));
        say(&format!("{schema:#}"))
    }
}

//! What a verb is about: a kind of resource, or one of that kind.
//!
//! Says nothing about what is there; that the gateway knows. Used by every verb
//! that takes `KIND NAME` or `KIND/NAME`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::{Failure, To, complete};
use crate::resource;

/// A kind that can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Endpoints.
    Endpoints,
    /// Versions of endpoints, as `iris/blue`.
    Versions,
    /// Plugins.
    Plugins,
}

/// What a kind may be called.
const WORDS: [(&str, Kind); 6] = [
    ("endpoints", Kind::Endpoints),
    ("endpoint", Kind::Endpoints),
    ("versions", Kind::Versions),
    ("version", Kind::Versions),
    ("plugins", Kind::Plugins),
    ("plugin", Kind::Plugins),
];

impl Kind {
    /// All, in the order in which `get all` shows them.
    pub(super) const ALL: [Self; 3] = [Self::Endpoints, Self::Versions, Self::Plugins];

    /// One of them.
    pub(super) const fn singular(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoint",
            Self::Versions => "version",
            Self::Plugins => "plugin",
        }
    }

    fn parse(word: &str) -> Result<Self, Failure> {
        let small = word.to_ascii_lowercase();
        if let Some((_, kind)) = WORDS.iter().find(|(known, _)| *known == small) {
            return Ok(*kind);
        }
        let known = WORDS.map(|(word, _)| word);
        let hint = resource::suggestion(word, &known);
        let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
        Err(Failure::Usage(format!(
            "{word:?} is not a kind; endpoints, versions and plugins are{hint}"
        )))
    }
}

/// `endpoints`, `endpoint iris` or `endpoint/iris`; a version is `iris/blue`.
pub(super) fn wanted(kind: &str, name: Option<&str>) -> Result<(Kind, Option<String>), Failure> {
    let (word, inner) = match kind.split_once('/') {
        Some((word, inner)) => (word, Some(inner)),
        None => (kind, None),
    };
    let kind = Kind::parse(word)?;
    match (inner, name) {
        (Some(_), Some(name)) => Err(Failure::Usage(format!("two names: in {word}/… and {name}"))),
        (inner, name) => Ok((kind, inner.or(name).map(str::to_owned))),
    }
}

/// A name as a part of a path; nothing else could be one.
pub(super) fn segment(name: &str) -> Result<&str, Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.') {
        Ok(name)
    } else {
        Err(Failure::Usage(format!("{name:?} is not a name")))
    }
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// An endpoint.
    Endpoint(String),
    /// A version of an endpoint.
    Version(String, String),
    /// A plugin.
    Plugin(String),
}

impl Named {
    /// One of a kind by its name.
    pub(super) fn of(kind: Kind, name: &str) -> Result<Self, Failure> {
        match kind {
            Kind::Endpoints => Ok(Self::Endpoint(segment(name)?.to_owned())),
            Kind::Plugins => Ok(Self::Plugin(segment(name)?.to_owned())),
            Kind::Versions => {
                let Some((endpoint, version)) = name.split_once('/') else {
                    return Err(Failure::Usage(format!(
                        "{name:?} is not a version; write ENDPOINT/VERSION, as in version/iris/blue"
                    )));
                };
                Ok(Self::Version(
                    segment(endpoint)?.to_owned(),
                    segment(version)?.to_owned(),
                ))
            }
        }
    }

    /// The endpoint that it is or belongs to; a plugin belongs to none.
    pub(super) fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Endpoint(name) | Self::Version(name, _) => Some(name),
            Self::Plugin(_) => None,
        }
    }

    /// Where the admin API has it.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Endpoint(name) => format!("/v1/endpoints/{name}"),
            Self::Version(endpoint, version) => {
                format!("/v1/endpoints/{endpoint}/versions/{version}")
            }
            Self::Plugin(name) => format!("/v1/plugins/{name}"),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(name) => write!(f, "endpoint/{name}"),
            Self::Version(endpoint, version) => write!(f, "version/{endpoint}/{version}"),
            Self::Plugin(name) => write!(f, "plugin/{name}"),
        }
    }
}

/// One resource, as `endpoint iris` or `endpoint/iris`.
#[derive(Debug, Args)]
pub struct Object {
    /// endpoint, version or plugin; or KIND/NAME, as endpoint/iris and version/iris/blue.
    #[arg(value_name = "KIND", add = ArgValueCompleter::new(complete::kinds))]
    kind: String,
    /// Its name; of a version ENDPOINT/VERSION.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::named))]
    name: Option<String>,
    #[command(flatten)]
    pub(super) to: To,
}

impl Object {
    /// The one that is named.
    pub(super) fn named(&self) -> Result<Named, Failure> {
        one(&self.kind, self.name.as_deref())
    }
}

/// The one that `KIND NAME` or `KIND/NAME` names.
pub(super) fn one(kind: &str, name: Option<&str>) -> Result<Named, Failure> {
    match wanted(kind, name)? {
        (kind, Some(name)) => Named::of(kind, &name),
        (_, None) => Err(Failure::Usage(format!(
            "which {kind}? name one, as in {kind}/NAME"
        ))),
    }
}

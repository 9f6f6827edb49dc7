//! `tidegate get`: lists, and single resources, once or as they change.
//!
//! Changes nothing. Called by `cli`, and by `plugin` for its list.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::connect::Gateway;
use super::kind::{Kind, Named, wanted};
use super::row::{self, text};
use super::table::{Cell, Table};
use super::{Failure, Output, To, complete, say};
use crate::resource::list::LIST;
use crate::resource::load::API_VERSION;
use crate::resource::yaml;

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_millis(500);

/// `tidegate get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate get endpoints
  tidegate get endpoint/iris -o yaml
  tidegate get versions iris --watch
  tidegate get all -o name")]
pub struct Get {
    /// endpoints, versions, plugins or all; or one, as endpoint/iris or `endpoint iris`.
    #[arg(add = ArgValueCompleter::new(complete::kinds))]
    kind: String,
    /// The name of one; of a version ENDPOINT/VERSION, or the endpoint alone for all its versions.
    #[arg(add = ArgValueCompleter::new(complete::named))]
    name: Option<String>,
    /// Go on and show what changes.
    #[arg(short, long)]
    watch: bool,
    /// How to show them.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    to: To,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All kinds.
    All,
    /// All of a kind.
    Kind(Kind),
    /// All versions of an endpoint.
    VersionsOf(String),
    /// One.
    One(Kind, Named),
}

impl Get {
    fn asked(&self) -> Result<Asked, Failure> {
        if self.kind.eq_ignore_ascii_case("all") {
            return match &self.name {
                None => Ok(Asked::All),
                Some(name) => Err(Failure::Usage(format!("all has no {name}; name a kind"))),
            };
        }
        Ok(match wanted(&self.kind, self.name.as_deref())? {
            (kind, None) => Asked::Kind(kind),
            (Kind::Versions, Some(name)) if !name.contains('/') => {
                match Named::of(Kind::Endpoints, &name)? {
                    Named::Endpoint(endpoint) => Asked::VersionsOf(endpoint),
                    other => Asked::One(Kind::Versions, other),
                }
            }
            (kind, Some(name)) => Asked::One(kind, Named::of(kind, &name)?),
        })
    }

    pub(super) async fn act(&self) -> Result<(), Failure> {
        let asked = self.asked()?;
        if self.watch && asked == Asked::All {
            return Err(Failure::Usage("--watch shows one kind; name it".to_owned()));
        }
        let gateway = Gateway::find(&self.to)?;
        match &asked {
            Asked::All => all(&gateway, self.output).await,
            Asked::Kind(kind) if !self.watch => list(&gateway, *kind, self.output).await,
            Asked::One(_, named @ Named::Version(endpoint, version))
                if !self.watch && matches!(self.output, Output::Json | Output::Yaml) =>
            {
                let shown = match gateway.get_if_there(&named.path()).await? {
                    Some(shown) => shown,
                    None => {
                        let whole = gateway.get(&format!("/v1/endpoints/{endpoint}")).await?;
                        return Err(no_version(endpoint, version, &whole));
                    }
                };
                structured(&shown, self.output)
            }
            Asked::One(kind, named) if !self.watch => {
                let item = fetch(&gateway, &asked).await?;
                match (self.output, item.first()) {
                    (Output::Json | Output::Yaml, Some(item)) => structured(item, self.output),
                    (_, None) => Err(Failure::NotFound(format!("no {named}"))),
                    _ => shown(*kind, &item, self.output),
                }
            }
            Asked::VersionsOf(_) if !self.watch => {
                let items = fetch(&gateway, &asked).await?;
                shown(Kind::Versions, &items, self.output)
            }
            _ => watch(&gateway, &asked, self.output).await,
        }
    }
}

/// What is asked for, as it is now.
async fn fetch(gateway: &Gateway, asked: &Asked) -> Result<Vec<Value>, Failure> {
    match asked {
        Asked::All => Ok(Vec::new()),
        Asked::Kind(kind) => items(gateway, *kind).await,
        Asked::VersionsOf(endpoint) => {
            let path = format!("/v1/endpoints/{endpoint}");
            Ok(row::versions(&gateway.get(&path).await?))
        }
        Asked::One(_, Named::Version(endpoint, version)) => {
            let whole = gateway.get(&format!("/v1/endpoints/{endpoint}")).await?;
            let mut versions = row::versions(&whole);
            versions.retain(|one| text(one, "/metadata/name") == version);
            if versions.is_empty() {
                return Err(no_version(endpoint, version, &whole));
            }
            Ok(versions)
        }
        Asked::One(_, named) => Ok(vec![gateway.get(&named.path()).await?]),
    }
}

/// That an endpoint has no such version, and which it may be.
pub(super) fn no_version(endpoint: &str, version: &str, whole: &Value) -> Failure {
    let names: Vec<&str> = row::list(whole, "/spec/versions")
        .iter()
        .map(|one| text(one, "/name"))
        .collect();
    let hint = crate::resource::suggestion(version, &names)
        .unwrap_or_else(|| format!("it has {}", names.join(", ")));
    Failure::NotFound(format!(
        "endpoint {endpoint} has no version {version}; {hint}"
    ))
}

async fn items(gateway: &Gateway, kind: Kind) -> Result<Vec<Value>, Failure> {
    match kind {
        Kind::Endpoints => gateway.items("/v1/endpoints").await,
        Kind::Plugins => gateway.items("/v1/plugins").await,
        Kind::Versions => {
            let endpoints = gateway.items("/v1/endpoints").await?;
            Ok(endpoints.iter().flat_map(row::versions).collect())
        }
    }
}

/// All of a kind.
pub(super) async fn list(gateway: &Gateway, kind: Kind, output: Output) -> Result<(), Failure> {
    let items = items(gateway, kind).await?;
    shown(kind, &items, output)
}

async fn all(gateway: &Gateway, output: Output) -> Result<(), Failure> {
    let mut every = Vec::new();
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let items = items(gateway, kind).await?;
        match output {
            // An endpoint has its versions.
            Output::Json | Output::Yaml if kind == Kind::Versions => {}
            Output::Json | Output::Yaml => every.extend(items),
            Output::Name => shown(kind, &items, output)?,
            Output::Table | Output::Wide => {
                if at > 0 {
                    say("")?;
                }
                let mut table = Table::new(row::head(kind, output == Output::Wide));
                for item in &items {
                    let mut row = row::row(kind, item, output == Output::Wide);
                    if let Some(first) = row.first_mut() {
                        *first = row::name(kind, item).into();
                    }
                    table.add(row);
                }
                table.print()?;
            }
        }
    }
    match output {
        Output::Json | Output::Yaml => structured(&resources(every), output),
        _ => Ok(()),
    }
}

fn shown(kind: Kind, items: &[Value], output: Output) -> Result<(), Failure> {
    match output {
        Output::Json | Output::Yaml if kind == Kind::Versions => {
            let items: Vec<Value> = items.iter().map(row::flat).collect();
            structured(&json!({ "items": items }), output)
        }
        Output::Json | Output::Yaml => structured(&resources(items.to_vec()), output),
        Output::Name => {
            let names: Vec<String> = items.iter().map(|item| row::name(kind, item)).collect();
            if names.is_empty() {
                return Ok(());
            }
            say(&names.join("\n"))
        }
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let mut table = Table::new(row::head(kind, wide));
            for item in items {
                table.add(row::row(kind, item, wide));
            }
            table.print()
        }
    }
}

/// Resources as `apply` takes them again.
fn resources(items: Vec<Value>) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": LIST, "items": items })
}

/// JSON or YAML.
pub(super) fn structured(value: &Value, output: Output) -> Result<(), Failure> {
    if output == Output::Yaml {
        return say(yaml(value).map_err(Failure::Refused)?.trim_end());
    }
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Refused(error.to_string()))?;
    say(&text)
}

/// Shows what is there, then every row that is new or another one, until the
/// gateway is gone. A row of what was taken away says `Deleted`.
async fn watch(gateway: &Gateway, asked: &Asked, output: Output) -> Result<(), Failure> {
    let kind = match asked {
        Asked::Kind(kind) | Asked::One(kind, _) => *kind,
        Asked::All | Asked::VersionsOf(_) => Kind::Versions,
    };
    let wide = output == Output::Wide;
    let mut table =
        matches!(output, Output::Table | Output::Wide).then(|| Table::new(row::head(kind, wide)));
    let mut seen: BTreeMap<String, (Value, Vec<Cell>)> = BTreeMap::new();
    let mut first = true;
    loop {
        let found = match fetch(gateway, asked).await {
            // What is watched may come back.
            Err(Failure::NotFound(_)) if !first => Vec::new(),
            found => found?,
        };
        first = false;
        let mut gone = std::mem::take(&mut seen);
        for item in found {
            let (name, row) = (row::name(kind, &item), row::row(kind, &item, wide));
            let same = gone
                .remove(&name)
                .is_some_and(|(before, cells)| match output {
                    Output::Table | Output::Wide => cells == row,
                    Output::Json | Output::Yaml => before == item,
                    Output::Name => true,
                });
            if !same {
                changed(&mut table, &name, &shape(kind, &item), row.clone(), output)?;
            }
            seen.insert(name, (item, row));
        }
        for (name, (item, mut row)) in gone {
            if let Some(state) = row.get_mut(1).filter(|_| kind != Kind::Plugins) {
                *state = "Deleted".into();
            }
            changed(&mut table, &name, &shape(kind, &item), row, output)?;
        }
        if let Some(table) = &mut table {
            table.print()?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An item as `-o json` shows it.
fn shape(kind: Kind, item: &Value) -> Value {
    match kind {
        Kind::Versions => row::flat(item),
        Kind::Endpoints | Kind::Plugins => item.clone(),
    }
}

fn changed(
    table: &mut Option<Table>,
    name: &str,
    item: &Value,
    row: Vec<Cell>,
    output: Output,
) -> Result<(), Failure> {
    match (table, output) {
        (Some(table), _) => {
            table.add(row);
            Ok(())
        }
        (None, Output::Name) => say(name),
        (None, Output::Yaml) => {
            say("---")?;
            structured(item, output)
        }
        (None, _) => say(&item.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Line, Verb};
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Asked, &str>) {
        let words = format!("tidegate get {line}");
        let Verb::Get(get) = Line::parse_from(words.split(' ')).verb else {
            panic!("{line} is no get");
        };
        match (get.asked(), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
            (Err(Failure::Usage(why)), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => panic!("{line}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn one_some_or_all_are_asked_for() {
        let version = Named::Version("iris".to_owned(), "blue".to_owned());
        check("endpoints", Ok(Asked::Kind(Kind::Endpoints)));
        check("Plugin", Ok(Asked::Kind(Kind::Plugins)));
        check("all", Ok(Asked::All));
        check("all iris", Err("name a kind"));
        let iris = Asked::One(Kind::Endpoints, Named::Endpoint("iris".to_owned()));
        check("endpoint/iris", Ok(iris));
        check("versions iris", Ok(Asked::VersionsOf("iris".to_owned())));
        check("version iris/blue", Ok(Asked::One(Kind::Versions, version)));
        check("endpoint/iris other", Err("two names"));
        check("endpont", Err("did you mean endpoint?"));
        check("endpoint ../iris", Err("is not a name"));
    }
}

//! `tidegate explain`: what a key of a resource file may say and means, and what a
//! fault means, without a gateway.
//!
//! Only shows; keys are `resource::schema`'s, faults `fault`'s. Called by `cli`.

use clap::Args;

use super::schema::ResourceKind;
use super::table::Table;
use super::{Failure, say};
use crate::fault::{ADVICE, Advice, advice};
use crate::resource::schema::key::{Key, keys};
use crate::resource::suggestion;

/// `tidegate explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate explain endpoint.spec.versions.maxQueueWait
  tidegate explain 'spec.versions[1].traffic'      a key path as `check` tells it
  tidegate explain plugin --recursive
  tidegate explain fault overloaded")]
pub struct Explain {
    /// A kind, a key path as endpoint.spec.auth, or fault. Left out: what there is.
    #[arg(value_name = "KIND[.PATH]")]
    what: Option<String>,
    /// With fault: its code, or a status.
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Also the keys below, all the way down.
    #[arg(short, long)]
    recursive: bool,
}

/// Columns of a text for people.
const WIDTH: usize = 88;

impl Explain {
    pub(super) fn act(&self) -> Result<(), Failure> {
        match (self.what.as_deref(), self.code.as_deref()) {
            (None, _) => overview(),
            (Some("fault" | "faults"), None) => faults(|_| true),
            (Some("fault" | "faults"), Some(code)) => fault(code),
            (Some(what), Some(more)) => Err(Failure::Usage(format!(
                "{more:?} after {what:?}; a key path is one word, as in endpoint.spec.auth"
            ))),
            (Some(what), None) => explain(what, self.recursive),
        }
    }
}

fn overview() -> Result<(), Failure> {
    let mut table = Table::new(&["EXPLAIN", "MEANING"]);
    for key in keys().iter().filter(|key| key.path == "spec") {
        let kind = key.kind.to_lowercase();
        table.add(vec![kind.as_str().into(), sentence(&key.doc).into()]);
    }
    table.add(vec![
        "fault".into(),
        "Why a request got no answer from a model: its code in answers, log and metrics.".into(),
    ]);
    table.print()
}

/// Shows every key that is meant.
fn explain(what: &str, recursive: bool) -> Result<(), Failure> {
    let all = keys();
    let meant = meant(what, &all)?;
    for (i, key) in meant.iter().enumerate() {
        if i > 0 {
            say("")?;
        }
        show(key, &all, recursive)?;
    }
    Ok(())
}

/// The keys that a path names; several where kinds have the same and none is named.
fn meant<'k>(what: &str, all: &'k [Key]) -> Result<Vec<&'k Key>, Failure> {
    let plain = without_indices(what);
    let mut steps: Vec<&str> = plain.split('.').filter(|step| !step.is_empty()).collect();
    let kind = steps.first().and_then(|first| kind(first));
    if kind.is_some() {
        steps.remove(0);
    }
    let of_kind: Vec<&Key> = all
        .iter()
        .filter(|key| kind.is_none_or(|kind| key.kind == kind.as_str()))
        .collect();
    let first = steps.first().copied().unwrap_or_default();
    if kind.is_none() && !of_kind.iter().any(|key| key.path == first) {
        return Err(Failure::Usage(no_kind(&plain, &of_kind)));
    }
    // A name of the writer's own, as in `env.PORT`, is explained by what it stands in.
    for length in [steps.len(), steps.len().saturating_sub(1)] {
        let wanted = steps.get(..length).unwrap_or_default().join(".");
        let found: Vec<&Key> = of_kind
            .iter()
            .copied()
            .filter(|key| without_indices(&key.path) == wanted)
            .filter(|key| length == steps.len() || is_free(key))
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(Failure::NotFound(no_key(kind, &steps, &of_kind)))
}

fn is_free(key: &Key) -> bool {
    key.type_words.starts_with("map of") || key.type_words == "anything"
}

/// `spec.versions[1].name` and `spec.versions[].name` as `spec.versions.name`.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside && *c != ']'
    };
    path.chars().filter(keep).collect()
}

fn kind(word: &str) -> Option<ResourceKind> {
    <ResourceKind as clap::ValueEnum>::from_str(word, true).ok()
}

/// Says that a word is no kind, and what was probably meant.
fn no_kind(what: &str, all: &[&Key]) -> String {
    let first = what.split('.').next().unwrap_or_default();
    let words = ["gatewayconfig", "plugin", "endpoint", "fault"];
    let hint = suggestion(first, &words).or_else(|| elsewhere(what, all));
    let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
    format!("{first:?} is not a kind; gatewayconfig, plugin and endpoint are, and fault{hint}")
}

/// Says where a path ends, and what was probably meant.
fn no_key(kind: Option<ResourceKind>, steps: &[&str], all: &[&Key]) -> String {
    let known = |length: usize| {
        let wanted = steps.get(..length).unwrap_or_default().join(".");
        let mut keys = all.iter().copied();
        keys.find(|key| without_indices(&key.path) == wanted)
    };
    let lengths = (0..steps.len()).rev();
    let parent = lengths
        .filter_map(|length| Some((length, known(length)?)))
        .next();
    let (length, parent) = match parent {
        Some((length, parent)) => (length, Some(parent)),
        None => (0, None),
    };
    let wrong = steps.get(length).copied().unwrap_or_default();
    let children: Vec<&str> = all
        .iter()
        .filter(|key| parent.is_some_and(|parent| key.is_child_of(parent)))
        .map(|key| key.name())
        .collect();
    let place = parent.map_or("", |parent| parent.path.as_str());
    let place = if place.is_empty() {
        kind.map_or("a resource", ResourceKind::as_str).to_owned()
    } else {
        place.to_owned()
    };
    let rest = steps.get(length..).unwrap_or_default().join(".");
    let hint = suggestion(wrong, &children)
        .or_else(|| elsewhere(&rest, all))
        .or_else(|| (!children.is_empty()).then(|| format!("known here: {}", children.join(", "))));
    let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
    format!("{place} has no key {wrong:?}{hint}")
}

/// The shortest path of another place that ends in the same keys.
fn elsewhere(rest: &str, all: &[&Key]) -> Option<String> {
    let end = format!(".{rest}");
    let found = all
        .iter()
        .map(|key| (key, without_indices(&key.path)))
        .filter(|(_, path)| path.ends_with(&end))
        .min_by_key(|(_, path)| path.len());
    found.map(|(key, path)| format!("did you mean {}.{path}?", key.kind.to_lowercase()))
}

fn show(key: &Key, all: &[Key], recursive: bool) -> Result<(), Failure> {
    let dot = if key.path.is_empty() { "" } else { "." };
    let mut lines = vec![format!("{}{dot}{}", key.kind.to_lowercase(), key.path)];
    lines.push(String::new());
    let mut fact = |name: &str, what: &str| lines.push(format!("  {name:<8}  {what}"));
    fact("type", &type_words(key));
    if key.required {
        fact("required", "yes");
    }
    if key.later.is_some() {
        fact("until then", key.default.as_deref().unwrap_or("null"));
    } else if let Some(default) = &key.default {
        fact("default", default);
    }
    if let Some(limits) = key.limit_words() {
        fact("limits", &limits);
    }
    for paragraph in key.doc.split("\n\n").filter(|text| !text.is_empty()) {
        lines.push(String::new());
        lines.extend(wrapped(paragraph));
    }
    say(&lines.join("\n"))?;
    if !key.words.is_empty() && key.words.iter().any(|(_, meaning)| !meaning.is_empty()) {
        say("")?;
        let mut table = Table::new(&["WORD", "MEANING"]);
        for (word, meaning) in &key.words {
            table.add(vec![word.as_str().into(), meaning.as_str().into()]);
        }
        table.print()?;
    }
    children(key, all, recursive)
}

fn children(key: &Key, all: &[Key], recursive: bool) -> Result<(), Failure> {
    let mut table = Table::new(&["KEY", "TYPE", "DEFAULT", "MEANING"]);
    let prefix = format!("{}.", key.path);
    let mut any = false;
    for child in all.iter().filter(|child| child.kind == key.kind) {
        let below = key.path.is_empty() && !child.path.is_empty();
        let below = below || child.path.starts_with(&prefix);
        if !(child.is_child_of(key) || recursive && below) {
            continue;
        }
        any = true;
        let shown = if recursive {
            child.path.strip_prefix(&prefix).unwrap_or(&child.path)
        } else {
            child.path.rsplit('.').next().unwrap_or_default()
        };
        let default = match (child.required, child.later.is_some()) {
            (true, _) => "required".to_owned(),
            (_, true) => String::new(),
            _ => short(child.default.as_deref().unwrap_or_default()),
        };
        table.add(vec![
            shown.into(),
            child.type_words.as_str().into(),
            default.as_str().into(),
            sentence(&child.doc).into(),
        ]);
    }
    if any {
        say("")?;
        table.print()?;
    }
    Ok(())
}

/// The type, with what a quantity looks like.
fn type_words(key: &Key) -> String {
    let like = match key.type_words.as_str() {
        "duration" => "a whole number and ms, s, m, h or d, as in 500ms",
        "size" => "a number of bytes, or one with Ki, Mi, Gi or Ti, as in 64Ki",
        "percent" => "0 to 100, with at most two decimals",
        "cpu" => "cores as a Kubernetes quantity, as in 100m, 0.5 or 2",
        "memory" => "bytes as a Kubernetes quantity, as in 500M or 1Gi",
        "later" => return "none yet; comes with a later version".to_owned(),
        "word" => {
            let words: Vec<&str> = key.words.iter().map(|(word, _)| word.as_str()).collect();
            return if words.is_empty() {
                "text".to_owned()
            } else {
                words.join(" | ")
            };
        }
        other => return other.to_owned(),
    };
    format!("{}: {like}", key.type_words)
}

/// A text up to the end of its first sentence.
fn sentence(text: &str) -> &str {
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    let end = text.find('\n').map_or(end, |line| line.min(end));
    text.get(..end).unwrap_or(text)
}

/// A default that has room in a column.
fn short(default: &str) -> String {
    if default.chars().count() > 24 {
        let cut: String = default.chars().take(23).collect();
        format!("{}…", cut.trim_end())
    } else {
        default.to_owned()
    }
}

/// A text in lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Lists faults.
fn faults(wanted: impl Fn(&Advice) -> bool) -> Result<(), Failure> {
    let mut table = Table::new(&["CODE", "STATUS", "WHEN"]);
    for advice in ADVICE.iter().filter(|advice| wanted(advice)) {
        table.add(vec![
            advice.code.into(),
            advice.status.to_string().as_str().into(),
            sentence(advice.when).into(),
        ]);
    }
    table.print()
}

/// Explains one fault; of a status that several have, lists them.
fn fault(code: &str) -> Result<(), Failure> {
    let of_status = |advice: &&Advice| code.parse() == Ok(advice.status);
    let found = match advice(code) {
        Some(found) => found,
        None => match ADVICE
            .iter()
            .filter(of_status)
            .collect::<Vec<_>>()
            .as_slice()
        {
            [one] => one,
            [] => return Err(Failure::NotFound(no_fault(code))),
            _ => return faults(|advice| of_status(&advice)),
        },
    };
    let mut lines = vec![
        format!("{}: {} {}", found.code, found.status, found.title),
        String::new(),
    ];
    lines.extend(wrapped(found.when));
    for (who, what) in [("Caller", found.caller), ("Operator", found.operator)] {
        if !what.is_empty() {
            lines.push(String::new());
            lines.extend(wrapped(&format!("{who}: {what}")));
        }
    }
    say(&lines.join("\n"))
}

fn no_fault(code: &str) -> String {
    let codes = ADVICE.map(|advice| advice.code);
    let hint = suggestion(code, &codes);
    let hint = hint.unwrap_or_else(|| "tidegate explain fault lists all".to_owned());
    format!("no fault {code:?}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(what: &str) -> Vec<String> {
        let all = keys();
        let keys = meant(what, &all).unwrap();
        keys.iter()
            .map(|key| format!("{} {}", key.kind, key.path))
            .collect()
    }

    #[track_caller]
    fn check(what: &str, expected: &[&str]) {
        assert_eq!(found(what), expected, "{what}");
    }

    #[track_caller]
    fn refused(what: &str, expected: &str) {
        let all = keys();
        match meant(what, &all) {
            Err(Failure::Usage(why) | Failure::NotFound(why)) => assert_eq!(why, expected),
            other => panic!("{what}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_found_however_it_is_written() {
        let traffic = ["Endpoint spec.versions[].traffic"];
        check("endpoint.spec.versions.traffic", &traffic);
        check("Endpoints.spec.versions[].traffic", &traffic);
        check("spec.versions[1].traffic", &traffic);
        check("endpoint", &["Endpoint "]);
        check(
            "gateway.spec.listeners",
            &["GatewayConfig spec.listeners[]"],
        );
        check(
            "spec.limits.memory",
            &[
                "GatewayConfig spec.limits.memory",
                "Plugin spec.limits.memory",
            ],
        );
        check(
            "spec.versions[0].process.env.PORT",
            &["Endpoint spec.versions[].process.env"],
        );
    }

    #[test]
    fn a_near_miss_is_told() {
        refused(
            "endpont.spec",
            "\"endpont\" is not a kind; gatewayconfig, plugin and endpoint are, and fault; did you mean endpoint?",
        );
        refused(
            "scoringTimeout",
            "\"scoringTimeout\" is not a kind; gatewayconfig, plugin and endpoint are, and fault; did you mean endpoint.spec.versions.scoringTimeout?",
        );
        refused(
            "endpoint.spec.versions.trafic",
            "spec.versions[] has no key \"trafic\"; did you mean traffic?",
        );
        refused(
            "endpoint.versions.traffic",
            "Endpoint has no key \"versions\"; did you mean endpoint.spec.versions.traffic?",
        );
        refused(
            "plugin.spec.source.zzzzzz",
            "spec.source has no key \"zzzzzz\"; known here: file, oci, shipped",
        );
        refused(
            "endpoint.spec.replicas",
            "spec has no key \"replicas\"; did you mean endpoint.spec.versions.replicas?",
        );
    }
}

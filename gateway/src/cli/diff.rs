//! `tidegate diff`: what an apply of files would change, as a unified diff of YAML.
//!
//! The gateway itself makes the right-hand side, by a dry run. Changes nothing.
//! Called by `cli`.

use clap::Args;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::apply::{fresh_plugins, plan, written};
use super::connect::Gateway;
use super::files::Files;
use super::resources::{Resources, object};
use super::tone::{Tone, colour, plain};
use super::{Failure, To, prune, say};
use crate::resource::yaml;

/// Lines that stand around a change.
const CONTEXT: usize = 3;

/// `tidegate diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate diff -f iris.yaml
  tidegate diff -f endpoints/ && echo nothing to do
  tidegate diff -f endpoints/ --prune

Exit codes: 0 the same, 1 differs, 5 refused; 2 and 3 as everywhere.")]
pub struct Diff {
    #[command(flatten)]
    files: Files,
    /// Show also what `apply --prune` would delete: every endpoint that the files do
    /// not have, and every plugin that they neither have nor bind.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    to: To,
}

impl Diff {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let differs = self.shown().await.map_err(|failure| match failure {
            Failure::Refused(why) | Failure::NotFound(why) => Failure::DiffRefused(why),
            other => other,
        })?;
        if differs {
            Err(Failure::Differs)
        } else {
            Ok(())
        }
    }

    async fn shown(&self) -> Result<bool, Failure> {
        let read = Resources::read(&self.files, &self.to).await?;
        if self.prune {
            prune::none_empty(&read)?;
        }
        read.some("compare")?;
        let gateway = Gateway::find(&self.to)?;
        let mut differs = false;
        let fresh = fresh_plugins(&gateway, &read).await?;
        let gone = if self.prune {
            prune::endpoints_gone(&gateway, &read.documents).await?
        } else {
            Vec::new()
        };
        let steps = plan(&gateway, &read, &read.documents, &fresh, &gone).await?;
        let mut show = |object: &str, before: &str, after: &str| {
            let lines = unified(object, before, after, colour());
            differs |= !lines.is_empty();
            match lines.is_empty() {
                true => Ok(()),
                false => say(&lines.join("\n")),
            }
        };
        for (document, step) in read.documents.iter().zip(steps) {
            let before = step.before.as_ref().map_or(Ok(String::new()), text)?;
            show(&object(document), &before, &text(&step.after)?)?;
        }
        if self.prune {
            let plugins = prune::plugins_gone(&gateway, &read.documents).await?;
            for one in gone.into_iter().chain(plugins) {
                show(&one.named.to_string(), &text(&written(one.shown))?, "")?;
            }
        }
        Ok(differs)
    }
}

fn text(resource: &Value) -> Result<String, Failure> {
    yaml(resource).map_err(Failure::Refused)
}

/// The lines of a unified diff; none where both are the same.
fn unified(object: &str, before: &str, after: &str, colour: bool) -> Vec<String> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        if lines.is_empty() {
            let side = |text: &str, folder: &str| match text {
                "" => "/dev/null".to_owned(),
                _ => format!("{folder}/{object}"),
            };
            let (old, new) = (side(before, "running"), side(after, "files"));
            lines.push(Tone::Head.paint(&format!("--- {old}"), colour));
            lines.push(Tone::Head.paint(&format!("+++ {new}"), colour));
        }
        lines.push(hunk.header().to_string());
        for change in hunk.iter_changes() {
            let (sign, tone) = match change.tag() {
                ChangeTag::Equal => (' ', Tone::Plain),
                ChangeTag::Delete => ('-', Tone::Bad),
                ChangeTag::Insert => ('+', Tone::Good),
            };
            let line = plain(change.value().trim_end_matches('\n'));
            lines.push(tone.paint(&format!("{sign}{line}"), colour));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_what_stands_around_it() {
        let before = "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\n";
        let after = before.replace("e: 5", "e: 7");
        assert_eq!(
            unified("endpoint/iris", before, &after, false),
            [
                "--- running/endpoint/iris",
                "+++ files/endpoint/iris",
                "@@ -2,5 +2,5 @@",
                " b: 2",
                " c: 3",
                " d: 4",
                "-e: 5",
                "+e: 7",
                " f: 6"
            ]
        );
        assert!(unified("endpoint/iris", before, before, false).is_empty());
        let new = unified("endpoint/iris", "", "a: 1\n", true);
        assert_eq!(new[0], "\x1b[1m--- /dev/null\x1b[0m");
        assert_eq!(new[3], "\x1b[32m+a: 1\x1b[0m");
        let gone = unified("endpoint/iris", "a: 1\n", "", false);
        assert_eq!(gone[..2], ["--- running/endpoint/iris", "+++ /dev/null"]);
    }
}

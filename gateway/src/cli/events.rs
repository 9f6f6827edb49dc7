//! `tidegate events`: what happened, once or as it comes.
//!
//! The gateway keeps the last 1024 in memory. Changes nothing. Called by `cli`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::{age, now};
use super::connect::Gateway;
use super::get::structured;
use super::kind::{Named, wanted};
use super::logs::Pieces;
use super::row::{text, whole};
use super::table::Table;
use super::{Failure, Output, To, complete, say};
use crate::units::Interval;

/// `tidegate events`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate events --since 10m
  tidegate events --for endpoint/iris -f
  tidegate events -o json

Exit codes: with --follow 3 where the gateway ends.")]
pub struct Events {
    /// Go on as they come.
    #[arg(short, long, visible_short_alias = 'w', visible_alias = "watch")]
    follow: bool,
    /// Not older than that, as 5m.
    #[arg(long, value_parser = Interval::parse)]
    since: Option<Interval>,
    /// Only about this one, as endpoint/iris or plugin/key-auth.
    #[arg(id = "for", long = "for", value_name = "KIND/NAME", add = ArgValueCompleter::new(complete::kinds))]
    about: Option<String>,
    /// How to show them.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    to: To,
}

/// Which events are shown.
struct Filter {
    about: Option<String>,
    from: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, event: &Value) -> bool {
        let about = |object: &String| object == text(event, "/object");
        let young = |from: &Timestamp| {
            text(event, "/time")
                .parse::<Timestamp>()
                .is_ok_and(|time| time >= *from)
        };
        self.about.as_ref().is_none_or(about) && self.from.as_ref().is_none_or(young)
    }
}

impl Events {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let filter = Filter {
            about: self.about.as_deref().map(object).transpose()?,
            from: self
                .since
                .and_then(|since| now().checked_sub(since.duration()).ok()),
        };
        let gateway = Gateway::find(&self.to)?;
        if self.follow {
            return self.follow(&gateway, &filter).await;
        }
        let mut events = gateway.items("/v1/events").await?;
        events.retain(|event| filter.takes(event));
        match self.output {
            Output::Json | Output::Yaml => structured(&json!({ "items": events }), self.output),
            _ => self.shown(&events, &mut self.table()),
        }
    }

    async fn follow(&self, gateway: &Gateway, filter: &Filter) -> Result<(), Failure> {
        let mut stream = gateway.stream("/v1/events?follow=true").await?;
        let mut pieces = Pieces::default();
        let mut table = self.table();
        loop {
            let piece = match stream.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Err(gateway.ended(None)),
                Err(error) => return Err(gateway.ended(Some(error))),
            };
            let mut events = Vec::new();
            for line in pieces.take(&piece) {
                let event = line.strip_prefix(b"data: ").unwrap_or_default();
                let event: Result<Value, _> = serde_json::from_slice(event);
                events.extend(event.ok().filter(|event| filter.takes(event)));
            }
            match self.output {
                Output::Json => {
                    for event in events {
                        say(&event.to_string())?;
                    }
                }
                Output::Yaml => {
                    for event in events {
                        say("---")?;
                        structured(&event, self.output)?;
                    }
                }
                _ => self.shown(&events, &mut table)?,
            }
        }
    }

    /// Whether ages are shown; what is followed may be looked at much later.
    fn aged(&self) -> bool {
        !self.follow && self.output != Output::Wide
    }

    fn table(&self) -> Table {
        let mut table = match (self.output, self.aged()) {
            (Output::Wide, _) => Table::new(&["ID", "TIME", "KIND", "OBJECT", "MESSAGE"]),
            (_, true) => Table::new(&["AGE", "KIND", "OBJECT", "MESSAGE"]),
            (_, false) => Table::new(&["TIME", "KIND", "OBJECT", "MESSAGE"]),
        };
        if self.output == Output::Name {
            table.take(false);
        }
        table
    }

    fn shown(&self, events: &[Value], table: &mut Table) -> Result<(), Failure> {
        let now = now();
        for event in events {
            let id = whole(event, "/id");
            if self.output == Output::Name {
                table.add(vec![format!("event/{id}").into()]);
                continue;
            }
            let mut row = Vec::new();
            if self.output == Output::Wide {
                row.push(id.to_string().into());
            }
            let time = text(event, "/time");
            row.push(if self.aged() {
                age(time, now).into()
            } else {
                time.into()
            });
            row.extend(["/kind", "/object", "/message"].map(|key| text(event, key).into()));
            table.add(row);
        }
        table.print()
    }
}

/// `endpoint/iris`, as events have it; there are none of a version.
fn object(given: &str) -> Result<String, Failure> {
    match wanted(given, None)? {
        (kind, Some(name)) => match Named::of(kind, &name)? {
            Named::Version(endpoint, _) => Err(Failure::Usage(format!(
                "events of a version are its endpoint's: tidegate events --for endpoint/{endpoint}"
            ))),
            named => Ok(named.to_string()),
        },
        (kind, None) => Err(Failure::Usage(format!(
            "which {0}? name one, as in {0}/NAME",
            kind.singular()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(about: Option<&str>, from: Option<&str>, expected: bool) {
        let filter = Filter {
            about: about.map(str::to_owned),
            from: from.map(|from| from.parse().unwrap()),
        };
        let event = json!({ "time": "2026-11-27T10:00:00Z", "object": "endpoint/iris" });
        assert_eq!(filter.takes(&event), expected, "{about:?} {from:?}");
    }

    #[test]
    fn events_are_chosen_by_age_and_object() {
        check(None, None, true);
        check(Some("endpoint/iris"), Some("2026-11-27T09:59:59Z"), true);
        check(Some("endpoint/other"), None, false);
        check(None, Some("2026-11-27T10:00:01Z"), false);
        assert!(object("version/iris/blue").is_err());
        assert_eq!(object("plugins/key-auth").unwrap(), "plugin/key-auth");
        assert!(object("endpoints").is_err());
        assert!(object("pods/x").is_err());
    }
}

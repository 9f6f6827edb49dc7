//! `docs/CONFIG.md`: every key of the resource files.

use std::fmt::Write as _;

use tidegate::resource::schema::key::{Key, keys};

const HEAD: &str = "# Every key of the resource files

Made of the Rust types by `cargo xtask docs`; do not edit. `tidegate explain KIND.PATH`
says the same about one key, `tidegate schema` gives the JSON Schema (also in
`docs/schema/`), and `tidegate check -f FILE` tells every problem of a file.

A file has one or more resources, with `---` between them. A key that is left out, or is
null, has its default; an unknown key is an error.

| Type | Written |
| --- | --- |
| duration | a whole number and `ms`, `s`, `m`, `h` or `d`: `500ms`, `60s`, `5m` |
| size | a whole number of bytes, or one with `Ki`, `Mi`, `Gi` or `Ti`: `512`, `64Ki`, `100Mi` |
| percent | 0 to 100, with at most two decimals: `33.33` |
| cpu, memory | as a Kubernetes quantity: `100m`, `0.5`, `2`; `500M`, `1Gi` |
| later | comes with a later version; until then only its default is taken |

`[]` in a path stands for each element of a list. A relative path starts at the folder of
the file it stands in.
";

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let keys = keys();
    for kind in ["GatewayConfig", "Plugin", "Endpoint"] {
        let of_kind: Vec<&Key> = keys.iter().filter(|key| key.kind == kind).collect();
        let spec = of_kind.iter().find(|key| key.path == "spec").unwrap();
        let _ = writeln!(page, "\n## {kind}\n\n{}\n", spec.doc);
        page.push_str(
            "| Key | Type | Default | Limits | Means |\n| --- | --- | --- | --- | --- |\n",
        );
        for key in of_kind.iter().filter(|key| !key.path.is_empty()) {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                key.path,
                key.type_words,
                default(key),
                key.limit_words().unwrap_or_default(),
                meaning(key)
            );
        }
    }
    page
}

fn default(key: &Key) -> String {
    match &key.default {
        _ if key.required => "required".to_owned(),
        Some(words) if key.default_value.is_none() && key.later.is_none() => cell(words),
        Some(value) => format!("`{}`", cell(value)),
        None => String::new(),
    }
}

fn meaning(key: &Key) -> String {
    let mut text = key.doc.replace("\n\n", "<br>");
    for (word, meaning) in &key.words {
        let meaning = if meaning.is_empty() {
            String::new()
        } else {
            format!(": {meaning}")
        };
        let _ = write!(text, "<br>`{word}`{meaning}");
    }
    cell(&text)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

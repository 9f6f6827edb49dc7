//! Makes the paths in a resource absolute, so that it means the same wherever
//! it is kept or sent.
//!
//! Knows which keys are paths and nothing else of them. Called by `load`, and by
//! `cli` for a single version.

use std::path::Path;

use serde_json::Value;

/// Keys of a version's runtime that are paths.
const RUNTIME_PATHS: [&str; 3] = ["/process/dir", "/process/modelDir", "/static/tls/caFile"];

/// Makes the paths of `resource` absolute from `base`.
pub(super) fn absolute(resource: &mut Value, base: &Path) {
    path(resource, "/spec/source/file", base);
    let versions = resource
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        if let Some(process) = version.get_mut("process").and_then(Value::as_object_mut) {
            // Left out, it is the file's folder.
            process
                .entry("dir")
                .or_insert_with(|| Value::String(String::new()));
        }
        absolute_version(version, base);
    }
}

/// Makes the paths of one version absolute from `base`; what is left out stays so.
pub fn absolute_version(version: &mut Value, base: &Path) {
    for pointer in RUNTIME_PATHS {
        path(version, pointer, base);
    }
}

fn path(resource: &mut Value, pointer: &str, base: &Path) {
    if let Some(Value::String(text)) = resource.pointer_mut(pointer)
        && !Path::new(text.as_str()).is_absolute()
    {
        // Joined with nothing a path would end in a slash.
        let whole = if text.is_empty() {
            base.to_owned()
        } else {
            base.join(text.as_str())
        };
        *text = whole.display().to_string();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let mut iris = json!({ "spec": { "versions": [
            { "name": "blue", "process": { "command": ["a"], "modelDir": "m" } },
            { "name": "green", "process": { "dir": "/g" } },
            { "name": "gray", "static": { "tls": { "caFile": "ca.pem" } } },
        ] } });
        absolute(&mut iris, Path::new("/x"));
        assert_eq!(
            iris["spec"]["versions"],
            json!([
                { "name": "blue", "process": { "command": ["a"], "modelDir": "/x/m", "dir": "/x" } },
                { "name": "green", "process": { "dir": "/g" } },
                { "name": "gray", "static": { "tls": { "caFile": "/x/ca.pem" } } },
            ])
        );
        let mut plugin = json!({ "spec": { "source": { "file": "a.wasm" } } });
        absolute(&mut plugin, Path::new("/x"));
        assert_eq!(plugin["spec"]["source"]["file"], "/x/a.wasm");
    }
}

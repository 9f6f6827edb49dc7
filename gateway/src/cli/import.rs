//! `tidegate import`: resources out of the deployment files of Azure ML v1.
//!
//! Writes what its files say as an Endpoint (and a GatewayConfig where they say
//! something about the gateway); what has no equal stands in a comment, so that
//! nothing is dropped silently. Reaches no gateway. Called by `cli`.

use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::{Failure, complain, say, tell};
use crate::name::Name;
use crate::resource::{self, Source, load};

mod compute;
mod deployment;
mod inference;
mod source;
mod yaml;

use compute::Compute;
use deployment::Deployment;
use inference::Inference;
use yaml::{Map, Value, comment};

/// `tidegate import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Settings without an equal stand in comments of what is written; settings that
are not known are told on standard error too. What is written passes
`tidegate check`. Paths of the files are taken as from the file they stand in.

Examples:
  tidegate import --deploymentconfig deploymentconfig.json \\
    --inferenceconfig inferenceconfig.json --name iris -o iris.yaml
  tidegate import --deploymentconfig deploymentconfig.json | tidegate check -f -")]
#[group(id = "sources", required = true, multiple = true, args = ["deploymentconfig", "inferenceconfig"])]
pub struct Import {
    /// The file with replicas, limits and keys (computeType aks, aksendpoint, aci or local);
    /// without it the defaults of aks.
    #[arg(long, visible_alias = "dc", value_name = "FILE")]
    deploymentconfig: Option<PathBuf>,
    /// The file with the entry script and its environment; without it score.py in the folder
    /// of the other file.
    #[arg(long, visible_alias = "ic", value_name = "FILE")]
    inferenceconfig: Option<PathBuf>,
    /// The endpoint's name; where it is left out, that of the files' folder.
    #[arg(long, value_parser = Name::parse)]
    name: Option<Name>,
    /// The version's name; where it is left out, versionName, else blue.
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    version: Option<Name>,
    /// Where to write; standard output where it is left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The version's name where nothing says one.
const VERSION_DEFAULT: &str = "blue";
/// The endpoint's name where nothing says one.
const ENDPOINT_DEFAULT: &str = "service";

/// Reads the files and writes resources.
pub(super) fn import(import: &Import) -> Result<(), Failure> {
    let output = import
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"));
    let text = text(import, output)?;
    match output {
        None => say(text.trim_end()),
        Some(path) => fs::write(path, text)
            .map_err(|error| Failure::Refused(format!("{}: {error}", path.display()))),
    }
}

fn text(import: &Import, output: Option<&Path>) -> Result<String, Failure> {
    let mut problems = Vec::new();
    let mut read = |path: &Option<PathBuf>| {
        let source = crate::resource::source_of(path.as_deref()?);
        source.map_err(|problem| problems.push(problem)).ok()
    };
    let sources = (
        read(&import.deploymentconfig),
        read(&import.inferenceconfig),
    );
    let deployment = sources.0.as_ref().map(Deployment::read);
    let deployment = deployment.unwrap_or_else(Deployment::of_no_file);
    let inference = sources.1.as_ref().map(Inference::read);
    let inference = inference.unwrap_or_else(Inference::of_no_file);
    for settings in [&deployment.settings, &inference.settings] {
        problems.extend(settings.problems.iter().cloned());
        for warning in &settings.warnings {
            complain(&format!("warning: {warning}"));
        }
    }
    if !problems.is_empty() {
        return Err(tell(&problems));
    }
    let base = match output {
        Some(path) => folder_of(path)?,
        None => std::env::current_dir()?,
    };
    let places = Places {
        base: &base,
        deployment: folder(sources.0.as_ref()),
        inference: folder(sources.1.as_ref()),
    };
    let text = written(import, &deployment, &inference, &places);
    checked(&text, output, &base)?;
    Ok(text)
}

/// What is written must be what the gateway takes.
fn checked(text: &str, output: Option<&Path>, base: &Path) -> Result<(), Failure> {
    let source = Source {
        name: output.map_or_else(|| "<stdout>".to_owned(), |path| path.display().to_string()),
        text: text.to_owned(),
        base: Some(base.to_owned()),
    };
    resource::check(&[source]).map(drop).map_err(|problems| {
        complain("the files say what no resource can say; nothing was written:");
        tell(&problems)
    })
}

/// The folders that paths of the files start from, and the one that ours do.
struct Places<'a> {
    base: &'a Path,
    deployment: Option<PathBuf>,
    inference: Option<PathBuf>,
}

impl Places<'_> {
    /// A path of a file, from ours.
    fn from(&self, folder: Option<&PathBuf>, path: &str) -> String {
        let whole = folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path));
        relative(&plain(&whole), self.base)
    }
}

fn folder(source: Option<&Source>) -> Option<PathBuf> {
    source.and_then(|source| source.base.clone())
}

fn folder_of(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(path)?;
    Ok(absolute
        .parent()
        .unwrap_or_else(|| Path::new("/"))
        .to_owned())
}

/// A path without `.` and, where that is certain, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A path as it is written in a file of `base`.
fn relative(path: &Path, base: &Path) -> String {
    let (mut there, mut here) = (path.components().peekable(), base.components().peekable());
    while there.peek().is_some() && there.peek() == here.peek() {
        there.next();
        here.next();
    }
    let up = here.count();
    // What shares nothing but the root is said as it is.
    if up + 1 >= base.components().count() && up > 0 {
        return path.display().to_string();
    }
    let mut out: PathBuf = std::iter::repeat_n("..", up).collect();
    out.extend(there);
    if out.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        out.display().to_string()
    }
}

fn written(
    import: &Import,
    deployment: &Deployment,
    inference: &Inference,
    places: &Places<'_>,
) -> String {
    let name = name(import, places);
    let mut text = head(import, deployment, inference);
    if let Some(gateway) = gateway(deployment, places) {
        text.push_str(&gateway.document());
        text.push_str("---\n");
    }
    text.push_str(&endpoint(&name, import, deployment, inference, places).document());
    text
}

/// The endpoint's name: said, or that of the files' folder.
fn name(import: &Import, places: &Places<'_>) -> String {
    if let Some(name) = &import.name {
        return name.to_string();
    }
    let folder = places.deployment.as_ref().or(places.inference.as_ref());
    let folder = folder.and_then(|folder| folder.file_name());
    let guess = folder.map(|name| {
        name.to_string_lossy()
            .to_lowercase()
            .replace(['_', '.', ' '], "-")
    });
    let parsed = guess.filter(|guess| Name::parse(guess).is_ok());
    let name = parsed.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
    complain(&format!(
        "warning: no --name; the endpoint is called {name}"
    ));
    name
}

/// The comment on top: where it comes from, and what has no equal.
fn head(import: &Import, deployment: &Deployment, inference: &Inference) -> String {
    let files = [&import.deploymentconfig, &import.inferenceconfig];
    let files: Vec<String> = files
        .into_iter()
        .flatten()
        .map(|file| file.display().to_string())
        .collect();
    let mut text = format!("Written by `tidegate import` from {}.", files.join(" and "));
    let notes: Vec<&String> = [&deployment.settings, &inference.settings]
        .into_iter()
        .flat_map(|settings| &settings.notes)
        .collect();
    if notes.is_empty() {
        text.push_str("\nEvery setting has its equal below.");
    } else {
        text.push_str("\nSettings without an equal:");
        for note in notes {
            text.push_str("\n- ");
            text.push_str(&note.replace('\n', " "));
        }
    }
    comment(&text, 0)
}

fn document(kind: &str, name: &str, spec: Map) -> Map {
    let mut metadata = Map::default();
    metadata.text("name", name);
    let mut document = Map::default();
    document.text("apiVersion", load::API_VERSION);
    document.text("kind", kind);
    document.map("metadata", metadata);
    document.map("spec", spec);
    document
}

/// What a file says about where callers connect.
fn gateway(deployment: &Deployment, places: &Places<'_>) -> Option<Map> {
    let settings = &deployment.settings;
    let mut listener = Map::default();
    match deployment.compute {
        Compute::Local => {
            if !settings.has("port") {
                listener.note("Any free port; `tidegate status` says which.");
            }
            listener.text("name", "http");
            let port = settings.whole("port").unwrap_or(0);
            listener.text("address", format!("127.0.0.1:{port}"));
            let mut tls = Map::default();
            tls.text("mode", "none");
            listener.map("tls", tls);
        }
        Compute::Aci if settings.flag("sslEnabled") == Some(true) => {
            listener.note("The original answers on port 443, which a program without root's rights cannot take.");
            listener.text("name", "https");
            listener.text("address", "0.0.0.0:8443");
            let mut certificate = Map::default();
            for (key, path) in [("certFile", "sslCertificate"), ("keyFile", "sslKey")] {
                let file = settings.text(path).unwrap_or_default();
                certificate.text(key, places.from(places.deployment.as_ref(), file));
            }
            let mut tls = Map::default();
            tls.text("mode", "certificates");
            tls.key("certificates", Value::Maps(vec![certificate]));
            listener.map("tls", tls);
        }
        Compute::Aci | Compute::Aks | Compute::AksEndpoint => return None,
    }
    let mut spec = Map::default();
    spec.key("listeners", Value::Maps(vec![listener]));
    Some(document("GatewayConfig", "default", spec))
}

fn endpoint(
    name: &str,
    import: &Import,
    deployment: &Deployment,
    inference: &Inference,
    places: &Places<'_>,
) -> Map {
    let mut spec = Map::default();
    if deployment.compute.routed() {
        spec.note("azureml-fe made 502 of a model's 500; leave this out and it stays 500.");
        spec.word("modelErrorsAs502", true);
    } else if let Some(host) = deployment.settings.text("cname") {
        spec.note("cname: callers find the model at https://HOST/score, as before.");
        spec.key("hosts", Value::Texts(vec![host.to_owned()]));
    } else {
        spec.note(format!(
            "{} answers at /score; here it is /api/v1/service/{name}/score, or /score of a name of its own under hosts.",
            deployment.compute.word()
        ));
    }
    deployment.auth(&mut spec);
    deployment.collect(&mut spec);
    let mut version = Map::default();
    let from_file = deployment.version();
    let version_name = import.version.clone().or(from_file);
    let version_name =
        version_name.map_or_else(|| VERSION_DEFAULT.to_owned(), |name| name.to_string());
    version.text("name", version_name);
    deployment.share(&mut version);
    process(inference, places, &mut version);
    deployment.scaling(&mut version);
    spec.key("versions", Value::Maps(vec![version]));
    document("Endpoint", name, spec)
}

/// The command, its folder and its packages; a folder or a script that is not
/// there is said.
fn process(inference: &Inference, places: &Places<'_>, version: &mut Map) {
    let from = places.inference.as_ref().or(places.deployment.as_ref());
    let folder = inference.settings.text("sourceDirectory").unwrap_or(".");
    let conda = inference.conda().map(|file| places.from(from, file));
    let script = inference.script();
    let whole = from.map_or_else(|| PathBuf::from(folder), |from| from.join(folder));
    if !whole.join(script).is_file() {
        complain(&format!(
            "warning: {} is not there; the model cannot start without it",
            plain(&whole.join(script)).display()
        ));
    }
    inference.process(places.from(from, folder), conda, version);
}

#[cfg(test)]
mod tests;

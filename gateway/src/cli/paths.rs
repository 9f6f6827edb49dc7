//! What resources name on this machine, and whether it is there.
//!
//! Asks what the gateway itself would: the same code loads certificates, roots
//! and components and looks for programs. Starts and changes nothing. Used by
//! `check`.

use std::path::Path;

use crate::listen::{CertificateError, Tls};
use crate::policy::{Refusal, component, inspected};
use crate::resource::{
    CertificateFiles, Endpoint, GatewayConfig, ListenerTls, Plugin, PluginSource, Problem, Role,
    Runtime, Set, Source, TlsPolicy, UpstreamTls, located,
};
use crate::runtime::obstacle;
use crate::upstream::Secure;

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    /// What `run` or `apply` would refuse.
    pub(super) problems: Vec<Problem>,
    /// What they would take, though nothing good comes of it.
    pub(super) warnings: Vec<Problem>,
}

/// Looks for everything that checked resources name, told where it stands in
/// their texts.
pub(super) fn look(set: &Set, sources: &[Source]) -> Findings {
    let mut looker = Looker {
        sources,
        found: Findings::default(),
    };
    looker.gateway(&set.config, set);
    for one in &set.plugins {
        looker.plugin(one);
    }
    for one in &set.endpoints {
        looker.endpoint(one);
    }
    looker.found
}

struct Looker<'s> {
    sources: &'s [Source],
    found: Findings,
}

/// How much depends on something.
#[derive(Clone, Copy)]
enum Weight {
    Refused,
    Taken,
}

impl Looker<'_> {
    fn tell(&mut self, of: (&str, &str), path: String, message: &str, weight: (Weight, &str)) {
        let problem = Problem {
            path,
            hint: Some(weight.1.to_owned()),
            ..Problem::of_file("", message)
        };
        let problem = located(self.sources, of.0, of.1, problem);
        match weight.0 {
            Weight::Refused => self.found.problems.push(problem),
            Weight::Taken => self.found.warnings.push(problem),
        }
    }

    fn gateway(&mut self, config: &GatewayConfig, set: &Set) {
        let document = set.documents.iter().find(|one| one.kind == "GatewayConfig");
        let of = (
            "GatewayConfig",
            document.map_or("", |one| one.name.as_str()),
        );
        for (i, listener) in config.listeners.iter().enumerate() {
            if let ListenerTls::Certificates { certificates, .. } = &listener.tls {
                for (j, files) in certificates.iter().enumerate() {
                    let at = format!("spec.listeners[{i}].tls.certificates[{j}]");
                    self.certificate(of, &at, files);
                }
            }
        }
        if let Some(files) = &config.admin.certificate {
            self.certificate(of, "spec.admin.tls.certificates[0]", files);
        }
    }

    fn certificate(&mut self, of: (&str, &str), at: &str, files: &CertificateFiles) {
        let refused = (Weight::Refused, "the gateway does not start without it");
        match Tls::load(std::slice::from_ref(files), TlsPolicy::Modern, &[]) {
            Ok(tls) => {
                for warning in tls.warnings() {
                    let taken = (Weight::Taken, "the gateway starts and warns of it too");
                    self.tell(of, at.to_owned(), &warning, taken);
                }
            }
            Err(errors) => {
                for error in errors {
                    let key = match &error {
                        CertificateError::Read { path, .. }
                        | CertificateError::Content { path, .. }
                            if *path == files.key_file =>
                        {
                            "keyFile"
                        }
                        _ => "certFile",
                    };
                    self.tell(of, format!("{at}.{key}"), &error.to_string(), refused);
                }
            }
        }
    }

    fn plugin(&mut self, plugin: &Plugin) {
        let PluginSource::File(file) = &plugin.source else {
            return;
        };
        if let Err(why) = fits(file, plugin.role) {
            let of = ("Plugin", plugin.name.as_str());
            let message = format!("{}: {why}", file.display());
            let weight = (Weight::Refused, "no endpoint that binds it can serve");
            self.tell(of, "spec.source.file".to_owned(), &message, weight);
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let of = ("Endpoint", endpoint.name.as_str());
        let unstarted = (Weight::Taken, "no replica can be started");
        for (i, version) in endpoint.versions.iter().enumerate() {
            let at = format!("spec.versions[{i}]");
            match &version.runtime {
                Runtime::Process(process) => {
                    if let Some((key, why)) = obstacle(process) {
                        self.tell(of, format!("{at}.process.{key}"), &why, unstarted);
                    }
                    if let Some(error) = process.model_dir.as_deref().and_then(missing) {
                        let weight = (Weight::Taken, "the model finds nothing there");
                        self.tell(of, format!("{at}.process.modelDir"), &error, weight);
                    }
                }
                Runtime::Static { tls: Some(tls), .. } => {
                    if let Some(why) = roots(tls) {
                        let weight = (Weight::Taken, "no replica can be reached");
                        self.tell(of, format!("{at}.static.tls.caFile"), &why, weight);
                    }
                }
                Runtime::Static { tls: None, .. } => {}
            }
        }
    }
}

/// Whether a file holds a component for a role; else why not.
fn fits(file: &Path, wanted: Role) -> Result<(), String> {
    let content = std::fs::read(file).map_err(|error| error.to_string())?;
    let component = component(content.into()).map_err(|error| error.to_string())?;
    match inspected(&component) {
        Ok(found) if found.role == wanted => Ok(()),
        Ok(found) => Err(Refusal::OtherRole {
            found: found.role,
            wanted,
        }
        .to_string()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// Why nothing is at a path.
fn missing(path: &Path) -> Option<String> {
    let error = path.metadata().err()?;
    Some(format!("{}: {error}", path.display()))
}

/// Why the roots of a file cannot be used.
fn roots(tls: &UpstreamTls) -> Option<String> {
    tls.ca_file.as_ref()?;
    let why = Secure::new(tls, "localhost:1").err()?.to_string();
    Some(why.strip_prefix("caFile ").unwrap_or(&why).to_owned())
}

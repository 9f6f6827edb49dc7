//! `--prune` of `apply` and `diff`: what the gateway has and the files do not.
//!
//! The files count as all there is to be, whoever made what they do not have;
//! `run --prune` knows what its files made and goes no further. Changes nothing
//! itself but by `Gone::delete`. Called by `apply` and `diff`.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::connect::Gateway;
use super::kind::Named;
use super::resources::{Resources, named};
use super::row::text;
use super::{Failure, tell};
use crate::resource::{self, Document, Problem};

/// Refuses files that say nothing where they should: an empty one, as of a program
/// that failed, would delete all that it had before.
pub(super) fn none_empty(read: &Resources) -> Result<(), Failure> {
    let why = "it is empty; with --prune that would delete what it had: remove the file, or leave --prune out";
    let problems: Vec<Problem> = resource::blank(&read.sources)
        .iter()
        .map(|name| Problem::of_file(name, why))
        .collect();
    if !problems.is_empty() {
        return Err(tell(&problems));
    }
    if read.documents.is_empty() {
        let why = "the files have no endpoint and no plugin; --prune would delete all there are";
        return Err(Failure::Refused(why.to_owned()));
    }
    Ok(())
}

/// One resource that the files do not have.
pub(super) struct Gone {
    pub(super) named: Named,
    /// As the gateway shows it.
    pub(super) shown: Value,
}

impl Gone {
    pub(super) async fn delete(&self, gateway: &Gateway) -> Result<(), Failure> {
        let path = self.named.path();
        match gateway.send(Method::DELETE, &path, "", Bytes::new()).await {
            // Somebody else was quicker.
            Ok(_) | Err(Failure::NotFound(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// The endpoints that are to go beside these documents.
pub(super) async fn endpoints_gone(
    gateway: &Gateway,
    documents: &[Document],
) -> Result<Vec<Gone>, Failure> {
    let kept = kept(documents);
    let mut gone = Vec::new();
    for shown in gateway.items("/v1/endpoints").await? {
        let named = Named::Endpoint(text(&shown, "/metadata/name").to_owned());
        if !kept.contains(&named.to_string()) {
            gone.push(Gone { named, shown });
        }
    }
    Ok(gone)
}

/// The plugins that are to go: none of these documents is or binds them. Of a
/// shipped plugin it is the resource, where there is one.
pub(super) async fn plugins_gone(
    gateway: &Gateway,
    documents: &[Document],
) -> Result<Vec<Gone>, Failure> {
    let kept = kept(documents);
    let bound: BTreeSet<&str> = documents
        .iter()
        .filter(|one| one.kind == "Endpoint")
        .flat_map(|one| resource::bound_plugins(&one.value))
        .collect();
    let shipped = resource::shipped();
    let mut gone = Vec::new();
    for shown in gateway.items("/v1/plugins").await? {
        let name = text(&shown, "/metadata/name");
        let named = Named::Plugin(name.to_owned());
        let goes = !kept.contains(&named.to_string())
            && if shipped.iter().any(|one| one.name.as_str() == name) {
                has_resource(gateway, &named).await?
            } else {
                !bound.contains(name)
            };
        if goes {
            gone.push(Gone { named, shown });
        }
    }
    Ok(gone)
}

fn kept(documents: &[Document]) -> BTreeSet<String> {
    documents.iter().map(|one| named(one).to_string()).collect()
}

/// Whether a shipped plugin has a resource that could be deleted: without one it
/// is shown as it is shipped, but its deletion is refused.
async fn has_resource(gateway: &Gateway, named: &Named) -> Result<bool, Failure> {
    let path = format!("{}?dryRun=true", named.path());
    match gateway.send(Method::DELETE, &path, "", Bytes::new()).await {
        Ok(_) => Ok(true),
        Err(Failure::Refused(_) | Failure::NotFound(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

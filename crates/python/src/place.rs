//! Where a cluster is, and tokens for it.

use crate::fault::{Class, Fault};
use amicus::Deployment;
use amicus::https::{Tokens, name_of, nodes};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A user's tokens: a file, or one for every node by its name.
#[derive(FromPyObject)]
pub(crate) enum Token {
    Named(BTreeMap<String, String>),
    File(PathBuf),
}

/// Reads a cluster's file, and tokens for it.
pub(crate) fn read(cluster: &Path, token: Token) -> Result<(Deployment, Tokens), Fault> {
    let deployment = Deployment::read(cluster)?;
    let mut named = match token {
        Token::File(path) => {
            let tokens = Tokens::read(&path, &deployment)?;
            return Ok((deployment, tokens));
        }
        Token::Named(named) => named.into_iter().map(|(node, token)| (node, Zeroizing::new(token))),
    }
    .collect::<BTreeMap<String, Zeroizing<String>>>();
    let mut tokens = Tokens::default();
    for node in nodes(&deployment).map_err(amicus::Error::from)? {
        let name = name_of(&node);
        let token = named.remove(&name).ok_or_else(|| {
            let next = "its operator makes one with `amicus token new`";
            Fault::yours(Class::Configuration, format!("there is no token for {name}"), "token", next)
        })?;
        tokens.insert(node, token);
    }
    Ok((deployment, tokens))
}

/// The name of the model that is meant: the only one of the cluster, unless it is named.
pub(crate) fn model_of(deployment: &Deployment, model: Option<String>) -> Result<String, Fault> {
    let known: Vec<&str> = deployment.models.keys().map(String::as_str).collect();
    match (model, &known[..]) {
        (Some(model), known) if known.is_empty() || known.contains(&model.as_str()) => Ok(model),
        (None, [only]) => Ok((*only).to_owned()),
        (Some(model), known) => {
            let what = format!("the cluster has no model {model}; its models are {}", known.join(", "));
            Err(Fault::yours(Class::Configuration, what, "model", "name one of them"))
        }
        (None, known) => {
            let what = format!("the cluster's file names {} models: {}", known.len(), known.join(", "));
            Err(Fault::yours(Class::Configuration, what, "model", "name the one that is meant"))
        }
    }
}

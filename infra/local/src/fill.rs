//! `cargo local fill`: replaces each `${NAME}` in a sample event by the running stack's value.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::env::{Variables, for_containers};
use crate::stack_file::StackFile;
use stack::workspace::Workspace;

/// Prints a file with the running stack's values in it. URLs are those that work inside containers.
///
/// # Errors
///
/// No local stack is ready, or the file has a name that the stack has no value for.
pub async fn fill(workspace: &Workspace, file: &Path) -> Result<()> {
    let stack = StackFile::read(&workspace.stack_file())?;
    let text = fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let filled = filled(&text, &values(&stack).await?);
    print!("{}", filled.with_context(|| file.display().to_string())?);
    Ok(())
}

/// The values by name: the variables of all functions, and what only their callers know.
async fn values(stack: &StackFile) -> Result<Variables> {
    let functions = for_containers(stack).await?;
    let mut values: Variables = functions.into_values().flatten().collect();
    let header = stack.webhook.header.value.clone();
    values.insert("WEBHOOK_HEADER".to_owned(), header);
    let secret = stack.outputs.get("WebhookSecretArn");
    let secret = secret.context("the stack lacks the output WebhookSecretArn")?;
    let described = stack.account().secretsmanager().get_secret_value();
    let described = described.secret_id(secret).send().await;
    let version = described
        .context("cannot read the webhook's secret")?
        .version_id;
    let version = version.context("the webhook's secret has no version")?;
    values.insert("WEBHOOK_SECRET_VERSION".to_owned(), version);
    Ok(values)
}

/// Replaces each `${NAME}`, which must be inside a JSON string.
///
/// # Errors
///
/// A name has no value, or the result is not JSON.
fn filled(text: &str, values: &Variables) -> Result<String> {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').context("a `${` has no `}`")?;
        let value = values
            .get(name)
            .with_context(|| format!("the stack has no value for {name}"))?;
        let quoted = Value::from(value.as_str()).to_string();
        filled += quoted.trim_matches('"');
        filled += rest;
    }
    let is_json = serde_json::from_str::<Value>(&filled).is_ok();
    ensure!(
        is_json,
        "with the stack's values in it, the file is not JSON"
    );
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled_with(text: &str) -> Result<String> {
        let values = [("A", "one"), ("B", "a\\b")];
        let own = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        filled(text, &own.into())
    }

    #[test]
    fn each_name_becomes_its_value() {
        let text = filled_with(r#"{"x": "${A}/${B}", "y": "${A}"}"#).unwrap();
        assert_eq!(text, r#"{"x": "one/a\\b", "y": "one"}"#);
    }

    #[test]
    fn a_name_without_a_value_is_an_error() {
        let error = filled_with(r#"{"x": "${C}"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the stack has no value for C");
        filled_with(r#"{"x": "${A"}"#).unwrap_err();
        filled_with(r"${A}").unwrap_err();
    }

    #[test]
    fn a_file_without_names_stays_the_same() {
        assert_eq!(filled_with("{}\n").unwrap(), "{}\n");
    }
}

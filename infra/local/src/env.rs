//! `cargo local env`: points other tools at the stack of `cargo local up`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde_json::json;
use shared::loopback::is_loopback;
use url::Url;

use crate::stack::loopback_url;
use crate::stack_file::StackFile;
use crate::workspace::Workspace;

/// How outputs with the name of a function end; what is before is its name in the template.
const FUNCTION_NAME: &str = "FunctionName";

/// Who is to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// A shell, for the AWS CLI and every SDK: `eval "$(cargo local env)"`
    Shell,
    /// `cargo lambda watch --env-file`: all functions' variables, too
    CargoLambda,
    /// `sam local … --env-vars`: each function's variables, as a container needs them
    Sam,
}

/// Names and values.
pub type Variables = BTreeMap<String, String>;

/// Prints the variables that point `reader` at the running stack.
///
/// # Errors
///
/// Nothing is up, or Lambda doesn't say what a function's variables are.
pub async fn env(workspace: &Workspace, reader: Reader) -> Result<()> {
    let file = StackFile::read(&workspace.stack_file())?;
    let text = match reader {
        Reader::Shell => for_shells(&aws(&file))?,
        Reader::CargoLambda => {
            let functions = functions(&file).await?;
            env_file(&merged(
                [aws(&file)].into_iter().chain(functions.into_values()),
            )?)?
        }
        Reader::Sam => format!("{:#}\n", json!(for_containers(&file).await?)),
    };
    print!("{text}");
    Ok(())
}

/// What every SDK reads.
fn aws(file: &StackFile) -> Variables {
    [
        ("AWS_ENDPOINT_URL", &file.aws_endpoint_url),
        ("AWS_REGION", &file.aws_region),
        ("AWS_DEFAULT_REGION", &file.aws_region),
        ("AWS_ACCESS_KEY_ID", &file.aws_access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &file.aws_secret_access_key),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .into()
}

/// The variables of each function, by its name in the template, for a function that runs in a
/// container on this machine. sam itself gives it region and credentials.
///
/// # Errors
///
/// Lambda doesn't say what a function's variables are.
pub async fn for_containers(file: &StackFile) -> Result<BTreeMap<String, Variables>> {
    let mut functions = functions(file).await?;
    for variables in functions.values_mut() {
        for value in variables.values_mut() {
            *value = from_a_container(&file.aws_endpoint_url, value);
        }
        let endpoint = from_a_container(&file.aws_endpoint_url, &file.aws_endpoint_url);
        variables.insert("AWS_ENDPOINT_URL".to_owned(), endpoint);
    }
    Ok(functions)
}

/// What a container calls this machine: Docker Desktop sees to it, and elsewhere
/// `--add-host host.docker.internal:host-gateway`.
const THIS_MACHINE: &str = "host.docker.internal";

/// A URL of this machine as it is from within a container, and any other value as it is.
fn from_a_container(endpoint: &str, value: &str) -> String {
    let local = loopback_url(endpoint, value).unwrap_or_else(|_| value.to_owned());
    match Url::parse(&local) {
        Ok(url) if is_loopback(&url) => {
            let (host, port) = (url.host_str(), url.port());
            let [from, to] = [host.unwrap_or_default(), THIS_MACHINE]
                .map(|host| port.map_or(host.to_owned(), |port| format!("{host}:{port}")));
            local.replacen(&from, &to, 1)
        }
        _ => value.to_owned(),
    }
}

/// The variables of each function as it is deployed, by its name in the template.
async fn functions(file: &StackFile) -> Result<BTreeMap<String, Variables>> {
    let client = file.account().lambda();
    let mut functions = BTreeMap::new();
    for (output, name) in &file.outputs {
        let Some(before) = output.strip_suffix(FUNCTION_NAME) else {
            continue;
        };
        let configuration = client
            .get_function_configuration()
            .function_name(name)
            .send()
            .await
            .with_context(|| format!("Lambda doesn't describe {name}"))?;
        let variables = configuration.environment.and_then(|its| its.variables);
        let variables = variables.unwrap_or_default().into_iter().collect();
        functions.insert(format!("{before}Function"), variables);
    }
    Ok(functions)
}

/// All in one.
///
/// # Errors
///
/// Two have another value for the same name.
fn merged(all: impl IntoIterator<Item = Variables>) -> Result<Variables> {
    let mut merged = Variables::new();
    for (name, value) in all.into_iter().flatten() {
        let other = merged.insert(name.clone(), value.clone());
        ensure!(
            other.is_none_or(|other| other == value),
            "two functions have another {name}: one file can't hold both"
        );
    }
    Ok(merged)
}

/// Also takes away what would win over these, or go along with them.
fn for_shells(variables: &Variables) -> Result<String> {
    let unset = "unset AWS_PROFILE AWS_SESSION_TOKEN\n".to_owned();
    let export = |(name, value): (&String, &String)| {
        ensure!(!value.contains('\''), "{name} holds a quotation mark");
        Ok(format!("export {name}='{value}'\n"))
    };
    [Ok(unset)]
        .into_iter()
        .chain(variables.iter().map(export))
        .collect()
}

/// `NAME=value` lines, which every reader of such files takes alike as long as no value has more
/// than one line.
fn env_file(variables: &Variables) -> Result<String> {
    let line = |(name, value): (&String, &String)| {
        ensure!(!value.contains('\n'), "{name} has more than one line");
        Ok(format!("{name}={value}\n"))
    };
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn a_shell_takes_a_value_as_it_is() {
        let lines = for_shells(&variables(&[("A", "$x \"y\" `z`")])).unwrap();
        assert!(lines.ends_with("\nexport A='$x \"y\" `z`'\n"), "{lines}");
        for_shells(&variables(&[("A", "it's")])).unwrap_err();
    }

    #[test]
    fn a_container_finds_this_machine_by_name() {
        let from = |value: &str| from_a_container("http://127.0.0.1:4566", value);
        let same = [
            "aura-ledger",
            "",
            "NEW_CALLOUT,CALLOUT_CLOSED",
            "https://aura.example/x",
        ];
        assert!(same.iter().all(|value| from(value) == *value));
        assert_eq!(
            from("http://127.0.0.1:4566/000000000001/queue.fifo"),
            "http://host.docker.internal:4566/000000000001/queue.fifo"
        );
        assert_eq!(
            from("http://abc.execute-api.localhost:4566/aura/events"),
            "http://host.docker.internal:4566/_aws/execute-api/abc/aura/events"
        );
    }

    #[test]
    fn what_two_functions_share_is_there_once() {
        let [one, two] =
            [&[("A", "1"), ("B", "2")], &[("A", "1"), ("C", "3")]].map(|its| variables(its));
        let lines = env_file(&merged([one, two]).unwrap()).unwrap();
        assert_eq!(lines, "A=1\nB=2\nC=3\n");
    }

    #[test]
    fn what_two_functions_have_differently_fits_no_file() {
        let [one, two] = [&[("A", "1")], &[("A", "2")]].map(|its| variables(its));
        merged([one, two]).unwrap_err();
        env_file(&variables(&[("A", "1\n2")])).unwrap_err();
    }
}

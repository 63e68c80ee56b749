//! `cargo local env`: points other tools at the stack of `cargo local up`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::json;
use shared::loopback::is_loopback;
use url::Url;

use crate::stack_file::StackFile;
use stack::boto;
use stack::workspace::Workspace;

/// The suffix of the outputs that hold a function's deployed name. The part before the suffix is the
/// function's name in the template.
const FUNCTION_NAME: &str = "FunctionName";

/// The prefix of the variables that set the endpoint of one service. The service's name follows the
/// prefix. Such a variable wins over `AWS_ENDPOINT_URL`.
const ENDPOINT_OF: &str = "AWS_ENDPOINT_URL_";
/// The services that the template uses, and those for deploying and inspecting it.
const SERVICES: [&str; 19] = [
    "APIGATEWAYV2",
    "CLOUDFORMATION",
    "CLOUDWATCH",
    "CLOUDWATCH_LOGS",
    "DYNAMODB",
    "DYNAMODB_STREAMS",
    "EVENTBRIDGE",
    "IAM",
    "KMS",
    "LAMBDA",
    "S3",
    "S3_CONTROL",
    "SCHEDULER",
    "SECRETS_MANAGER",
    "SNS",
    "SQS",
    "SSM",
    "STS",
    "XRAY",
];
/// Variables that make SDKs ignore or refuse `AWS_ENDPOINT_URL`. AWS's configuration files may do the
/// same, so unsetting the variables isn't enough: they are set to `false`.
const SWITCHES: [&str; 3] = [
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
];
/// Variables that belong to other credentials, or choose them.
const OTHER_CREDENTIALS: [&str; 2] = ["AWS_PROFILE", "AWS_SESSION_TOKEN"];
/// Variables that list hosts for which programs use no proxy. Some programs read one, some the other.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The hosts of everything local, which a proxy can't reach. `.localhost` stands for all names below
/// `localhost`.
const LOCAL_HOSTS: [&str; 4] = ["127.0.0.1", "localhost", ".localhost", "::1"];

/// The tool that reads the variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// A shell, for the AWS CLI and every SDK: `eval "$(cargo local env)"`
    Shell,
    /// `cargo lambda watch --env-file`: also the variables of all functions
    CargoLambda,
    /// `sam local … --env-vars`: each function's variables, as a container needs them
    Sam,
}

/// Environment variables: names and values.
pub type Variables = BTreeMap<String, String>;

/// Prints the variables that point `reader` at the running stack.
///
/// # Errors
///
/// No local stack is ready, or Lambda doesn't return a function's variables.
pub async fn env(workspace: &Workspace, reader: Reader) -> Result<()> {
    let file = StackFile::read(&workspace.stack_file())?;
    let text = match reader {
        Reader::Shell => {
            let mut variables = aws(&file);
            variables.extend(without_proxy(|name| std::env::var(name).ok()));
            for_shells(&overriding(own_names()), &variables)?
        }
        Reader::CargoLambda => {
            let functions = functions(&file).await?;
            // Such a file can't unset a variable, so it sets each to the local endpoint.
            let endpoints = endpoints_of_services(own_names())
                .map(|name| (name, file.aws_endpoint_url.clone()));
            env_file(&merged(
                [aws(&file), endpoints.collect()]
                    .into_iter()
                    .chain(functions.into_values()),
            )?)?
        }
        Reader::Sam => format!("{:#}\n", json!(for_containers(&file).await?)),
    };
    print!("{text}");
    Ok(())
}

/// The names of this program's environment variables.
fn own_names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// The variables in `names` that set the endpoint of one service.
fn endpoints_of_services(names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    names.filter(|name| name.starts_with(ENDPOINT_OF))
}

/// The variables that would win over `AWS_ENDPOINT_URL` or change the credentials: the known ones, and
/// those among `names`, which are the variables that are set.
fn overriding(names: impl Iterator<Item = String>) -> BTreeSet<String> {
    let known = OTHER_CREDENTIALS.into_iter().chain(SWITCHES);
    let known = known.map(str::to_owned);
    let services = SERVICES.map(|service| format!("{ENDPOINT_OF}{service}"));
    known
        .chain(services)
        .chain(endpoints_of_services(names))
        .collect()
}

/// The variables that exempt local hosts from the proxy, in addition to the hosts that the user exempts.
fn without_proxy(variable: impl Fn(&str) -> Option<String>) -> Variables {
    let users = NO_PROXY.into_iter().find_map(variable).unwrap_or_default();
    let users: Vec<_> = users.split(',').map(str::trim).collect();
    let mut hosts: Vec<_> = users
        .iter()
        .copied()
        .filter(|host| !host.is_empty())
        .collect();
    hosts.extend(LOCAL_HOSTS.iter().filter(|host| !users.contains(host)));
    let hosts = hosts.join(",");
    NO_PROXY.map(|name| (name.to_owned(), hosts.clone())).into()
}

/// The variables that every SDK reads.
fn aws(file: &StackFile) -> Variables {
    let switches = SWITCHES.map(|name| (name.to_owned(), "false".to_owned()));
    let mut variables = Variables::from(switches);
    variables.extend(
        [
            ("AWS_ENDPOINT_URL", &file.aws_endpoint_url),
            ("AWS_REGION", &file.aws_region),
            ("AWS_DEFAULT_REGION", &file.aws_region),
            ("AWS_ACCESS_KEY_ID", &file.aws_access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &file.aws_secret_access_key),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone())),
    );
    variables
}

/// The variables of each function, by its name in the template, for a function that runs in a
/// container on this machine. sam itself adds region and credentials.
///
/// # Errors
///
/// Lambda doesn't return a function's variables.
pub async fn for_containers(file: &StackFile) -> Result<BTreeMap<String, Variables>> {
    let mut functions = functions(file).await?;
    for variables in functions.values_mut() {
        for value in variables.values_mut() {
            *value = from_a_container(value);
        }
        let endpoint = from_a_container(&file.aws_endpoint_url);
        variables.insert("AWS_ENDPOINT_URL".to_owned(), endpoint);
    }
    Ok(functions)
}

/// The name of this machine inside a container. Docker Desktop provides it; elsewhere the option
/// `--add-host host.docker.internal:host-gateway` does.
const THIS_MACHINE: &str = "host.docker.internal";

/// A URL of this machine as it is from within a container, and any other value as it is.
fn from_a_container(value: &str) -> String {
    match Url::parse(value) {
        Ok(url) if is_loopback(&url) => {
            let (host, port) = (url.host_str(), url.port());
            let [from, to] = [host.unwrap_or_default(), THIS_MACHINE]
                .map(|host| port.map_or(host.to_owned(), |port| format!("{host}:{port}")));
            value.replacen(&from, &to, 1)
        }
        _ => value.to_owned(),
    }
}

/// The variables of each function as it is deployed, by its name in the template.
async fn functions(file: &StackFile) -> Result<BTreeMap<String, Variables>> {
    let account = file.account();
    let mut functions = BTreeMap::new();
    for (output, name) in &file.outputs {
        let Some(before) = output.strip_suffix(FUNCTION_NAME) else {
            continue;
        };
        let arguments = json!({"FunctionName": name});
        let configuration: Configuration =
            boto::call(&account, "lambda", "get_function_configuration", arguments)
                .await
                .with_context(|| format!("cannot read the variables of the function {name}"))?;
        let variables = configuration.environment.variables;
        functions.insert(format!("{before}Function"), variables);
    }
    Ok(functions)
}

/// The parts of a function's configuration that are used here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    #[serde(default)]
    environment: Environment,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    #[serde(default)]
    variables: Variables,
}

/// Merges several sets of variables into one.
///
/// # Errors
///
/// Two sets have different values for the same name.
fn merged(all: impl IntoIterator<Item = Variables>) -> Result<Variables> {
    let mut merged = Variables::new();
    for (name, value) in all.into_iter().flatten() {
        let other = merged.insert(name.clone(), value.clone());
        ensure!(
            other.is_none_or(|other| other == value),
            "two functions have different values of {name}: one file can't hold both"
        );
    }
    Ok(merged)
}

/// Shell lines that unset the variables in `overriding` and export `variables`.
fn for_shells(overriding: &BTreeSet<String>, variables: &Variables) -> Result<String> {
    let is_name = |name: &&String| {
        let mut characters = name.chars();
        characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    // A shell can only unset plain names, and no SDK reads others.
    let names: Vec<_> = overriding
        .iter()
        .filter(is_name)
        .map(String::as_str)
        .collect();
    let unset = format!("unset {}\n", names.join(" "));
    let export = |(name, value): (&String, &String)| {
        ensure!(
            !value.contains('\''),
            "the value of {name} contains a quotation mark"
        );
        Ok(format!("export {name}='{value}'\n"))
    };
    [Ok(unset)]
        .into_iter()
        .chain(variables.iter().map(export))
        .collect()
}

/// `NAME=value` lines. All tools read them the same way as long as no value has more than one line.
fn env_file(variables: &Variables) -> Result<String> {
    let line = |(name, value): (&String, &String)| {
        ensure!(
            !value.contains('\n'),
            "the value of {name} has more than one line"
        );
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
        let for_shells = |value| for_shells(&BTreeSet::new(), &variables(&[("A", value)]));
        let lines = for_shells("$x \"y\" `z`").unwrap();
        assert!(lines.ends_with("\nexport A='$x \"y\" `z`'\n"), "{lines}");
        for_shells("it's").unwrap_err();
    }

    #[test]
    fn variables_that_would_win_are_unset_also_those_of_unknown_services() {
        let set = ["AWS_ENDPOINT_URL_NEW_SERVICE", "AWS_ENDPOINT_URL", "PATH"];
        let overriding = overriding(set.map(str::to_owned).into_iter());
        for name in [
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL_SQS",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "AWS_ENDPOINT_URL_NEW_SERVICE",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "AWS_USE_FIPS_ENDPOINT",
            "AWS_USE_DUALSTACK_ENDPOINT",
        ] {
            assert!(overriding.contains(name), "{name}");
        }
        assert!(!overriding.contains("AWS_ENDPOINT_URL"));
        assert!(!overriding.contains("PATH"));
        let names = ["AWS_ENDPOINT_URL_X;date", "B"].map(str::to_owned).into();
        let lines = for_shells(&names, &Variables::new()).unwrap();
        assert_eq!(lines, "unset B\n");
    }

    #[test]
    fn hosts_that_the_user_exempts_from_the_proxy_stay_exempt() {
        let hosts = |name, users: &str| {
            let users = users.to_owned();
            let variables = without_proxy(|asked| (asked == name).then(|| users.clone()));
            assert_eq!(variables["NO_PROXY"], variables["no_proxy"]);
            variables["NO_PROXY"].clone()
        };
        let local = "127.0.0.1,localhost,.localhost,::1";
        assert_eq!(hosts("NO_PROXY", ""), local);
        assert_eq!(
            hosts("no_proxy", "intranet.example, 10.0.0.0/8"),
            format!("intranet.example,10.0.0.0/8,{local}")
        );
        assert_eq!(hosts("NO_PROXY", local), local);
    }

    #[test]
    fn a_container_finds_this_machine_by_name() {
        let same = [
            "aura-ledger",
            "",
            "NEW_CALLOUT,CALLOUT_CLOSED",
            "https://aura.example/x",
        ];
        assert!(same.iter().all(|value| from_a_container(value) == *value));
        assert_eq!(
            from_a_container("http://127.0.0.1:4566/000000000001/queue.fifo"),
            "http://host.docker.internal:4566/000000000001/queue.fifo"
        );
    }

    #[test]
    fn a_variable_of_two_functions_is_written_once() {
        let [one, two] =
            [&[("A", "1"), ("B", "2")], &[("A", "1"), ("C", "3")]].map(|its| variables(its));
        let lines = env_file(&merged([one, two]).unwrap()).unwrap();
        assert_eq!(lines, "A=1\nB=2\nC=3\n");
    }

    #[test]
    fn two_values_of_one_variable_are_an_error_and_so_are_two_lines_in_a_value() {
        let [one, two] = [&[("A", "1")], &[("A", "2")]].map(|its| variables(its));
        merged([one, two]).unwrap_err();
        env_file(&variables(&[("A", "1\n2")])).unwrap_err();
    }
}

//! Tests with other things on the machine: proxies, settings for AWS, other checkouts, web pages in
//! a browser.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use aura_sim::{AuraSim, Options};
use e2e::Local;
use reqwest::StatusCode;
use reqwest::header::{HOST, ORIGIN};
use serde_json::{Value, json};
use stack::account::Account;
use stack::boto;
use stack::ministack::{LocalAws, LocalAwsOptions};
use stack::package::{self, Profile};
use stack::processes;
use stack::progress::Progress;
use stack::python::Venv;
use stack::workspace::Workspace;
use tokio::net::TcpListener;
use tokio::process::Command;

/// The program behind `cargo local`.
async fn program() -> Result<PathBuf> {
    let built = package::build(&Workspace::here()?, Profile::Dev, &["aura-local"]).await?;
    built.into_iter().next().context("cargo built no program")
}

/// A proxy that closes every connection, and the number of connections that it got.
async fn counting_proxy() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let came = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&came);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok((url, came))
}

/// The calls that deploy a stack are refused unless the endpoint is on this machine.
#[tokio::test]
async fn deployments_call_only_this_machine() -> Result<()> {
    // This creates the Python environment that makes the calls.
    Local::shared().await?;
    let elsewhere = Account::new("https://sqs.us-east-1.amazonaws.com", "000000000001");
    let call = boto::call::<Value>(&elsewhere, "sqs", "list_queues", json!({}));
    let error = call.await.err().context("a real service was called")?;
    let expected = "https://sqs.us-east-1.amazonaws.com is not the local AWS";
    ensure!(error.to_string().starts_with(expected), "{error}");
    Ok(())
}

/// The local stack reaches its own parts, whatever a company's network or another project has set.
#[tokio::test]
async fn the_local_stack_ignores_proxies_and_settings_for_aws() -> Result<()> {
    const NOBODY: &str = "http://127.0.0.1:9";
    let (proxy, came) = counting_proxy().await?;
    let mut demo = Command::new(program().await?);
    demo.args(["demo", "--json"]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        demo.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    for service in [
        "CLOUDFORMATION",
        "DYNAMODB",
        "EVENTBRIDGE",
        "LAMBDA",
        "S3",
        "SECRETS_MANAGER",
        "SQS",
    ] {
        demo.env(format!("AWS_ENDPOINT_URL_{service}"), NOBODY);
    }
    for switch in [
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_USE_FIPS_ENDPOINT",
    ] {
        demo.env(switch, "true");
    }
    demo.env("AWS_ENDPOINT_URL", NOBODY)
        .env("AWS_PROFILE", "nobody")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    let ran = demo.stdin(Stdio::null()).output().await?;
    ensure!(ran.status.success(), "{}", told(&ran));
    let counts = String::from_utf8_lossy(&ran.stdout);
    let counts: Value = serde_json::from_str(
        counts
            .lines()
            .last()
            .context("the program printed no counts")?,
    )?;
    assert_eq!(counts["published"], counts["sent"], "{counts}");
    assert_eq!(counts["lost"], 0, "{counts}");
    assert_eq!(came.load(Ordering::Relaxed), 0, "the proxy was asked");
    Ok(())
}

fn told(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

/// In a company's network, only the proxy reaches the internet.
#[tokio::test]
async fn downloads_go_by_the_users_proxy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    checkout(folder.path())?;
    let (proxy, came) = counting_proxy().await?;
    let mut demo = Command::new(program().await?);
    demo.arg("demo").current_dir(folder.path());
    demo.env("HTTPS_PROXY", &proxy).env("https_proxy", &proxy);
    demo.env("PIP_INDEX_URL", "https://packages.invalid/simple");
    for variable in [
        "CARGO_MANIFEST_DIR",
        "NO_PROXY",
        "no_proxy",
        "PIP_FIND_LINKS",
        "PIP_NO_INDEX",
    ] {
        demo.env_remove(variable);
    }
    let ran = demo.stdin(Stdio::null()).output().await?;
    assert!(!ran.status.success());
    let said = told(&ran);
    assert!(said.contains("pip could not install"), "{said}");
    assert_ne!(
        came.load(Ordering::Relaxed),
        0,
        "the proxy was not asked: {said}"
    );
    Ok(())
}

/// Makes the smallest checkout in which a program can start.
fn checkout(root: &Path) -> Result<()> {
    let here = Workspace::here()?;
    for file in [
        "Cargo.toml",
        "template.yaml",
        "infra/stack/ministack/__main__.py",
        "infra/stack/requirements.txt",
    ] {
        let copy = root.join(file);
        fs::create_dir_all(copy.parent().context("the path has no folder")?)?;
        fs::copy(here.root().join(file), copy)?;
    }
    Ok(())
}

/// A folder that was copied or renamed after a build holds programs that were built elsewhere.
#[tokio::test]
async fn a_program_works_in_the_checkout_that_it_is_run_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let moved = folder.path().join("moved");
    checkout(&moved)?;
    let copy = moved.join("aura-local");
    fs::copy(program().await?, &copy)?;
    let down = |folder: &Path| {
        let mut down = Command::new(&copy);
        down.arg("down").current_dir(folder);
        down.env_remove("CARGO_MANIFEST_DIR");
        down
    };
    let ran = down(&moved.join("infra/stack")).output().await?;
    ensure!(ran.status.success(), "{}", told(&ran));
    assert!(moved.join("target/local/lock").exists());

    // Runs in a renamed checkout as cargo does it: the current folder is the user's.
    let renamed = folder.path().join("renamed");
    fs::rename(&moved, &renamed)?;
    let mut down = Command::new(renamed.join("aura-local"));
    fs::remove_dir_all(renamed.join("target"))?;
    down.arg("down").current_dir(folder.path());
    down.env("CARGO_MANIFEST_DIR", renamed.join("infra/local"));
    let ran = down.output().await?;
    ensure!(ran.status.success(), "{}", told(&ran));
    assert!(renamed.join("target/local/lock").exists());
    assert!(!moved.exists());
    Ok(())
}

#[tokio::test]
async fn outside_of_a_checkout_a_program_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut down = Command::new(program().await?);
    down.arg("down").current_dir(folder.path());
    let ran = down.env_remove("CARGO_MANIFEST_DIR").output().await?;
    assert!(!ran.status.success());
    let place = fs::canonicalize(folder.path())?;
    let expected = format!("{} is in no checkout of aura-webhooks", place.display());
    assert!(told(&ran).contains(&expected), "{}", told(&ran));
    Ok(())
}

/// The headers by which a request says where it comes from, and whether it is let in.
const REQUESTS: [(&[(&str, &str)], bool); 11] = [
    (&[], true),
    (&[("origin", "http://localhost:3000")], true),
    (&[("sec-fetch-site", "same-origin")], true),
    (&[("host", "localhost:4566")], true),
    (&[("host", "host.docker.internal:4566")], true),
    (&[("origin", "https://evil.example")], false),
    (&[("origin", "null")], false),
    (&[("sec-fetch-site", "cross-site")], false),
    (&[("host", "evil.example:4566")], false),
    (&[("host", "127.0.0.1.evil.example")], false),
    // A page whose host name was pointed at this machine after the page was loaded.
    (
        &[
            ("host", "evil.example"),
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ],
        false,
    ),
];

async fn assert_pages_are_kept_out(url: &str) -> Result<()> {
    let http = shared::http_client::build()?;
    for method in [
        reqwest::Method::GET,
        reqwest::Method::POST,
        reqwest::Method::OPTIONS,
    ] {
        for (headers, gets_in) in REQUESTS {
            let mut request = http.request(method.clone(), url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let status = request.send().await?.status();
            let is_refused = status == StatusCode::FORBIDDEN;
            assert_eq!(is_refused, !gets_in, "{method} {url} {headers:?}: {status}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn web_pages_reach_neither_the_local_aws_nor_aura() -> Result<()> {
    let local = Local::shared().await?;
    assert_pages_are_kept_out(&format!("{}/_ministack/health", local.endpoint())).await?;
    let aura = AuraSim::start(Options::default()).await?;
    assert_pages_are_kept_out(&format!("{}/_sim/calls", aura.url())).await?;
    assert_pages_are_kept_out(&format!("{}/panic-api/v2/oauth/token", aura.url())).await?;
    aura.shutdown().await;
    Ok(())
}

/// Each function's process has a Runtime API, which is a server of its own.
#[tokio::test]
async fn web_pages_take_no_work_from_functions() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let processes = processes::pids(&system.stack, "IngestFunctionName")?;
    let process = processes.first().context("ingest has no process")?;
    let environment = fs::read_to_string(format!("/proc/{}/environ", process.as_raw_nonzero()))?;
    let api = environment
        .split('\0')
        .find_map(|variable| variable.strip_prefix("AWS_LAMBDA_RUNTIME_API="))
        .context("ingest has no Runtime API")?;
    let next = format!("http://{api}/2018-06-01/runtime/invocation/next");
    let http = shared::http_client::build()?;
    for (name, value) in [(ORIGIN, "https://evil.example"), (HOST, "evil.example")] {
        let answer = http.get(&next).header(name, value).send().await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{value}");
    }
    let body = json!({"message": "NEW_CALLOUT", "callout": {"id": 5003}}).to_string();
    let answer = system.webhook().await?.post(&http, body.into()).await?;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    Ok(())
}

/// The status of the answer to a container, or to a web page from it.
async fn asked_by_bridge(url: &str, is_page: bool) -> Result<StatusCode> {
    let request = shared::http_client::build()?
        .get(url)
        .header(HOST, "172.17.0.1:4566");
    let request = if is_page {
        request.header(ORIGIN, "http://172.17.0.1:4566")
    } else {
        request
    };
    Ok(request.send().await?.status())
}

#[tokio::test]
async fn containers_get_in_only_by_the_named_bridge() -> Result<()> {
    let bridge = Ipv4Addr::new(172, 17, 0, 1);
    let aura = AuraSim::start(Options::default()).await?;
    let calls = format!("{}/_sim/calls", aura.url());
    assert_eq!(asked_by_bridge(&calls, false).await?, StatusCode::FORBIDDEN);
    aura.also_on(bridge);
    assert_eq!(asked_by_bridge(&calls, false).await?, StatusCode::OK);
    assert_eq!(asked_by_bridge(&calls, true).await?, StatusCode::FORBIDDEN);

    let closed = format!("{}/_ministack/health", Local::shared().await?.endpoint());
    assert_eq!(
        asked_by_bridge(&closed, false).await?,
        StatusCode::FORBIDDEN
    );
    let (workspace, progress) = (Workspace::here()?, Progress::to_stderr());
    let venv = Venv::prepare(&workspace, progress).await?;
    let options = LocalAwsOptions {
        also_on: Some(bridge),
        ..LocalAwsOptions::default()
    };
    let aws = LocalAws::start(&workspace, &venv, options, progress).await?;
    let open = format!("{}/_ministack/health", aws.endpoint());
    assert_eq!(asked_by_bridge(&open, false).await?, StatusCode::OK);
    assert_eq!(asked_by_bridge(&open, true).await?, StatusCode::FORBIDDEN);
    aws.stop().await;
    Ok(())
}

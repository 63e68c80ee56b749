//! Tests of the page, in a real browser.

mod browser;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use aura_sim::client::Controller;
use e2e::Local;
use local::page::Page;
use reqwest::header::{HOST, ORIGIN};
use serde_json::json;
use stack::consumers::PATIENCE;
use stack::ops::Identity;
use stack::stack::Stack;
use stack::system::System;

use self::browser::Browser;
use super::ops;
use super::permissions::{assume, attach, role};

/// Lets somebody change something.
const ACTIONS: &str = "--allow-actions";

async fn page(stack: &Stack, options: &[&str]) -> Result<Page> {
    Page::start(ops().await?, stack, &Identity::root(stack), options).await
}

/// Posts an opening of a callout.
async fn post(system: &System, id: u32, detail: u32) -> Result<()> {
    let webhook = system.webhook().await?;
    let body = json!({"message": "NEW_CALLOUT", "callout": {"id": id, "n": detail}});
    let http = shared::http_client::build()?;
    let answer = webhook.post(&http, body.to_string().into_bytes()).await?;
    assert_eq!(answer.status, 202);
    Ok(())
}

#[tokio::test]
async fn an_emergency_is_found_and_its_timeline_grows() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let page = page(&system.stack, &[]).await?;
    let browser = Browser::start().await?;
    let aura = system.aura().await?;
    let customer = aura.create_customer("+27000000001").await?;
    let callout = aura.create_callout(&customer).await?;

    browser.open(page.address()).await?;
    browser.until("The path of an event").await?;
    browser.screenshot("overview").await?;
    browser.fill("#top-id", &callout).await?;
    browser.click("header form button").await?;
    browser.until("NEW_CALLOUT").await?;
    let time = browser.text("td time").await?;
    let (here, utc) = time.split_once(" (").context("there is one zone only")?;
    assert_ne!(here.get(11..), utc.get(..8), "{time}");

    browser.click("main h1").await?;
    for action in [Controller::Own, Controller::Acknowledge, Controller::Arrive] {
        aura.control(&callout, action).await?;
    }
    let shown = browser.until("RESPONDER_ARRIVED_ON_SCENE").await?;
    assert!(!shown.contains("not published"), "{shown}");
    browser.screenshot("timeline").await?;
    browser.look_like(390, 844, "dark").await?;
    browser.screenshot("timeline-phone-dark").await?;
    assert_eq!(
        browser
            .evaluate("document.documentElement.scrollWidth <= innerWidth")
            .await?,
        true
    );
    Ok(())
}

#[tokio::test]
async fn a_conflict_is_released_as_a_correction_but_not_by_another_page() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let page = page(&system.stack, &[ACTIONS]).await?;
    let browser = Browser::start().await?;
    post(&system, 7001, 1).await?;
    post(&system, 7001, 2).await?;
    let quarantine = format!("{}quarantine", page.address());
    until_filled(&browser, &quarantine).await?;
    browser.screenshot("quarantine").await?;
    browser.click("td a[href*='quarantine/one']").await?;
    let shown = browser.until("conflict").await?;
    assert!(
        !shown.contains("\"n\""),
        "the payload needs a click: {shown}"
    );
    browser
        .click("form[action$='quarantine/one'] button")
        .await?;
    browser.until("\"n\":2").await?;
    browser.screenshot("quarantined").await?;

    foreign_form(&browser, page.address()).await?;
    browser.open(&quarantine).await?;
    browser.click("td a[href*='quarantine/one']").await?;
    browser.click(".actions form button").await?;
    browser.until("The audit trail keeps who did it").await?;
    browser.screenshot("confirm").await?;
    browser.click("button.act").await?;
    browser.until("See it in the audit trail").await?;

    let timeline = format!("{}timeline?kind=callout&id=7001", page.address());
    browser.open(&timeline).await?;
    browser.until("operator").await?;
    browser.open(&format!("{}audit", page.address())).await?;
    browser.until("quarantine release").await?;
    browser.screenshot("audit").await?;
    browser.open(&format!("{}losses", page.address())).await?;
    browser.until("quarantined").await?;
    browser.screenshot("losses").await?;
    Ok(())
}

/// Opens a list until something is in it.
async fn until_filled(browser: &Browser, list: &str) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        browser.open(list).await?;
        if browser.text("main table").await?.contains("Look") {
            return Ok(());
        }
    }
    bail!("{list} stays empty")
}

/// Sends a form from another page: nothing changes.
async fn foreign_form(browser: &Browser, address: &str) -> Result<()> {
    let form = format!(
        "data:text/html,<main><form method=post action={address}act>\
         <input name=action value=register><button>Win</button></form></main>"
    );
    browser.open(&form).await?;
    browser.click("button").await?;
    browser.until("another page sent this form").await?;
    Ok(())
}

#[tokio::test]
async fn who_may_only_look_sees_every_page_and_is_told_why_nothing_changes() -> Result<()> {
    let system = Local::with_iam().await?.system(&[]).await?;
    let stack = &system.stack;
    role(stack, "looks").await?;
    attach(stack, "looks", "OperatorReadPolicyArn").await?;
    let looks = assume(stack, "looks").await?;
    let page = Page::start(ops().await?, stack, &looks, &[ACTIONS]).await?;
    let http = shared::http_client::build()?;
    let paths = [
        "",
        "search",
        "timeline?kind=callout&id=1",
        "delivery?id=01939b1e-7a5c-7d3e-8f00-0123456789ab",
        "quarantine",
        "dead-letters",
        "spill",
        "losses",
        "registration",
        "audit",
    ];
    for path in paths {
        let shown = http.get(format!("{}{path}", page.address())).send().await?;
        let (status, text) = (shown.status(), shown.text().await?);
        assert_eq!(status, 200, "{path}: {text}");
    }

    let browser = Browser::start().await?;
    browser
        .open(&format!("{}registration", page.address()))
        .await?;
    browser.click(".actions form button").await?;
    browser.until("The audit trail keeps who did it").await?;
    browser.click("button.act").await?;
    browser.until("nothing was changed").await?;
    browser.screenshot("refused").await?;
    Ok(())
}

#[tokio::test]
async fn only_this_page_leads_in_and_it_is_read_only_without_the_option() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let (looks, acts) =
        tokio::try_join!(page(&system.stack, &[]), page(&system.stack, &[ACTIONS]))?;
    let http = shared::http_client::build()?;
    let open = http.get(looks.address()).send().await?;
    assert_eq!(open.status(), 200);
    let policy = open.headers().get("content-security-policy");
    assert!(policy.is_some_and(|policy| policy.as_bytes().starts_with(b"default-src 'none'")));

    let (server, _) = looks
        .address()
        .trim_end_matches('/')
        .rsplit_once('/')
        .context("the address has no token")?;
    assert_eq!(http.get(format!("{server}/")).send().await?.status(), 404);
    let rebound = http.get(looks.address()).header(HOST, "rebound.example");
    assert_eq!(rebound.send().await?.status(), 403);

    let send = async |page: &Page, origin: &str| {
        let form = "action=register&form_token=guessed";
        let request = http
            .post(format!("{}act", page.address()))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(ORIGIN, origin)
            .body(form);
        anyhow::Ok(request.send().await?.status().as_u16())
    };
    assert_eq!(send(&looks, server).await?, 404);
    let registration = format!("{}registration", looks.address());
    let registration = http.get(registration).send().await?.text().await?;
    assert!(!registration.contains("Register again"), "{registration}");
    let (own, _) = acts
        .address()
        .trim_end_matches('/')
        .rsplit_once('/')
        .context("the address has no token")?;
    for origin in [own, "http://rebound.example", "null"] {
        assert_eq!(send(&acts, origin).await?, 403, "{origin}");
    }
    Ok(())
}

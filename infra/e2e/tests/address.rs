//! Tests of a domain of the partner's own: a stack moves there and back while AURA delivers, and
//! AURA gets the new address only after a canary came through it.

use anyhow::{Context as _, Result, ensure};
use aura_sim::client::Delivery;
use serde_json::{Value, json};
use stack::boto;
use stack::stack::Stack;
use stack::template::Template;

use crate::registration::trial::{Trial, impatient, rolled_back};

const CERTIFICATE: &str =
    "arn:aws:acm:us-east-1:000000000000:certificate/00000000-0000-4000-8000-000000000000";
/// The URLs at the domain, as the template writes them.
const AT_THE_DOMAIN: [&str; 2] = ["https://${Name}/", "https://${DomainName}/"];

/// A stack with a domain of its own. Domains are unique within a region.
struct Move {
    trial: Trial,
    domain: String,
    template: Template,
}

impl Move {
    async fn begin() -> Result<Self> {
        let trial = Trial::begin().await?;
        let domain = format!("aura-{}.example.com", trial.site.account().id());
        // No resolver knows the domain. MiniStack takes its name in the path, too.
        let here = format!("{}/_aws/domains/", trial.local.endpoint());
        let template = with_domains_at(trial.local.template(), &here)?;
        Ok(Self {
            trial,
            domain,
            template,
        })
    }

    /// Deploys with the domain, used in this way. `more` are all other changes.
    async fn step(&self, domain_use: &str, more: &[(&str, &str)]) -> Result<Stack> {
        let domain = [
            ("DomainName", self.domain.as_str()),
            ("CertificateArn", CERTIFICATE),
            ("DomainUse", domain_use),
        ];
        let changes = [&domain[..], more].concat();
        Ok(self.trial.deploy_from(&self.template, &changes).await?)
    }

    /// The URLs that AURA was given, in order.
    async fn told(&self) -> Result<Vec<String>> {
        let report = self.trial.aura.registration().await?;
        Ok(report.history.into_iter().map(|its| its.url).collect())
    }

    /// The result of a call of an AWS service.
    async fn call(&self, service: &str, operation: &str, arguments: Value) -> Result<Value> {
        boto::call(self.trial.site.account(), service, operation, arguments).await
    }

    /// Makes a hosted zone and returns its id.
    async fn hosted_zone(&self) -> Result<String> {
        let arguments = json!({"Name": "example.com", "CallerReference": "one"});
        let made = self
            .call("route53", "create_hosted_zone", arguments)
            .await?;
        let id = made.pointer("/HostedZone/Id").and_then(Value::as_str);
        let id = id.context("the zone has no id")?;
        Ok(id.trim_start_matches("/hostedzone/").to_owned())
    }

    /// What the zone's A record of the domain points to.
    async fn target(&self, zone: &str) -> Result<Option<String>> {
        let arguments = json!({"HostedZoneId": zone});
        let listed = self
            .call("route53", "list_resource_record_sets", arguments)
            .await?;
        let records = listed.get("ResourceRecordSets").and_then(Value::as_array);
        let its = records
            .into_iter()
            .flatten()
            .find(|record| record["Type"] == "A" && record["Name"] == format!("{}.", self.domain));
        let target = its.and_then(|record| record.pointer("/AliasTarget/DNSName")?.as_str());
        Ok(target.map(|name| name.trim_end_matches('.').to_owned()))
    }

    /// Number of domains in the account.
    async fn domains(&self) -> Result<usize> {
        let listed = self
            .call("apigatewayv2", "get_domain_names", json!({}))
            .await?;
        let items = listed.get("Items").and_then(Value::as_array);
        Ok(items.context("API Gateway lists no domains")?.len())
    }

    /// The health URL at the domain.
    fn health_at_the_domain(&self) -> String {
        let endpoint = self.trial.local.endpoint();
        format!("{endpoint}/_aws/domains/{}/health", self.domain)
    }
}

/// The template with its domains at another place.
fn with_domains_at(template: &Template, place: &str) -> Result<Template> {
    AT_THE_DOMAIN
        .iter()
        .try_fold(template.clone(), |template, url| {
            ensure!(template.text().contains(url), "the template has no {url}");
            let other = url.replace("https://", place);
            Ok(Template::from_text(template.text().replace(url, &other)))
        })
}

/// The status that a URL is answered with.
async fn get(url: &str) -> Result<u16> {
    let answer = shared::http_client::build()?.get(url).send().await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn a_living_stack_moves_to_a_domain_and_back_and_loses_nothing() -> Result<()> {
    let its = Move::begin().await?;
    let stack = its.trial.deploy_from(&its.template, &[]).await?;
    let own = stack.output("WebhookUrl")?.to_owned();
    let own_health = stack.output("HealthUrl")?.to_owned();
    let zone = its.hosted_zone().await?;
    let recorded = [("HostedZoneId", zone.as_str())];

    let there_and_back = async {
        let is_accepted = |sent: &Delivery| sent.was_answered("accepted");
        its.trial.until_some(is_accepted).await?;
        let prepared = its.step("prepared", &recorded).await?;
        assert_eq!(prepared.output("WebhookUrl")?, own);
        assert_eq!(get(&its.health_at_the_domain()).await?, 200);
        let target = prepared.output("DomainTarget")?;
        assert_eq!(its.target(&zone).await?.as_deref(), Some(target));
        assert_eq!(its.told().await?, [own.as_str()]);

        let registered = its.step("registered", &recorded).await?;
        let there = registered.output("WebhookUrl")?.to_owned();
        assert!(there.contains(&its.domain), "{there}");
        assert_eq!(its.told().await?, [own.as_str(), &there]);
        assert_eq!(get(&own_health).await?, 200);

        let only = its.step("only", &recorded).await?;
        assert_eq!(only.output("HealthUrl")?, its.health_at_the_domain());
        assert_eq!(get(only.output("HealthUrl")?).await?, 200);
        assert_eq!(get(&own_health).await?, 404);

        its.step("registered", &recorded).await?;
        assert_eq!(get(&own_health).await?, 200);
        assert_eq!(its.told().await?, [own.as_str(), &there]);

        let renamed = format!("other-{}", its.domain);
        let renamed = [recorded[0], ("DomainName", &renamed)];
        let renamed = its.step("registered", &renamed).await?;
        let elsewhere = renamed.output("WebhookUrl")?.to_owned();
        assert_ne!(elsewhere, there);
        assert_eq!((its.target(&zone).await?, its.domains().await?), (None, 1));

        let back = its.trial.deploy_from(&its.template, &[]).await?;
        assert_eq!(back.output("WebhookUrl")?, own);
        assert!(!back.outputs().contains_key("DomainTarget"));
        assert_eq!(its.told().await?, [own.as_str(), &there, &elsewhere, &own]);
        assert_eq!((its.target(&zone).await?, its.domains().await?), (None, 0));
        Ok(())
    };
    its.trial.under_traffic(&stack, there_and_back).await
}

#[tokio::test]
async fn a_domain_through_which_no_canary_comes_is_not_registered_and_nothing_is_lost() -> Result<()>
{
    let its = Move::begin().await?;
    let stack = its.trial.deploy_from(&its.template, &[]).await?;
    let own = stack.output("WebhookUrl")?.to_owned();
    // Nobody listens at this port, as if the record of the domain were missing.
    let template = with_domains_at(its.trial.local.template(), "http://127.0.0.1:9/")?;
    let unreachable = Move {
        template: impatient(&template, 3)?,
        ..its
    };
    let refused = async {
        let changes = [
            ("DomainName", unreachable.domain.as_str()),
            ("CertificateArn", CERTIFICATE),
        ];
        let (trial, template) = (&unreachable.trial, &unreachable.template);
        let failure = rolled_back(trial.deploy_from(template, &changes).await)?;
        assert_eq!(failure.status, "UPDATE_ROLLBACK_COMPLETE");
        let reason = trial.reason().await?;
        assert!(reason.contains("could not be reached"), "{reason}");
        Ok(())
    };
    unreachable.trial.under_traffic(&stack, refused).await?;
    let told = unreachable.told().await?;
    assert!(told.iter().all(|url| *url == own), "{told:?}");
    assert_eq!(unreachable.domains().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_new_stack_may_have_nothing_but_its_domain() -> Result<()> {
    let its = Move::begin().await?;
    let stack = its.step("only", &[]).await?;
    let told = its.told().await?;
    assert_eq!(told, [stack.output("WebhookUrl")?]);
    assert!(told.iter().all(|url| url.contains(&its.domain)), "{told:?}");
    // Without a hosted zone, somebody else makes the record.
    assert!(!stack.output("DomainTarget")?.is_empty());
    let api = stack.resource("HttpApi").await?;
    let endpoint = its.trial.local.endpoint();
    let own = format!("{endpoint}/_aws/execute-api/{api}/health");
    assert_eq!(get(&own).await?, 404);

    // Secrets Manager tests a new schedule of rotations with a canary, and the schedule waits for the
    // registrar alone. So the registrar comes after the mapping.
    let mapped = stack.events_of("DomainMapping").await?;
    let mapped = mapped.iter().find(|its| its.status == "CREATE_COMPLETE");
    let function = stack.events_of("RegistrarFunction").await?;
    let (mapped, function) = mapped.zip(function.first()).context("no events")?;
    assert!(mapped.at <= function.at, "{mapped:?} {function:?}");
    Ok(())
}

#[tokio::test]
async fn a_domain_without_a_certificate_and_no_address_at_all_are_refused() -> Result<()> {
    let trial = Trial::begin().await?;
    let cases = [
        (
            ("DomainName", "aura.example.com"),
            "DomainName needs CertificateArn",
        ),
        (("DomainUse", "only"), "DomainUse=only needs a DomainName"),
    ];
    for (change, expected) in cases {
        let refused = trial.deploy(&[change]).await.err();
        let told = refused.context("the template takes it")?.to_string();
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(trial.register_calls().await?, 0);
    Ok(())
}

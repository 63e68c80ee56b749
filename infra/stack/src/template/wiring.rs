//! Tests of what the deployed template connects: rules with queues, callers with functions, and
//! alarms with people and with the runbook.

use std::collections::BTreeSet;

const TEMPLATE: &str = include_str!("../../../../template.yaml");
const RUNBOOK: &str = include_str!("../../../../docs/operate.md");

/// A resource of the template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource {
    pub(super) name: &'static str,
    /// The lines below its name.
    pub(super) text: &'static str,
}

impl Resource {
    fn is_a(&self, kind: &str) -> bool {
        self.text.starts_with(&format!("    Type: AWS::{kind}\n"))
    }

    fn has(&self, line: &str) -> bool {
        self.text.lines().any(|its| its.trim() == line)
    }

    /// What comes between `before` and `after`, each time that it comes on one line.
    fn between(&self, before: &str, after: &str) -> BTreeSet<&'static str> {
        let parts = self.text.split(before).skip(1);
        let parts = parts.filter_map(|part| part.lines().next()?.split_once(after));
        parts.map(|(its, _)| its).collect()
    }
}

/// All resources, in the template's order.
fn resources() -> Vec<Resource> {
    let (_, text) = TEMPLATE.split_once("\nResources:\n").unwrap();
    let (text, _) = text.split_once("\nOutputs:\n").unwrap();
    let is_name = |line: &str| {
        let name = line.strip_prefix("  ").unwrap_or_default();
        name.starts_with(char::is_alphabetic)
    };
    let mut starts = vec![];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_name(line) {
            starts.push((at, line));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start);
    let ends: Vec<_> = ends.chain([text.len()]).collect();
    let resource = |((start, line), end): (&(usize, &'static str), &usize)| Resource {
        name: line.trim().trim_end_matches(':'),
        text: &text[start + line.len()..*end],
    };
    starts.iter().zip(&ends).map(resource).collect()
}

pub(super) fn of_kind(kind: &str) -> Vec<Resource> {
    let mut found = resources();
    found.retain(|resource| resource.is_a(kind));
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

/// Whether a queue's policy lets EventBridge send to the queue for this rule.
fn may_send(rule: &str, queue: &str) -> bool {
    let alone = format!("Condition: {{ArnEquals: {{aws:SourceArn: !GetAtt {rule}.Arn}}}}");
    // Beside the rules of replays.
    let among_others = format!("- !GetAtt {rule}.Arn");
    of_kind("SQS::QueuePolicy").iter().any(|policy| {
        let queues = policy.between("Queues: [", "]");
        let queues = queues.iter().flat_map(|queues| queues.split(", "));
        queues.into_iter().any(|its| its == format!("!Ref {queue}"))
            && (policy.has(&alone) || policy.has("ArnLike:") && policy.has(&among_others))
            && policy.has("Effect: Allow")
            && policy.has("Principal: {Service: events.amazonaws.com}")
            && policy.has("Action: sqs:SendMessage")
    })
}

/// Whether a role lets EventBridge post to this backend.
fn may_post(role: &str, destination: &str) -> bool {
    of_kind("IAM::Role").iter().any(|its| {
        its.name == role
            && its.has("Principal: {Service: events.amazonaws.com}")
            && its.has("Action: events:InvokeApiDestination")
            && its.has(&format!("Resource: !GetAtt {destination}.Arn"))
    })
}

/// Whether a permission lets a service invoke a function, for this source.
fn may_invoke(service: &str, function: &str, source: &str) -> bool {
    of_kind("Lambda::Permission").iter().any(|permission| {
        permission.has(&format!("FunctionName: !GetAtt {function}.Arn"))
            && permission.has("Action: lambda:InvokeFunction")
            && permission.has(&format!("Principal: {service}.amazonaws.com"))
            && permission.has(&format!("SourceArn: {source}"))
    })
}

#[test]
fn each_rule_may_send_to_its_target_and_to_its_dead_letters() {
    let queues: BTreeSet<_> = of_kind("SQS::Queue")
        .iter()
        .map(|queue| queue.name)
        .collect();
    let destinations = of_kind("Events::ApiDestination");
    let destinations: BTreeSet<_> = destinations.iter().map(|its| its.name).collect();
    for rule in of_kind("Events::Rule") {
        let targets = rule.between("  Arn: !GetAtt ", ".Arn");
        let dead_letters = rule.between("DeadLetterConfig: {Arn: !GetAtt ", ".Arn}");
        assert_eq!(targets.len(), 1, "{}", rule.name);
        for target in targets {
            if queues.contains(target) {
                assert!(may_send(rule.name, target), "{}: {target}", rule.name);
                assert_eq!(dead_letters.len(), 1, "{} has no dead letters", rule.name);
            } else if destinations.contains(target) {
                let roles = rule.between("RoleArn: !GetAtt ", ".Arn");
                let [role] = roles.into_iter().collect::<Vec<_>>().try_into().unwrap();
                assert!(may_post(role, target), "{}: {target}", rule.name);
                assert_eq!(dead_letters.len(), 1, "{} has no dead letters", rule.name);
            } else {
                let source = format!("!GetAtt {}.Arn", rule.name);
                assert!(may_invoke("events", target, &source), "{}", rule.name);
            }
        }
        for queue in dead_letters {
            assert!(may_send(rule.name, queue), "{}: {queue}", rule.name);
        }
    }
    assert_eq!(of_kind("Events::Rule").len(), 8);
}

/// What is off costs nothing.
#[test]
fn nothing_of_a_backend_is_there_without_one() {
    let forwards = resources();
    let forwards = forwards
        .iter()
        .filter(|its| its.name.starts_with("Forward"));
    let forwards: Vec<_> = forwards.collect();
    assert_eq!(forwards.len(), 11);
    for its in forwards {
        assert!(its.has("Condition: Forwarded"), "{}", its.name);
    }
}

/// YAML's anchors would say it once, but CloudFormation refuses them.
#[test]
fn a_dead_letter_is_posted_to_the_backend_as_the_event_was() {
    let rules = of_kind("Events::Rule").into_iter();
    let targets: BTreeSet<_> = rules
        .filter(|its| its.name.starts_with("Forward"))
        .map(|its| {
            its.text
                .split_once("      Targets:\n")
                .unwrap()
                .1
                .trim_end()
        })
        .collect();
    assert_eq!(targets.len(), 1, "{targets:#?}");
}

/// Tools that send canaries as often as they like send the same.
#[test]
fn the_canarys_schedule_sends_what_the_registrar_takes() {
    let input = format!("Input: '{}'", crate::reconciler::CANARY);
    let rules = of_kind("Events::Rule");
    let schedule = rules.iter().find(|rule| rule.name == "CanarySchedule");
    assert!(schedule.unwrap().has(&input), "{input}");
}

#[test]
fn api_gateway_may_invoke_the_function_of_each_route() {
    let integrations = of_kind("ApiGatewayV2::Integration");
    for route in of_kind("ApiGatewayV2::Route") {
        let target = route.between("Target: !Sub integrations/${", "}");
        let integration = integrations.iter().find(|its| target.contains(its.name));
        let functions = integration.unwrap().between("/functions/${", ".Arn}");
        let key = route
            .text
            .lines()
            .find_map(|line| line.trim().strip_prefix("RouteKey: "));
        let (_, path) = key.unwrap().split_once(" /").unwrap();
        assert_eq!(functions.len(), 1, "{}", route.name);
        let source = format!(
            "!Sub arn:${{AWS::Partition}}:execute-api:${{AWS::Region}}:${{AWS::AccountId}}:\
             ${{HttpApi}}/*/*/{path}"
        );
        for function in functions {
            assert!(
                may_invoke("apigateway", function, &source),
                "{}",
                route.name
            );
        }
    }
}

/// API Gateway refuses a stage with settings of a route that it doesn't have. A limit on the route of
/// the deliveries would lose events.
#[test]
fn each_limited_route_comes_before_the_stage_and_deliveries_are_not_limited() {
    let [stage] = of_kind("ApiGatewayV2::Stage").try_into().unwrap();
    let (_, limits) = stage.text.split_once("      RouteSettings:\n").unwrap();
    let limits = limits
        .lines()
        .take_while(|line| line.starts_with("        "));
    let limited: BTreeSet<_> = limits
        .filter_map(|line| line.trim().split_once(": {Throttling"))
        .map(|(route_key, _)| route_key)
        .collect();
    let awaited = stage.between("DependsOn: [", "]");
    let awaited: BTreeSet<_> = awaited.iter().flat_map(|all| all.split(", ")).collect();
    let routes = of_kind("ApiGatewayV2::Route");
    let awaited = routes.iter().filter(|route| awaited.contains(route.name));
    let keys: BTreeSet<_> = awaited
        .flat_map(|route| route.text.lines())
        .filter_map(|line| line.trim().strip_prefix("RouteKey: "))
        .collect();
    assert_eq!(limited, keys);
    assert!(!limited.contains("POST /aura/events"));
    assert!(!stage.text.contains("DefaultRouteSettings"));
}

#[test]
fn secrets_manager_may_invoke_the_function_that_rotates() {
    for schedule in of_kind("SecretsManager::RotationSchedule") {
        let secrets = schedule.between("SecretId: !GetAtt ", ".Id");
        let functions = schedule.between("RotationLambdaARN: !GetAtt ", ".Arn");
        let function = functions.first().unwrap();
        let source = format!("!GetAtt {}.Id", secrets.first().unwrap());
        assert!(may_invoke("secretsmanager", function, &source));
    }
}

/// Lambda polls a queue with the role of the function that it starts.
#[test]
fn the_role_of_each_function_that_a_queue_starts_may_receive_from_the_queue() {
    for source in of_kind("Lambda::EventSourceMapping") {
        let queues = source.between("EventSourceArn: !GetAtt ", ".Arn");
        let functions = source.between("FunctionName: !GetAtt ", ".Arn");
        let function = functions.first().unwrap();
        let role = function.replace("Function", "Role");
        let roles = of_kind("IAM::Role");
        let role = roles.iter().find(|its| its.name == role).unwrap();
        let (_, statement) = role.text.split_once("- Sid: ConsumeDeliveries\n").unwrap();
        let (statement, _) = statement.split_once("- Sid: ").unwrap();
        let actions = "[sqs:ReceiveMessage, sqs:DeleteMessage, sqs:GetQueueAttributes]";
        assert!(statement.contains(&format!("Action: {actions}\n")));
        let queue = queues.first().unwrap();
        assert!(statement.contains(&format!("Resource: !GetAtt {queue}.Arn\n")));
    }
}

#[test]
fn each_alarm_tells_when_it_begins_and_when_it_is_over() {
    let topic = "[!If [AlarmsTold, !Ref AlarmTopicArn, !Ref AWS::NoValue]]";
    for alarm in of_kind("CloudWatch::Alarm") {
        for actions in ["AlarmActions", "OKActions"] {
            let line = format!("{actions}: {topic}");
            assert!(alarm.has(&line), "{} has no {actions}", alarm.name);
        }
    }
}

/// CloudWatch takes 1,024 characters. The runbook's address may have 300.
#[test]
fn each_alarms_description_ends_with_the_address_of_its_section() {
    for alarm in of_kind("CloudWatch::Alarm") {
        let (_, description) = alarm
            .text
            .split_once("AlarmDescription: !Sub >-\n")
            .unwrap_or_else(|| panic!("{} has no description with !Sub", alarm.name));
        let lines = description.lines();
        let lines = lines.take_while(|line| line.starts_with("        "));
        let description = lines.map(str::trim).collect::<Vec<_>>().join(" ");
        let anchor = alarm.name.to_lowercase();
        let address = format!(". Runbook: ${{RunbookBaseUrl}}#{anchor}");
        assert!(description.ends_with(&address), "{}", alarm.name);
        assert!(description.len() < 1_024 - 300, "{}", alarm.name);
    }
}

#[test]
fn each_alarm_has_a_section_in_the_runbook_and_each_section_an_alarm() {
    let (_, sections) = RUNBOOK.split_once("\n## Alarms\n").unwrap();
    let sections = sections.split("\n## ").next().unwrap();
    let headings = sections
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    let headings: Vec<_> = headings.collect();
    let found: BTreeSet<_> = headings.iter().copied().collect();
    assert_eq!(found.len(), headings.len(), "two sections have one name");
    let alarms = of_kind("CloudWatch::Alarm");
    let alarms: BTreeSet<_> = alarms.iter().map(|alarm| alarm.name).collect();
    assert_eq!(found, alarms);
}

/// What EventBridge couldn't deliver is gone after a day at the latest.
#[test]
fn an_alarm_watches_each_rule_that_sends_to_a_consumer() {
    let mut rules = of_kind("Events::Rule");
    rules.retain(|rule| rule.text.contains("EventBusName: "));
    let (forwards, queues) = rules
        .into_iter()
        .partition::<Vec<_>, _>(|rule| rule.name.starts_with("Forward"));
    is_watched_by("RulesFailAlarm", &queues);
    is_watched_by("ForwardFailsAlarm", &forwards);
}

fn is_watched_by(alarm: &str, rules: &[Resource]) {
    let alarms = of_kind("CloudWatch::Alarm");
    let alarm = alarms.iter().find(|its| its.name == alarm).unwrap();
    let (_, expression) = alarm.text.split_once("Expression: ").unwrap();
    let (expression, metrics) = expression.split_once("        - Id: ").unwrap();
    let metrics: Vec<_> = metrics.split("        - Id: ").collect();
    for rule in rules {
        let bus = rule.text.split("EventBusName: !Ref ").nth(1).unwrap();
        let bus = bus.lines().next().unwrap();
        let bus = format!("- {{Name: EventBusName, Value: !Ref {bus}}}\n");
        let name = format!("!Select [2, !Split [/, !GetAtt {}.Arn]]", rule.name);
        for metric in ["FailedInvocations", "InvocationsFailedToBeSentToDlq"] {
            let its = metrics.iter().find(|its| {
                its.contains(&format!("MetricName: {metric}\n"))
                    && its.contains(&bus)
                    && its.contains(&format!("- {{Name: RuleName, Value: {name}}}\n"))
            });
            let its = its.unwrap_or_else(|| panic!("{metric} of {} is not watched", rule.name));
            let id = its.lines().next().unwrap();
            assert!(expression.contains(&format!("FILL({id}, 0)")), "{id}");
        }
    }
    assert_eq!(metrics.len(), 2 * rules.len());
}

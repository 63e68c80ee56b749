//! Help texts that describe the JSON objects of the commands.

pub(super) const ROTATE_JSON: &str = "\
The JSON object:
  versionId    the version of the secret that is current now
  steps        the rotation's steps in order: step, and how many seconds the registrar took
  seconds      from the call to the end of the last step";

pub(super) const DRILL_JSON: &str = "\
The JSON object:
  drills       one object for each drill:
    name, alarm, breaks, mends
               what is drilled, in words
    alarmSeconds
               from the break until the alarm was raised
    commands, commandCount
               the runbook's commands that were run, and their number
    okSeconds  from the mending until the alarm was over
    sent, published, duplicates, quarantined
               as for the demo
    refused    deliveries that were lost at the door, because ingest refused them or another endpoint
               got them
    lost       deliveries that were accepted and are in none of the classes above
    doubled    copies that consumers received beyond the first of each event
    recovered  events that the reconciler found out by asking
    strangers  events that consumers received from neither
    seconds    from the first event to the count
    problem    why the drill failed; null if it held
  periodsDividedBy
               by how much the alarms' periods are shorter than on AWS
  seconds      the whole run";

pub(super) const DEMO_JSON: &str = "\
The JSON object:
  sent         deliveries that AURA made
  accepted     deliveries that ingest answered 202 accepted
  published    deliveries that the consumers' queues received, each counted once
  duplicates   deliveries not published because another delivery of the same event was
  quarantined  deliveries that ingest answered 202 quarantined
  lost         deliveries that are neither published, duplicates nor quarantined
  doubled      copies that consumers received beyond the first of each event
  strangers    events that consumers received but AURA never sent
  quarantineDepth, spillDepth, deadLetterDepth
               messages that wait in the quarantine queue, the spill and all dead letter queues
  seconds      from the story's first call to the last count
  setupSeconds from the command's start to the story's first call
  zipBytes     size of each function's zip";

//! Help texts that describe the JSON objects of the commands.

pub(super) const ROTATE_JSON: &str = "\
The JSON object:
  versionId    the version of the secret that is current now
  steps        the rotation's steps in order: step, and how many seconds the registrar took
  seconds      from the call to the end of the last step";

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

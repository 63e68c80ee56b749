//! What the JSON objects of the commands hold.

pub(super) const TORTURE_JSON: &str = "\
The JSON object:
  seed         what all was drawn from
  planned      distinct events of the campaign
  events       distinct events that AURA sent
  kills        how often the processor died, by where it was hit
  faults       calls to the ledger and the bus that went wrong
  sent, accepted, published, duplicates, quarantined, lost, doubled, strangers
  quarantineDepth, spillDepth, deadLetterDepth
               as in `cargo local demo --json`
  doubles      every copy beyond the first: key, when the copy before it was published and when
               this one, and the reason: killed (with moment and at), answerLost; or, none of
               which may be, marked (with at), notPublished, receivedTwice, unexplained
  unexplained  how many of the doubles have one of the last four reasons
  differences  where the ledger isn't as it must be after what consumers received
  violations   where consumers received something else than AURA sent, or not in its order
  seconds      from the first event to the last count";

pub(super) const SOAK_JSON: &str = "\
The JSON object:
  seed         what the day and the kills were drawn from
  plan         what went wrong meanwhile
  schedule     seconds from one run of the reconciler to the next
  planned      events of the day
  events       events that happened at AURA
  sent         deliveries that AURA made of them, repeats included
  accepted     deliveries that ingest answered 202 accepted
  entries      events, and repeats of deliveries; each is in one of the next five classes
  published    its own delivery is on the bus
  duplicates   delivered, and another delivery of the event is on the bus, or asking was faster
  quarantined  deliveries that ingest answered 202 quarantined
  recovered    never delivered, and found out by asking AURA
  missing      neither
  recovery     of openings and closings: count; p50, p95 and max of the seconds from the event to a
               consumer; the limit that p95 must be below; and the slowest
  runs         of the reconciler: begun, done, died, timedOut, failed
  kills        how often it was killed, in a run or between two
  settled      whether it had nothing more to tell at the end
  quarantineDepth, spillDepth, deadLetterDepth
               as in `cargo local demo --json`
  breaches     what must not be, a sentence each: openings and closings that aren't on the bus once,
               doubles, what was accepted and is missing, what never happened, and callouts whose
               last published state isn't AURA's
  missed       every missing event: which, at, its fate (sent, dropped, dark, unregistered,
               unlisted), and whether it is owed, which none may be
  seconds      from the first event to the last count";

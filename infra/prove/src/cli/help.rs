//! Help texts about the JSON objects that the commands print.

pub(super) const TORTURE_JSON: &str = "\
The JSON object:
  seed         seed of the whole campaign
  planned      distinct events of the campaign
  events       distinct events that AURA sent
  kills        how often the processor was killed, by moment
  faults       calls to the ledger and the bus that failed
  sent, accepted, published, duplicates, quarantined, lost, doubled, strangers
  quarantineDepth, spillDepth, deadLetterDepth
               as in `cargo local demo --json`
  doubles      every copy beyond the first: its key, when the copy before it and when this one was
               published, and the reason. Allowed reasons: killed (with moment and at), answerLost.
               Reasons that fail the campaign: marked (with at), notPublished, receivedTwice,
               unexplained
  unexplained  how many of the doubles have a reason that fails the campaign
  differences  where the ledger doesn't match what consumers received
  violations   where consumers received something else than AURA sent, or in another order
  seconds      from the first event to the last count";

pub(super) const SOAK_JSON: &str = "\
The JSON object:
  seed         seed of the day and the kills
  plan         the faults that AURA had
  schedule     seconds from one run of the reconciler to the next
  planned      events of the day
  events       events that happened at AURA
  sent         deliveries that AURA made of them, repeats included
  accepted     deliveries that ingest answered 202 accepted
  entries      events and repeats of deliveries; each is in one of the next five classes
  published    its own delivery is on the bus
  duplicates   it was delivered, and its delivery isn't on the bus: another delivery of the event
               is, or the reconciler was faster
  quarantined  ingest answered 202 quarantined
  recovered    it was never delivered, and the reconciler found it out by asking AURA
  missing      no other class fits
  recovery     openings and closings that were recovered: count; p50, p95 and max of the seconds
               from the event to a consumer; the limits that p95 must stay below; the slowest ones
  runs         runs of the reconciler: begun, done, died, timedOut, failed
  kills        how often the reconciler was killed, in a run or between two
  settled      whether the reconciler had nothing more to report at the end
  quarantineDepth, spillDepth, deadLetterDepth
               as in `cargo local demo --json`
  breaches     broken promises, each as a sentence: openings and closings that aren't on the bus
               once, doubles, accepted deliveries that are missing, events that never happened, and
               callouts whose last published state isn't AURA's
  missed       every missing event: event, at, its fate (sent, dropped, dark, unregistered,
               unlisted), and owed, which is true if it must not be missing
  seconds      from the first event to the last count";

pub(super) const LATENCY_JSON: &str = "\
All times are in milliseconds. p99 is the slowest of fewer than a hundred deliveries.
The JSON object:
  release      whether the functions were built as for AWS
  perSecond    deliveries begun in a second
  lost         deliveries that did not reach the consumer's queue
  usual        deliveries to functions that had work before:
               deliveries  how many
               hops        the parts of the path, in order: hop, whose (functions or emulator),
                           p50, p99; an invocation includes the start of a function's process
               since       the times since the POST was sent until a moment: moment, p50, p99
               functions   p50 and p99 of all hops of the functions
               emulator    p50 and p99 of all hops of the emulator
  first        the same for deliveries to functions that had to be started";

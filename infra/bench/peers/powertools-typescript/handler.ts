// Does the processor's work in the usual way: with Powertools for AWS Lambda (TypeScript).
//
// The handler does the same as its counterpart in Python, whose head says what that is.

import { createHash } from "node:crypto";

import {
  processPartialResponse,
  SqsFifoPartialProcessorAsync,
} from "@aws-lambda-powertools/batch";
import {
  IdempotencyConfig,
  IdempotencyValidationError,
  makeIdempotent,
} from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import type { Context, SQSEvent, SQSRecord } from "aws-lambda";

type Fields = Record<string, unknown>;
type Identity = { key: string; digest: string };

const BUS_NAME = process.env.EVENT_BUS_NAME;
const QUARANTINE_QUEUE_URL = process.env.QUARANTINE_QUEUE_URL;
const RETENTION_SECONDS = Number(process.env.LEDGER_RETENTION_DAYS) * 24 * 60 * 60;

const DOCUMENTED_KINDS = ["callout", "subscription", "customer"];
const ONCE = ["NEW_CALLOUT", "CALLOUT_CLOSED", "CREATED_CUSTOMER", "SUBSCRIPTION_CREATED"];
const SIGNALS = ["CALLOUT_EVENTS_CHANGED"];

const aws = { maxAttempts: 3, requestHandler: { connectionTimeout: 1000, requestTimeout: 3000 } };
const events = new EventBridgeClient(aws);
const sqs = new SQSClient(aws);

const batch = new SqsFifoPartialProcessorAsync();
const ledger = new DynamoDBPersistenceLayer({
  tableName: process.env.LEDGER_TABLE_NAME ?? "",
  clientConfig: aws,
});
const once = new IdempotencyConfig({
  eventKeyJmesPath: "key",
  payloadValidationJmesPath: "digest",
  throwOnNoIdempotencyKey: true,
  expiresAfterSeconds: RETENTION_SECONDS,
});

export async function handler(event: SQSEvent, context: Context) {
  once.registerLambdaContext(context);
  return processPartialResponse(event, processRecord, batch, { context, skipGroupOnError: true });
}

async function processRecord(record: SQSRecord) {
  let message: ReturnType<typeof read>;
  try {
    message = read(record);
  } catch {
    return putAside(record.body, "unreadable", record.messageId);
  }
  const { identity, detail, time } = message;
  try {
    await publish(identity, detail, time);
  } catch (error) {
    if (!(error instanceof IdempotencyValidationError)) {
      throw error;
    }
    await putAside(JSON.stringify(detail.payload), "conflict", detail.deliveryId);
  }
}

function read(record: SQSRecord) {
  const envelope = JSON.parse(record.body);
  const payload = envelope.payload;
  const [kind, fields] = entity(payload);
  const identity = identify(payload, kind, fields, envelope.deliveryId);
  const detail = {
    key: identity.key,
    message: payload.message as string,
    entity: { kind, id: String(fields.id) },
    deliveryId: envelope.deliveryId as string,
    receivedAt: milliseconds(envelope.receivedAt),
    origin: envelope.origin,
    sequence: record.attributes.SequenceNumber,
    test: isTest(fields),
    payload,
  };
  return { identity, detail, time: new Date(envelope.receivedAt) };
}

const publish = makeIdempotent(
  async (_identity: Identity, detail: Fields & { message: string }, time: Date) => {
    const answer = await events.send(
      new PutEventsCommand({
        Entries: [
          {
            EventBusName: BUS_NAME,
            Source: "aura",
            DetailType: detail.message,
            Time: time,
            Detail: JSON.stringify(detail),
          },
        ],
      }),
    );
    const entry = answer.Entries?.[0];
    if (!entry?.EventId) {
      throw new Error(`entry refused: ${entry?.ErrorCode}`);
    }
    return entry.EventId;
  },
  { persistenceStore: ledger, config: once, dataIndexArgument: 0 },
);

/** Returns the time with three digits after the point. */
function milliseconds(time: string) {
  const [whole, fraction = ""] = time.replace(/Z$/, "").split(".");
  return `${whole}.${fraction.slice(0, 3).padEnd(3, "0")}Z`;
}

function entity(payload: Fields): [string, Fields] {
  const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null;
  if (!isObject(payload)) {
    throw new Error("payload is not an object");
  }
  for (const kind of DOCUMENTED_KINDS) {
    const fields = payload[kind];
    if (isObject(fields)) {
      return [kind, fields];
    }
  }
  for (const [kind, fields] of Object.entries(payload)) {
    if (isObject(fields) && "id" in fields) {
      return [kind, fields];
    }
  }
  throw new Error("entity missing");
}

function identify(payload: Fields, kind: string, fields: Fields, deliveryId: string): Identity {
  const message = payload.message as string;
  const digest = createHash("sha256").update(canonical(payload)).digest("hex");
  let key = `${kind}#${fields.id}/${message}`;
  if (SIGNALS.includes(message)) {
    key += `#${deliveryId}`;
  } else if (!ONCE.includes(message)) {
    key += `#${digest}`;
  }
  return { key, digest };
}

/** Writes JSON with sorted keys. */
function canonical(value: unknown): string {
  const sorted = (_name: string, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner;
  return JSON.stringify(value, sorted);
}

function isTest(fields: Fields) {
  const classification = fields.calloutClassification as Fields | null | undefined;
  return fields.internalTest === true || classification?.value === "TEST";
}

async function putAside(body: string, reason: string, messageId: string) {
  await sqs.send(
    new SendMessageCommand({
      QueueUrl: QUARANTINE_QUEUE_URL,
      MessageBody: body,
      MessageGroupId: reason,
      MessageDeduplicationId: messageId,
      MessageAttributes: { reason: { DataType: "String", StringValue: reason } },
    }),
  );
}

// An example backend: gets AURA's events over HTTPS, and counts them for each entity and event name.
// 1. It saves an event's `key` together with its work, both or neither: an event comes at least once.
// 2. It keeps drills and canaries away, whatever is sent to it.
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { DynamoDBClient, TransactWriteItemsCommand } from "@aws-sdk/client-dynamodb";

const { EVENTS_SECRET, EVENTS_HEADER = "x-events-secret", KEYS_TABLE, COUNTS_TABLE, HOST, PORT = 8080 } = process.env;
for (const name of ["EVENTS_SECRET", "KEYS_TABLE", "COUNTS_TABLE"])
  if (!process.env[name]) throw new Error(`${name} is not set`);
const digest = (text) => createHash("sha256").update(text).digest();
const secrets = EVENTS_SECRET.split(",").filter(Boolean).map(digest); // two while it changes: OLD,NEW
const REMEMBERED = 35 * 24 * 3600; // seconds; the publisher's ledger remembers an event for as long
const requestHandler = { connectionTimeout: 500, requestTimeout: 1500, throwOnRequestTimeout: true };
const dynamodb = new DynamoDBClient({ maxAttempts: 2, requestHandler }); // EventBridge waits five seconds in all

const isAllowed = (request) => {
  const secret = digest(request.headers[EVENTS_HEADER.toLowerCase()] ?? "");
  return secrets.some((one) => timingSafeEqual(secret, one));
};

async function save({ key, message, entity }) {
  const now = Math.floor(Date.now() / 1000);
  const newKey = {
    TableName: KEYS_TABLE,
    Item: { key: { S: key }, expiresAt: { N: `${now + REMEMBERED}` } },
    ConditionExpression: "attribute_not_exists(#key) OR expiresAt < :now", // DynamoDB deletes days later
    ExpressionAttributeNames: { "#key": "key" },
    ExpressionAttributeValues: { ":now": { N: `${now}` } },
  };
  const work = { // yours goes here
    TableName: COUNTS_TABLE,
    Key: { entity: { S: `${entity.kind}#${entity.id}` }, message: { S: message } },
    UpdateExpression: "ADD events :one",
    ExpressionAttributeValues: { ":one": { N: "1" } },
  };
  try {
    await dynamodb.send(new TransactWriteItemsCommand({ TransactItems: [{ Put: newKey }, { Update: work }] }));
  } catch (error) { // if the key was there, another copy's work is done
    if (error.CancellationReasons?.[0]?.Code !== "ConditionalCheckFailed") throw error;
  }
}

const server = createServer(async (request, response) => {
  try {
    if (request.method === "GET") return response.writeHead(200).end(); // a load balancer's health check
    if (!isAllowed(request)) return response.writeHead(403).end();
    const body = await json(request);
    const detail = body.detail ?? body; // ForwardUrl sends the detail, a rule of your own the whole event
    if (!detail.test && detail.origin !== "canary") await save(detail);
    response.writeHead(204).end();
  } catch (error) {
    console.error(error.name); // no more: a message may quote the payload
    response.writeHead(error instanceof SyntaxError ? 400 : 500).end(); // after a 500, EventBridge tries again
  }
});
server.listen({ port: PORT, host: HOST }, () => console.log(`listening on port ${server.address().port}`));
process.on("SIGTERM", () => server.close()); // answers what it has begun

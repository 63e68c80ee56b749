"""Does the processor's work in the usual way: with Powertools for AWS Lambda (Python).

The handler claims each event of a batch in DynamoDB, publishes it on EventBridge and marks it as
published. An event has the same identity, the same published form and the same retention as in the
processor. A group stops at its first failure. The handler quarantines a record that can't be read,
and an event that comes again with another payload.
"""

import hashlib
import json
import os
from datetime import datetime

import boto3
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyValidationError
from botocore.config import Config

BUS_NAME = os.environ["EVENT_BUS_NAME"]
QUARANTINE_QUEUE_URL = os.environ["QUARANTINE_QUEUE_URL"]
RETENTION_SECONDS = int(os.environ["LEDGER_RETENTION_DAYS"]) * 24 * 60 * 60

DOCUMENTED_KINDS = ("callout", "subscription", "customer")
ONCE = {"NEW_CALLOUT", "CALLOUT_CLOSED", "CREATED_CUSTOMER", "SUBSCRIPTION_CREATED"}
SIGNALS = {"CALLOUT_EVENTS_CHANGED"}

AWS = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=3)
events = boto3.client("events", config=AWS)
sqs = boto3.client("sqs", config=AWS)

batch = SqsFifoPartialProcessor(skip_group_on_error=True)
ledger = DynamoDBPersistenceLayer(table_name=os.environ["LEDGER_TABLE_NAME"], boto_config=AWS)
once = IdempotencyConfig(
    event_key_jmespath="key",
    payload_validation_jmespath="digest",
    raise_on_no_idempotency_key=True,
    expires_after_seconds=RETENTION_SECONDS,
)


def lambda_handler(event, context):
    once.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=process, processor=batch, context=context
    )


def process(record):
    try:
        identity, detail, time = read(record)
    except (KeyError, TypeError, ValueError):
        put_aside(record.body, "unreadable", record.message_id)
        return
    try:
        publish(identity=identity, detail=detail, time=time)
    except IdempotencyValidationError:
        put_aside(json.dumps(detail["payload"]), "conflict", detail["deliveryId"])


def read(record):
    envelope = json.loads(record.body)
    payload = envelope["payload"]
    kind, fields = entity(payload)
    identity = identify(payload, kind, fields, envelope["deliveryId"])
    detail = {
        "key": identity["key"],
        "message": payload["message"],
        "entity": {"kind": kind, "id": str(fields["id"])},
        "deliveryId": envelope["deliveryId"],
        "receivedAt": milliseconds(envelope["receivedAt"]),
        "origin": envelope["origin"],
        "sequence": record.attributes.sequence_number,
        "test": is_test(fields),
        "payload": payload,
    }
    return identity, detail, received(envelope)


@idempotent_function(data_keyword_argument="identity", persistence_store=ledger, config=once)
def publish(identity, detail, time):
    answer = events.put_events(
        Entries=[
            {
                "EventBusName": BUS_NAME,
                "Source": "aura",
                "DetailType": detail["message"],
                "Time": time,
                "Detail": json.dumps(detail, separators=(",", ":")),
            }
        ]
    )
    entry = answer["Entries"][0]
    if "EventId" not in entry:
        raise RuntimeError(f"entry refused: {entry.get('ErrorCode')}")
    return entry["EventId"]


def milliseconds(time):
    """Returns the time with three digits after the point."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:3]:0<3}Z"


def received(envelope):
    # The SDK sends whole seconds. Python before 3.11 can read neither "Z" nor every fraction.
    return datetime.fromisoformat(envelope["receivedAt"][:19] + "+00:00")


def entity(payload):
    if not isinstance(payload, dict):
        raise ValueError("payload is not an object")
    for kind in DOCUMENTED_KINDS:
        if isinstance(payload.get(kind), dict):
            return kind, payload[kind]
    for kind, fields in payload.items():
        if isinstance(fields, dict) and "id" in fields:
            return kind, fields
    raise ValueError("entity missing")


def identify(payload, kind, fields, delivery_id):
    message = payload["message"]
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"{kind}#{fields['id']}/{message}"
    if message in SIGNALS:
        key += f"#{delivery_id}"
    elif message not in ONCE:
        key += f"#{digest}"
    return {"key": key, "digest": digest}


def is_test(fields):
    classification = fields.get("calloutClassification")
    classified = isinstance(classification, dict) and classification.get("value") == "TEST"
    return fields.get("internalTest") is True or classified


def put_aside(body, reason, message_id):
    sqs.send_message(
        QueueUrl=QUARANTINE_QUEUE_URL,
        MessageBody=body,
        MessageGroupId=reason,
        MessageDeduplicationId=message_id,
        MessageAttributes={"reason": {"DataType": "String", "StringValue": reason}},
    )

//! A variable that keeps the function from starting is named in the error.

use std::process::{Command, Output};

/// The variables that template.yaml sets, and an endpoint where nothing listens.
const ENVIRONMENT: [(&str, &str); 12] = [
    ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "none"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("METRICS_NAMESPACE", "test"),
    ("INGEST_QUEUE_URL", "http://127.0.0.1:9/ingest.fifo"),
    ("QUARANTINE_QUEUE_URL", "http://127.0.0.1:9/quarantine.fifo"),
    ("LEDGER_TABLE_NAME", "ledger"),
    ("ALLOWED_SOURCE_CIDRS", ""),
    (
        "WEBHOOK_SECRET_ARN",
        "arn:aws:secretsmanager:us-east-1:0:secret:s",
    ),
    ("WEBHOOK_HEADER_NAME", "authorization"),
    ("WEBHOOK_HEADER_SCHEME", "Bearer"),
];

fn start(changed: &str, value: &str) -> std::io::Result<Output> {
    // Read at run time, because the path from build time may belong to another checkout.
    let ingest = std::env::var_os("CARGO_BIN_EXE_ingest");
    Command::new(ingest.ok_or(std::io::ErrorKind::NotFound)?)
        .env_clear()
        .envs(ENVIRONMENT)
        .env(changed, value)
        .output()
}

#[test]
fn a_variable_that_is_missing_or_wrong_stops_it_with_its_name() {
    let cases = [
        ("INGEST_QUEUE_URL", "", "INGEST_QUEUE_URL"),
        ("LEDGER_TABLE_NAME", "", "LEDGER_TABLE_NAME"),
        ("WEBHOOK_HEADER_NAME", "two words", "WEBHOOK_HEADER_NAME"),
        (
            "ALLOWED_SOURCE_CIDRS",
            "10.0.0.0/8,10.0.0.0/33",
            "\"10.0.0.0/33\"",
        ),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
    ];
    for (variable, value, named) in cases {
        let output = start(variable, value).unwrap();
        assert!(!output.status.success(), "{variable}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(variable) && told.contains(named), "{told}");
    }
}

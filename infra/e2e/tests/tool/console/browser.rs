//! A real browser: Debian's Chromium without a window. chromedriver drives it by the protocol
//! `WebDriver`.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use stack::consumers::PATIENCE;
use stack::process::ProcessGroup;
use stack::workspace::Workspace;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// Pause between two looks at a page.
const POLL: Duration = Duration::from_millis(100);
/// How often chromedriver is started again if it ends at once.
const TIMES_AGAIN: usize = 4;
/// The key of an element's id in the answers of `WebDriver`.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. It ends when this is dropped.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    _driver: ProcessGroup,
    _output: Lines<BufReader<ChildStdout>>,
    profile: TempDir,
}

/// A chromedriver that listens.
struct Driver {
    process: ProcessGroup,
    output: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Driver {
    /// Starts it on a free port. It ends at once if the port that it chose for IPv4 is in use for IPv6.
    async fn start() -> Result<Self> {
        let mut command = Command::new("chromedriver");
        command.args(["--port=0"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = ProcessGroup::spawn(&mut command).context(
            "cannot start chromedriver: install Debian's packages chromium and chromium-driver",
        )?;
        let output = process.take_stdout();
        let mut output = BufReader::new(output.context("chromedriver has no output")?).lines();
        let port = port(&mut output).await?;
        Ok(Self {
            process,
            output,
            port,
        })
    }
}

impl Browser {
    /// Starts the browser in the time zone of South Africa.
    pub async fn start() -> Result<Self> {
        let mut started = Driver::start().await;
        for _ in 0..TIMES_AGAIN {
            if started.is_err() {
                started = Driver::start().await;
            }
        }
        let Driver {
            process,
            output,
            port,
        } = started?;
        let profile = tempfile::tempdir()?;
        let mut browser = Self {
            http: shared::http_client::builder().timeout(PATIENCE).build()?,
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: process,
            _output: output,
            profile,
        };
        browser.open_window().await?;
        Ok(browser)
    }

    async fn open_window(&mut self) -> Result<()> {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--hide-scrollbars",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            // Milliseconds to look for an element. A click may return before the next page is there.
            "timeouts": {"implicit": 60_000},
        }}});
        let session = self.call(Method::POST, "", wanted).await?;
        let id = session.get("sessionId").and_then(Value::as_str);
        let id = id.context("there is no session")?;
        self.session = format!("{}/{id}", self.session);
        let zone = json!({"timezoneId": "Africa/Johannesburg"});
        self.devtools("Emulation.setTimezoneOverride", zone).await?;
        self.look_like(1280, 900, "light").await
    }

    /// Makes the window this large, in light or dark.
    pub async fn look_like(&self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await?;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let media = json!({"features": features});
        self.devtools("Emulation.setEmulatedMedia", media).await
    }

    /// Opens an address.
    pub async fn open(&self, address: &str) -> Result<()> {
        let address = json!({"url": address});
        self.call(Method::POST, "/url", address).await?;
        Ok(())
    }

    /// Types into a field.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector).await?;
        let path = format!("/element/{element}/value");
        self.call(Method::POST, &path, json!({"text": text}))
            .await?;
        Ok(())
    }

    /// Clicks on an element.
    pub async fn click(&self, selector: &str) -> Result<()> {
        loop {
            let element = self.element(selector).await?;
            let path = format!("/element/{element}/click");
            match self.call(Method::POST, &path, json!({})).await {
                // The next page, or a fresh part of this one, has replaced the element meanwhile.
                Err(error) if error.to_string().contains("stale element") => {}
                clicked => return clicked.map(drop),
            }
        }
    }

    /// The text of an element as it is shown; empty if there is no such element.
    pub async fn text(&self, selector: &str) -> Result<String> {
        // One call, because the page may replace the element between two.
        let text = format!("document.querySelector({selector:?})?.innerText ?? ''");
        let text = self.evaluate(&text).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page's main part, or an answer without HTML, has this text. Doesn't open the page
    /// again. Returns the whole text.
    pub async fn until(&self, text: &str) -> Result<String> {
        let began = Instant::now();
        loop {
            let shown = self.text("main, body > pre").await?;
            if shown.contains(text) {
                return Ok(shown);
            }
            if began.elapsed() > PATIENCE {
                let state = self.evaluate("document.readyState").await?;
                bail!("the page ({state}) never showed {text:?}, but {shown}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Evaluates an expression in the page.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        let script = json!({"script": format!("return {expression}"), "args": []});
        self.call(Method::POST, "/execute/sync", script).await
    }

    /// Keeps what the window shows, as target/ci/screenshots/NAME.png.
    pub async fn screenshot(&self, name: &str) -> Result<()> {
        let image = self.call(Method::GET, "/screenshot", Value::Null).await?;
        let image = BASE64_STANDARD.decode(image.as_str().context("there is no image")?)?;
        let folder = Workspace::here()?.root().join("target/ci/screenshots");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.png")), image)?;
        Ok(())
    }

    async fn element(&self, selector: &str) -> Result<String> {
        let query = json!({"using": "css selector", "value": selector});
        let found = self.call(Method::POST, "/element", query).await?;
        let id = found.get(ELEMENT).and_then(Value::as_str);
        Ok(id.context("an element has no id")?.to_owned())
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Result<()> {
        let call = json!({"cmd": command, "params": parameters});
        self.call(Method::POST, "/goog/cdp/execute", call).await?;
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}{path}", self.session);
        let mut request = self.http.request(method, &url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer: Answer = request.send().await?.json().await?;
        let value = answer.value;
        if let Some(error) = value.get("error") {
            let message = value.get("message").unwrap_or(&Value::Null);
            bail!("{path} with {body}: {error}: {message}");
        }
        Ok(value)
    }
}

/// What chromedriver answers.
#[derive(Deserialize)]
struct Answer {
    value: Value,
}

/// The port that chromedriver chose.
async fn port(output: &mut Lines<BufReader<ChildStdout>>) -> Result<u16> {
    while let Some(line) = output.next_line().await? {
        if let Some((_, port)) = line.rsplit_once("started successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver ended at once")
}

//! The page: the same views in a browser, on this machine alone.
//!
//! The server draws each page as HTML. The program contains everything that a page needs, and a
//! page works without its script, which only keeps times in the browser's zone and refreshes what
//! is live.
//!
//! | module | does |
//! | --- | --- |
//! | `guard` | refuses what doesn't come from this page, and sets the headers that keep others out |
//! | `layout` | the frame of each page, times, and tables |
//! | `overview`, `entity`, `queues`, `registration`, `losses`, `audit` | draw the pages |
//! | `actions` | asks for a confirmation, and makes the change |
//!
//! What protects the page, because any web page and any program on this machine can call a port of
//! it:
//!
//! - It listens on 127.0.0.1 alone, and there is no option to change that.
//! - Each address begins with a random token. Without the token there is nothing to see.
//! - `Host` must be this server's, so that no other name can be made to lead here.
//! - A change needs the option `--allow-actions`, this page's `Origin`, and a second token in its form.
//! - A strict `Content-Security-Policy` allows only this server's script and style, and no frame.

mod actions;
mod audit;
mod entity;
mod guard;
mod layout;
mod losses;
mod overview;
mod queues;
mod registration;
#[cfg(test)]
mod samples;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::Markup;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::stack::Stack;

use self::layout::{Frame, Tab};
use self::losses::LastHour;

/// Serves the page on 127.0.0.1 until Ctrl-C, and prints its address.
///
/// # Errors
///
/// The port is in use.
pub async fn serve(stack: &Stack, port: u16, allow_actions: bool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on port {port}: name another one, or none, with --port")
    })?;
    let port = listener.local_addr().context("the port is unknown")?.port();
    let site = Arc::new(Site::new(stack.clone(), port, allow_actions));
    let mut out = std::io::stdout();
    writeln!(out, "http://127.0.0.1:{port}{}/", site.frame.base)
        .and_then(|()| out.flush())
        .context("cannot print the page's address")?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let ended = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    // A change that is under way ends before the server does.
    let served = axum::serve(listener, routes(site)).with_graceful_shutdown(ended);
    served.await.context("the page's server failed")
}

/// What all pages share.
#[derive(Debug)]
struct Site {
    stack: Stack,
    frame: Frame,
    /// The first part of each address.
    token: String,
    /// The field that each form with a change carries.
    form_token: String,
    /// The port that the server listens on.
    port: u16,
    /// What happened lately, for the overview.
    last_hour: LastHour,
}

impl Site {
    fn new(stack: Stack, port: u16, allow_actions: bool) -> Self {
        let token = Uuid::new_v4().simple().to_string();
        Self {
            frame: Frame {
                base: format!("/{token}"),
                stack: stack.name().to_owned(),
                region: stack.region().to_owned(),
                allow_actions,
            },
            stack,
            token,
            form_token: Uuid::new_v4().simple().to_string(),
            port,
            last_hour: LastHour::default(),
        }
    }

    /// A page with what was drawn, or the page that says why nothing could be drawn.
    fn show(&self, tab: Tab, title: &str, drawn: Result<Markup>) -> Response {
        match drawn {
            Ok(content) => self.frame.page(tab, title, &content).into_response(),
            Err(error) => {
                let content = layout::failure(&error);
                let page = self.frame.page(tab, title, &content);
                (StatusCode::BAD_GATEWAY, page).into_response()
            }
        }
    }
}

/// All pages. The guard looks at the token, so that the pages needn't.
fn routes(site: Arc<Site>) -> Router {
    let mut routes = Router::new()
        .route("/{token}/", get(overview::page))
        .route("/{token}/search", get(entity::search))
        .route("/{token}/timeline", get(entity::timeline))
        .route("/{token}/delivery", get(entity::delivery))
        .route("/{token}/quarantine", get(queues::quarantine))
        .route("/{token}/quarantine/one", get(queues::quarantined))
        .route("/{token}/dead-letters", get(queues::dead_letters))
        .route("/{token}/dead-letters/one", get(queues::dead_letter))
        .route("/{token}/spill", get(queues::spill))
        .route("/{token}/registration", get(registration::page))
        .route("/{token}/losses", get(losses::page))
        .route("/{token}/audit", get(audit::page))
        .route("/{token}/page.css", get(style))
        .route("/{token}/page.js", get(script))
        .route("/{token}/icon.svg", get(icon));
    if site.frame.allow_actions {
        routes = routes
            .route("/{token}/confirm", get(actions::confirm))
            .route("/{token}/act", post(actions::act));
    }
    routes
        .layer(from_fn_with_state(Arc::clone(&site), guard::guard))
        .with_state(site)
}

async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, layout::STYLE)
}

async fn script() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("console/page.js"))
}

async fn icon() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "image/svg+xml")];
    (kind, include_str!("console/icon.svg"))
}

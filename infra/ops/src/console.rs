//! The page: the same views in a browser, on this machine alone.

use anyhow::Result;

use crate::stack::Stack;

/// Serves the page on 127.0.0.1 until Ctrl-C, and prints its address.
///
/// # Errors
///
/// The port is in use.
pub async fn serve(_stack: &Stack, _port: u16, _allow_actions: bool) -> Result<()> {
    todo!()
}

//! Reads the end of child processes' logs, for error messages.

use std::fs;
use std::path::Path;

/// The last lines of a log, indented. If there are no lines, a remark says so.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes), count),
        Err(error) => format!("    (cannot read {}: {error})", path.display()),
    }
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let kept = lines.iter().skip(lines.len().saturating_sub(count));
    let kept: Vec<String> = kept.map(|line| format!("    {line}")).collect();
    if kept.is_empty() {
        "    (nothing)".to_owned()
    } else {
        kept.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_without_blank_lines() {
        assert_eq!(tail("a\n\nb\n \nc\n", 2), "    b\n    c");
        assert_eq!(tail("a\n", 2), "    a");
        assert_eq!(tail("\n", 2), "    (nothing)");
    }
}

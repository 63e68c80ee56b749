//! Where a command's story goes: to standard output, unless that is for the JSON.

/// Prints lines for people.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Standard output is for one JSON object.
    pub json: bool,
}

impl Out {
    /// Prints a line.
    pub fn line(self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

//! A table, as Markdown for the documentation and in columns for people.

use std::fmt::{self, Display, Formatter};

/// A table with a head.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    #[must_use]
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(head);
        table
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [impl ToString; N]) {
        let cells = cells.into_iter().map(|cell| cell.to_string());
        self.rows.push(cells.collect());
    }

    /// Adds a last row, in bold in Markdown.
    pub fn sum<const N: usize>(&mut self, cells: [impl ToString; N]) {
        let bold = |cell: &str| match cell {
            "" => String::new(),
            cell => format!("**{cell}**"),
        };
        self.row(cells.map(|cell| bold(&cell.to_string())));
    }

    /// The first line of the Markdown. No two tables of a page have the same.
    #[must_use]
    pub fn head(&self) -> String {
        self.rows.first().map(|row| line(row)).unwrap_or_default()
    }

    /// The table as Markdown, each line with its end.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut lines: Vec<String> = self.rows.iter().map(|row| line(row)).collect();
        let columns = self.rows.first().map_or(0, Vec::len);
        lines.insert(1.min(lines.len()), line(&vec!["---".to_owned(); columns]));
        lines.join("\n") + "\n"
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
        .replace("|  |", "| |")
        .replace("|  |", "| |")
}

fn plain(cell: &str) -> String {
    cell.replace("**", "").replace('`', "")
}

impl Display for Table {
    /// The first column stands to the left, the others to the right.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| plain(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                if column == 0 {
                    write!(f, "{cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_and_columns() {
        let mut table = Table::new(["", "a million", ""]);
        table.row(["`ingest`", "1", "$0.20"]);
        table.sum(["sum", "", "$10.20"]);
        let markdown = "| | a million | |\n| --- | --- | --- |\n| `ingest` | 1 | $0.20 |\n\
                        | **sum** | | **$10.20** |\n";
        assert_eq!(table.markdown(), markdown);
        assert!(markdown.starts_with(&table.head()));
        let columns =
            "        a million        \ningest          1   $0.20\nsum                $10.20\n";
        assert_eq!(table.to_string(), columns);
    }
}

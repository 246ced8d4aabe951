//! The table: rows with what is behind them, printed for people and written as JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::fallible::Fallible;

/// One figure, or why there is none.
pub(crate) struct Row {
    pub(crate) name: String,
    /// None: skipped, for the reason in `note`.
    pub(crate) figure: Option<f64>,
    pub(crate) unit: &'static str,
    /// What was run, and with which settings.
    pub(crate) command: String,
    pub(crate) note: String,
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &str, figure: f64, unit: &'static str, command: &str) {
        self.add_noted(name, figure, unit, command, String::new());
    }

    pub(crate) fn add_noted(
        &mut self,
        name: &str,
        figure: f64,
        unit: &'static str,
        command: &str,
        note: String,
    ) {
        progress(&format!("{name}: {} {unit} {note}", digits(figure)));
        let (name, command) = (name.to_owned(), command.to_owned());
        self.rows.push(Row { name, figure: Some(figure), unit, command, note });
    }

    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        progress(&format!("{name}: skipped: {reason}"));
        self.rows.push(Row {
            name: name.to_owned(),
            figure: None,
            unit: "",
            command: String::new(),
            note: format!("skipped: {reason}"),
        });
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).and_then(|row| row.figure)
    }

    /// The best figure of the rows whose names begin so.
    pub(crate) fn best(&self, prefix: &str) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| row.name.starts_with(prefix));
        rows.filter_map(|row| row.figure).reduce(f64::max)
    }

    /// `over` divided by `under`, with what is aimed at; nothing if either is missing.
    pub(crate) fn ratio(&mut self, name: &str, over: Option<f64>, under: Option<f64>, aim: &str) {
        if let (Some(over), Some(under)) = (over, under)
            && under > 0.0
        {
            let command = format!("{} / {}", digits(over), digits(under));
            self.add_noted(name, over / under, "×", &command, format!("aim: {aim}"));
        }
    }

    pub(crate) fn print(&self, machine: &[(String, String)]) {
        println!();
        for (what, value) in machine {
            println!("{what:<28}{value}");
        }
        println!();
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &self.rows {
            let figure = row.figure.map_or_else(|| "–".to_owned(), digits);
            let what = [row.note.as_str(), row.command.as_str()]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(" | ");
            println!("{:<width$}  {figure:>10} {:<10}  {what}", row.name, row.unit);
        }
    }

    pub(crate) fn write(&self, path: &Path, machine: &[(String, String)]) -> Fallible<()> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name, "figure": row.figure, "unit": row.unit,
                    "command": row.command, "note": row.note,
                })
            })
            .collect();
        let machine: serde_json::Map<String, Value> =
            machine.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        let table = json!({ "machine": machine, "rows": rows });
        std::fs::write(path, format!("{table:#}\n"))?;
        progress(&format!("written to {}", path.display()));
        Ok(())
    }
}

/// A line for who waits.
pub(crate) fn progress(line: &str) {
    eprintln!("{} {line}", chrono::Local::now().format("%H:%M:%S"));
}

/// Large figures whole and grouped, small ones with decimals.
fn digits(figure: f64) -> String {
    if figure.abs() < 100.0 {
        return format!("{figure:.2}");
    }
    let whole = format!("{figure:.0}");
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    #[test]
    fn figures_are_grouped_and_small_ones_have_decimals() {
        let shown = [0.5, 99.999, 1_234.4, 1_000_000.0].map(super::digits);
        assert_eq!(shown, ["0.50", "100.00", "1,234", "1,000,000"]);
    }
}

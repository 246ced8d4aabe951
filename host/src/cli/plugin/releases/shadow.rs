//! What is told of a shadow.

use serde_json::Value;

use crate::cli::output::{cell, table};

/// How many copies were the same, in what the others differed, and some of them.
pub(super) fn for_people(report: &Value) -> String {
    let count = |key: &str| cell(&report[key]);
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let kinds = |key: &str| {
        let told = |it: &Value| format!("{} {}", cell(&it["kind"]), cell(&it["count"]));
        let told: Vec<_> = list(key).iter().map(told).collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
    };
    let head = format!(
        "shadow #{}: {} copies: {} same, {} different{}; {} skipped{}",
        count("number"),
        count("copies"),
        count("same"),
        count("different"),
        kinds("differences"),
        count("skipped"),
        kinds("skips"),
    );
    let mut rows = Vec::new();
    for example in list("examples") {
        for difference in example["differences"].as_array().into_iter().flatten() {
            rows.push(vec![cell(&example["event_id"]), cell(difference)]);
        }
    }
    if rows.is_empty() {
        return head;
    }
    format!("{head}\n{}", table(&["EVENT", "DIFFERENCE"], rows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_tells_the_counts_and_each_difference_of_its_examples() {
        let mut report = json!({
            "number": 7, "copies": 12, "same": 10, "different": 2, "skipped": 3,
            "skips": [{"kind": "busy", "count": 3}],
            "differences": [{"kind": "verdict", "count": 1}, {"kind": "request changed", "count": 2}],
            "examples": [{"event_id": "e", "differences": ["done → retry: why", "the body differs"]}],
        });
        let text = for_people(&report);
        let head = "shadow #7: 12 copies: 10 same, 2 different (verdict 1, request changed 2); \
                    3 skipped (busy 3)\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("done → retry: why") && text.contains("the body differs"), "{text}");
        for key in ["examples", "differences", "skips"] {
            report[key] = json!([]);
        }
        assert_eq!(for_people(&report), "shadow #7: 12 copies: 10 same, 2 different; 3 skipped");
    }
}

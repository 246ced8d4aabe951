//! What was counted of a shadow.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Outcome, Statements};
use crate::domain::{
    DifferenceKind, ReleaseName, ShadowDifference, ShadowExample, ShadowTally, SkipReason,
};
use crate::store::StoreError;
use crate::store::row::{ColumnError, Columns, named, one_of};

pub(super) const DOING: &str = "count a shadow's copies";

pub(super) async fn keep<C: Statements>(
    c: &mut C,
    host: String,
    shadow: ReleaseName,
    tally: ShadowTally,
) -> Result<Outcome<()>, StoreError> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    c.execute(
        DOING,
        "INSERT INTO shadow_tallies (host, plugin, number, same, different, skipped, differences, \
         examples, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {now}) \
         ON CONFLICT (host, plugin, number) DO UPDATE SET same = excluded.same, \
         different = excluded.different, skipped = excluded.skipped, \
         differences = excluded.differences, examples = excluded.examples, \
         updated_at = excluded.updated_at",
        vec![
            host.into(),
            shadow.plugin.into(),
            shadow.number.into(),
            count(tally.same).into(),
            count(tally.different).into(),
            counts_text(&tally.skipped, SkipReason::as_str).into(),
            counts_text(&tally.differences, DifferenceKind::as_str).into(),
            examples_text(&tally.examples).into(),
        ],
    )
    .await?;
    Ok(Outcome::Keep(()))
}

pub(super) async fn sums<C: Statements>(
    c: &mut C,
    plugin: String,
) -> Result<BTreeMap<u32, ShadowTally>, StoreError> {
    let sql = "SELECT host, number, same, different, skipped, differences, examples \
               FROM shadow_tallies WHERE plugin = $1 ORDER BY number, host";
    let mut sums = BTreeMap::<u32, ShadowTally>::new();
    for row in &c.rows(DOING, sql, vec![plugin.into()]).await? {
        let (number, tally) = named("shadow_tallies", "host", row, decode)?;
        sums.entry(number).or_default().add(&tally);
    }
    Ok(sums)
}

fn decode<R: Columns>(row: &R) -> Result<(u32, ShadowTally), ColumnError> {
    let skipped =
        counts(&row.text("skipped")?, |text| one_of(&SkipReason::ALL, SkipReason::as_str, text))?;
    let differences = counts(&row.text("differences")?, kind)?;
    let tally = ShadowTally {
        same: row.count("same")?,
        different: row.count("different")?,
        skipped,
        differences,
        examples: examples(&row.text("examples")?)?,
    };
    Ok((row.count("number")?, tally))
}

/// `{"busy": 3}`
fn counts_text<K: Copy>(counts: &BTreeMap<K, u64>, name: fn(K) -> &'static str) -> String {
    let fields = counts.iter().map(|(key, count)| (name(*key).to_owned(), json!(count)));
    Value::Object(fields.collect()).to_string()
}

fn counts<K: Ord>(
    text: &str,
    key: impl Fn(&str) -> Result<K, ColumnError>,
) -> Result<BTreeMap<K, u64>, ColumnError> {
    let counts: BTreeMap<String, u64> = parsed(text)?;
    counts.iter().map(|(name, count)| Ok((key(name)?, *count))).collect()
}

/// `[["01a2…", [["verdict", "live done, shadow retry"]]]]`
fn examples_text(examples: &[ShadowExample]) -> String {
    let examples = examples.iter().map(|example| {
        let differences = example.differences.iter().map(|it| json!([it.kind.as_str(), it.text]));
        json!([example.event.to_string(), differences.collect::<Vec<_>>()])
    });
    Value::Array(examples.collect()).to_string()
}

fn examples(text: &str) -> Result<Vec<ShadowExample>, ColumnError> {
    type Stored = Vec<(String, Vec<(String, String)>)>;
    let example = |(event, differences): (String, Vec<(String, String)>)| {
        let difference =
            |(name, text): (String, String)| Ok(ShadowDifference { kind: kind(&name)?, text });
        Ok(ShadowExample {
            event: event.parse().map_err(|error| format!("{event:?} is no event: {error}"))?,
            differences: differences
                .into_iter()
                .map(difference)
                .collect::<Result<_, ColumnError>>()?,
        })
    };
    parsed::<Stored>(text)?.into_iter().map(example).collect()
}

fn kind(text: &str) -> Result<DifferenceKind, ColumnError> {
    one_of(&DifferenceKind::ALL, DifferenceKind::as_str, text)
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ColumnError> {
    serde_json::from_str(text).map_err(|error| format!("{text:?} cannot be read: {error}"))
}

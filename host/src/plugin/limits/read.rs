//! Reads a manifest's `[limits]`. What is out of range is an error that names the range.

use std::time::Duration;

use serde::Deserialize;

use super::Limits;
use crate::domain::{Rate, RateKey};
use crate::plugin::manifest::{duration, size};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(in crate::plugin) struct RawLimits {
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "size")]
    memory: Option<u64>,
    concurrency: Option<u64>,
    fleet_concurrency: Option<u32>,
    rate: Option<String>,
    burst: Option<u32>,
    rate_key: Option<String>,
    priority: Option<u32>,
    table_elements: Option<u64>,
    instances: Option<u64>,
    host_calls: Option<u32>,
    #[serde(default, deserialize_with = "size")]
    random: Option<u64>,
    log_lines: Option<u32>,
    #[serde(default, deserialize_with = "size")]
    log_bytes: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    payload: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    detail: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    checkpoint: Option<u64>,
    checkpoint_saves: Option<u32>,
    follow_ups: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    follow_ups_bytes: Option<u64>,
    requests: Option<u32>,
    #[serde(default, deserialize_with = "size")]
    request_body: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    response_body: Option<u64>,
}

impl RawLimits {
    /// # Errors
    /// What is out of range, and the range.
    pub(in crate::plugin) fn check(self) -> Result<Limits, String> {
        let default = Limits::default();
        let timeout = self.timeout.unwrap_or(default.timeout);
        if timeout.is_zero() || timeout > Limits::TIMEOUT_MAX {
            return Err("limits.timeout must be between 1ms and 10m".into());
        }
        let rate = check_rate(self.rate.as_deref(), self.burst)?;
        let rate_key = check_rate_key(self.rate_key.as_deref(), rate.is_some())?;
        let fleet_concurrency = match self.fleet_concurrency {
            Some(max) => Some(within("fleet_concurrency", max, 1, Limits::FLEET_CONCURRENCY_MAX)?),
            None => None,
        };
        Ok(Limits {
            timeout,
            memory: count("memory", self.memory, default.memory, 1 << 16, Limits::MEMORY_MAX)?,
            concurrency: count(
                "concurrency",
                self.concurrency,
                default.concurrency,
                1,
                Limits::CONCURRENCY_MAX,
            )?,
            fleet_concurrency,
            rate,
            rate_key,
            priority: number("priority", self.priority, default.priority, 1, Limits::PRIORITY_MAX)?,
            table_elements: count(
                "table_elements",
                self.table_elements,
                default.table_elements,
                0,
                Limits::TABLE_ELEMENTS_MAX,
            )?,
            instances: count(
                "instances",
                self.instances,
                default.instances,
                1,
                Limits::INSTANCES_MAX as usize,
            )?,
            host_calls: number("host_calls", self.host_calls, default.host_calls, 0, 10_000)?,
            random: bytes_64("random", self.random, default.random)?,
            log_lines: number("log_lines", self.log_lines, default.log_lines, 0, 10_000)?,
            log_bytes: bytes("log_bytes", self.log_bytes, default.log_bytes)?,
            payload: bytes("payload", self.payload, default.payload)?,
            detail: bytes("detail", self.detail, default.detail)?,
            checkpoint: bytes("checkpoint", self.checkpoint, default.checkpoint)?,
            checkpoint_saves: number(
                "checkpoint_saves",
                self.checkpoint_saves,
                default.checkpoint_saves,
                0,
                10_000,
            )?,
            follow_ups: count("follow_ups", self.follow_ups, default.follow_ups, 0, 1_000)?,
            follow_ups_bytes: bytes(
                "follow_ups_bytes",
                self.follow_ups_bytes,
                default.follow_ups_bytes,
            )?,
            requests: number("requests", self.requests, default.requests, 0, 10_000)?,
            request_body: bytes_64("request_body", self.request_body, default.request_body)?,
            response_body: bytes_64("response_body", self.response_body, default.response_body)?,
        })
    }
}

fn number(key: &str, given: Option<u32>, default: u32, min: u32, max: u32) -> Result<u32, String> {
    within(key, given.unwrap_or(default), min, max)
}

fn count(
    key: &str,
    given: Option<u64>,
    default: usize,
    min: usize,
    max: usize,
) -> Result<usize, String> {
    let given = within(key, given.unwrap_or(default as u64), min as u64, max as u64)?;
    usize::try_from(given).map_err(|_| format!("limits.{key} is too large"))
}

fn bytes(key: &str, given: Option<u64>, default: usize) -> Result<usize, String> {
    count(key, given, default, 0, Limits::BYTES_MAX)
}

fn bytes_64(key: &str, given: Option<u64>, default: u64) -> Result<u64, String> {
    within(key, given.unwrap_or(default), 0, Limits::BYTES_MAX as u64)
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, String> {
    if min <= value && value <= max {
        Ok(value)
    } else {
        Err(format!("limits.{key} = {value} is out of range: use {min} to {max}"))
    }
}

/// Reads the manifest's `rate` and `burst`.
fn check_rate(rate: Option<&str>, burst: Option<u32>) -> Result<Option<Rate>, String> {
    let rate = match (rate, burst) {
        (Some(text), _) => text.parse::<Rate>().map_err(|error| format!("limits.rate: {error}"))?,
        (None, Some(_)) => return Err("limits.burst is of a rate: add limits.rate".into()),
        (None, None) => return Ok(None),
    };
    let Some(burst) = burst else { return Ok(Some(rate)) };
    let with_burst = rate.with_burst(burst).ok_or_else(|| {
        format!("limits.burst = {burst} is out of range: use 1 up to what {rate} brings in a day")
    })?;
    Ok(Some(with_burst))
}

/// Reads the manifest's `rate_key`.
fn check_rate_key(path: Option<&str>, has_rate: bool) -> Result<Option<RateKey>, String> {
    let Some(path) = path else { return Ok(None) };
    if !has_rate {
        return Err("limits.rate_key is of a rate: add limits.rate".into());
    }
    path.parse().map(Some).map_err(|error| format!("limits.rate_key: {error}"))
}

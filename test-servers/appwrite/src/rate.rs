//! Rate limits: fixed windows aligned to the clock, counted per method, route and caller.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::exchange::Response;
use crate::time::Timestamp;

/// How often a route may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateRule {
    /// The method and route; all tables and rows share one.
    pub(crate) route: String,
    pub(crate) limit: u32,
    pub(crate) period_seconds: i64,
}

impl RateRule {
    /// The rule of a request, if it has one: reads and transactions have none.
    pub(crate) fn of(method: &str, segments: &[&str]) -> Option<Self> {
        let rule = |route: &str, limit, period_seconds| {
            Some(Self {
                route: format!("{method} {route}"),
                limit,
                period_seconds,
            })
        };
        let writes = if method == "DELETE" { 60 } else { 120 };
        match segments {
            _ if method == "GET" => None,
            ["tablesdb", _, "tables", _, "rows"] => rule("rows", writes, 60),
            ["tablesdb", _, "tables", _, "rows", _] => rule("row", writes, 60),
            ["tablesdb", _, "tables", _, "rows", _, _, step] => rule(step, 120, 60),
            ["account", "sessions", "email"] => rule("login", 10, 3600),
            ["account", "jwts"] => rule("token", 120, 60),
            _ => None,
        }
    }

    /// The end of the window that holds this instant, in seconds since 1970.
    fn reset(&self, now: Timestamp) -> i64 {
        (now.seconds().div_euclid(self.period_seconds) + 1) * self.period_seconds
    }
}

/// What is left in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateState {
    limit: u32,
    remaining: u32,
    reset: i64,
    pub(crate) exceeded: bool,
}

impl RateState {
    pub(crate) fn write_headers(self, response: &mut Response) {
        response
            .headers
            .insert("x-ratelimit-limit".into(), self.limit.to_string());
        response
            .headers
            .insert("x-ratelimit-remaining".into(), self.remaining.to_string());
        response
            .headers
            .insert("x-ratelimit-reset".into(), self.reset.to_string());
    }
}

/// The counters of all windows.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    /// Whether anybody is refused at all. The headers are sent in any case.
    pub(crate) enforced: bool,
    used: BTreeMap<(String, String, i64), u32>,
}

impl RateLimiter {
    /// Counts a call.
    pub(crate) fn count(&mut self, rule: &RateRule, caller: &str, exempt: bool, now: Timestamp) -> RateState {
        let reset = rule.reset(now);
        if exempt || !self.enforced {
            return RateState {
                limit: rule.limit,
                remaining: rule.limit - 1,
                reset,
                exceeded: false,
            };
        }
        self.used.retain(|(_, _, ends), _| *ends > now.seconds());
        let used = self
            .used
            .entry((rule.route.clone(), caller.to_owned(), reset))
            .or_default();
        let exceeded = *used >= rule.limit;
        if !exceeded {
            *used += 1;
        }
        RateState {
            limit: rule.limit,
            remaining: rule.limit - *used,
            reset,
            exceeded,
        }
    }
}

/// The error of a used-up window.
pub(crate) fn limit_exceeded() -> ApiError {
    ApiError::new(
        429,
        "general_rate_limit_exceeded",
        "Rate limit for the current endpoint has been exceeded. Please try again after some time.",
    )
}

//! How many files and connections the system lets the daemon have open.
//!
//! The soft limit of most systems is 1,024, for the sake of programs that use `select`; the hard one is far higher and may
//! be taken by whoever asks. A daemon that runs into its limit can open no file of its index either, so connections are
//! bounded by what the limit leaves.

use crate::config::{Config, Http};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;

/// What the archive, the index, plugins and downloads need.
const OWN_FILES: u64 = 256;
/// The fewest connections a listener is given.
const LEAST_CONNECTIONS: usize = 16;

/// Raises the soft limit to the hard one. Returns the limit; `None` when there is none.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit.current
        }
    }
}

/// The bounds of listeners, with no more connections than such a limit leaves to each.
pub fn bounds_within(limit: Option<u64>, config: &Config) -> Http {
    let mut bounds = config.http.clone();
    let Some(limit) = limit else { return bounds };
    let instances = config.instances.iter().filter(|instance| instance.enabled);
    // One whose plugin recommends an address has one of its own.
    let (shared, own): (Vec<_>, Vec<_>) = instances.map(|instance| instance.listen).partition(Option::is_some);
    let listeners = shared.into_iter().collect::<BTreeSet<_>>().len() + own.len() + usize::from(config.admin.enabled);
    let left = usize::try_from(limit.saturating_sub(OWN_FILES)).unwrap_or(usize::MAX);
    let share = (left / listeners.max(1)).max(LEAST_CONNECTIONS);
    if bounds.max_connections > share {
        tracing::warn!(
            limit,
            listeners,
            max_connections = bounds.max_connections,
            in_use = share,
            "the limit of open files (ulimit -Hn, LimitNOFILE=) does not hold http.max_connections; fewer are accepted"
        );
        bounds.max_connections = share;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Instance;

    #[test]
    fn connections_fit_the_limit() {
        let check = |limit, listens: &[Option<&str>], expected| {
            let instance = |listen: &Option<&str>| Instance {
                listen: listen.map(|listen| listen.parse().unwrap()),
                ..Instance::default()
            };
            let config = Config { instances: listens.iter().map(instance).collect(), ..Config::default() };
            assert_eq!(bounds_within(limit, &config).max_connections, expected, "{limit:?} {listens:?}");
        };
        let (a, b) = (Some("127.0.0.1:1"), Some("127.0.0.1:2"));
        check(None, &[a], 4096);
        check(Some(65_536), &[a, b], 4096);
        check(Some(1_024), &[], 768);
        check(Some(1_024), &[a, a], 384);
        check(Some(1_024), &[a, b, None], 192);
        check(Some(64), &[a], 16);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

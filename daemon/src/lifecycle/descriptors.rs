//! How many files and connections the system lets the daemon have open.
//!
//! The soft limit of most systems is 1,024, for the sake of programs that use `select`; the hard one is far higher and may
//! be taken by whoever asks. A daemon that runs into its limit can open no file of its index either, so connections are
//! bounded by what the limit leaves.

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;

/// What the archive, the index, plugins and downloads need.
const OWN_FILES: u64 = 256;
/// The most connections of the daemon's own API, which only programs of the operator use.
const ADMIN_CONNECTIONS: usize = 256;
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

/// The most connections of each listener: no more than such a limit leaves to it.
pub struct Connections {
    /// Of a listener of instances.
    pub instances: usize,
    /// Of the daemon's own API.
    pub admin: usize,
}

/// Divides what such a limit leaves among the listeners. The daemon's own API needs few, and does not take from the others more.
pub fn connections_within(limit: Option<u64>, config: &Config) -> Connections {
    let most = config.http.max_connections;
    let admin = most.min(ADMIN_CONNECTIONS);
    let Some(limit) = limit else { return Connections { instances: most, admin } };
    let instances = config.instances.iter().filter(|instance| instance.enabled);
    // One whose plugin recommends an address has one of its own.
    let (shared, own): (Vec<_>, Vec<_>) = instances.map(|instance| instance.listen).partition(Option::is_some);
    let listeners = shared.into_iter().collect::<BTreeSet<_>>().len() + own.len();
    let left = usize::try_from(limit.saturating_sub(OWN_FILES)).unwrap_or(usize::MAX);
    let (admin, left) = match config.admin.enabled {
        true => {
            let admin = admin.min((left / (listeners + 1)).max(LEAST_CONNECTIONS));
            (admin, left.saturating_sub(admin))
        }
        false => (admin, left),
    };
    let share = (left / listeners.max(1)).max(LEAST_CONNECTIONS);
    if most > share {
        tracing::warn!(
            limit,
            listeners,
            max_connections = most,
            in_use = share,
            "the limit of open files (ulimit -Hn, LimitNOFILE=) does not hold http.max_connections; fewer are accepted"
        );
    }
    Connections { instances: most.min(share), admin }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Instance;

    #[test]
    fn connections_fit_the_limit() {
        let check = |limit, most: usize, listens: &[Option<&str>], instances, admin| {
            let instance = |listen: &Option<&str>| Instance {
                listen: listen.map(|listen| listen.parse().unwrap()),
                ..Instance::default()
            };
            let mut config = Config { instances: listens.iter().map(instance).collect(), ..Config::default() };
            config.http.max_connections = most;
            let found = connections_within(limit, &config);
            assert_eq!((found.instances, found.admin), (instances, admin), "{limit:?} {most} {listens:?}");
        };
        let (a, b) = (Some("127.0.0.1:1"), Some("127.0.0.1:2"));
        check(None, 4096, &[a], 4096, 256);
        check(None, 100, &[a], 100, 100);
        check(Some(65_536), 4096, &[a, b], 4096, 256);
        // The daemon's own API leaves the others what it does not need.
        check(Some(20_000), 12_000, &[a], 12_000, 256);
        check(Some(1_024), 4096, &[], 512, 256);
        check(Some(1_024), 4096, &[a, a], 512, 256);
        check(Some(1_024), 4096, &[a, b, None], 192, 192);
        check(Some(64), 4096, &[a], 16, 16);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

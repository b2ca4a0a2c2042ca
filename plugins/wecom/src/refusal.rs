//! What WeCom and its library say when they refuse, as errors of the boundary (reference/wecom-archive.md §1.10, §6).

use crate::vendor::{Fault, Treatment};
use std::time::Duration;
use stele_plugin_api::{Error, ErrorCode, Secret};

/// Wait after "too many calls": WeCom counts by the minute.
const WAIT_FREQUENCY: Duration = Duration::from_secs(60);
/// Wait after "too many calls at once".
const WAIT_CONCURRENCY: Duration = Duration::from_secs(5);
/// Most characters of WeCom's own words that are passed on.
const MAX_WORDS: usize = 300;

/// A non-zero `errcode` and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `errcode`.
    pub code: i64,
    /// `errmsg`.
    pub message: String,
}

impl Refusal {
    /// The message archive is asked for with another secret, or a token that is no longer good: a new one may help, once.
    pub fn is_stale_token(&self) -> bool {
        matches!(self.code, 40001 | 40014 | 42001)
    }

    /// The reply would be too large; ask for less.
    pub fn is_too_large(&self) -> bool {
        self.code == 301_058
    }

    /// As an error for the daemon; `secret` names the one that was used, for people.
    pub fn error(&self, secret: &str, used: &Secret) -> Error {
        let words: String = used.scrub(&self.message).chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        let words = if words.is_empty() { "no reason given".to_owned() } else { words };
        let base = format!("wecom answers {}: {words}", self.code);
        let (code, wait, hint) = match self.code {
            45009 => (ErrorCode::RateLimited, Some(WAIT_FREQUENCY), String::new()),
            45033 => (ErrorCode::RateLimited, Some(WAIT_CONCURRENCY), String::new()),
            40001 => (ErrorCode::Denied, None, format!("is this the {secret}? WeCom has many")),
            40013 => (ErrorCode::Denied, None, "the corp id is wrong".to_owned()),
            41001 => (ErrorCode::Denied, None, format!("corp id or {secret} is missing or mixed up")),
            301_052 => (ErrorCode::Denied, None, "the contract of the message archive has expired".to_owned()),
            301_053 => (ErrorCode::Denied, None, "the message archive is not enabled for this corp".to_owned()),
            301_042 | 60020 => (ErrorCode::Denied, None, self.allowlist_hint()),
            48002 | 60011 | 301_002 | 301_021 => {
                (ErrorCode::Denied, None, format!("the {secret} has no right to this call"))
            }
            301_048 => (ErrorCode::NotFound, None, String::new()),
            _ => (ErrorCode::Unavailable, None, String::new()),
        };
        let error = Error::new(code, if hint.is_empty() { base } else { format!("{base}; {hint}") });
        match wait {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }

    fn allowlist_hint(&self) -> String {
        match self.caller_address() {
            Some(address) => format!("add the address {address} to the IP allowlist in the admin console"),
            None => "add this machine's public address to the IP allowlist in the admin console".to_owned(),
        }
    }

    /// The address WeCom saw the call come from: `… from ip: 203.0.113.7, …`.
    fn caller_address(&self) -> Option<&str> {
        let lower = self.message.to_ascii_lowercase();
        let start = lower.find("from ip")? + "from ip".len();
        let rest = self.message.get(start..)?.trim_start_matches([':', ' ']);
        let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':')).unwrap_or(rest.len());
        let address = rest[..end].trim_end_matches(['.', ':']);
        address.parse::<std::net::IpAddr>().is_ok().then_some(address)
    }
}

/// A fault of the library as an error for the daemon.
pub fn of_fault(fault: &Fault) -> Error {
    let code = match fault {
        Fault::Returned(code) => match code.treatment() {
            Treatment::Retry | Treatment::Recreate => ErrorCode::Unavailable,
            Treatment::Alert => ErrorCode::Denied,
            Treatment::Gone => ErrorCode::NotFound,
            Treatment::Bug | Treatment::Park => ErrorCode::Invalid,
        },
        Fault::Refused(_) => ErrorCode::Invalid,
        Fault::Stuck(_) | Fault::NoMore => ErrorCode::Unavailable,
        // Nothing but a person can bring a library.
        Fault::Unusable(_) => ErrorCode::Denied,
    };
    Error::new(code, fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::Code;

    #[test]
    fn refusals_become_what_the_daemon_should_do() {
        let cases = [
            (45009, "api freq out of limit", ErrorCode::RateLimited, Some(60_000), "45009"),
            (45033, "", ErrorCode::RateLimited, Some(5_000), "no reason given"),
            (40001, "invalid credential s3cr3t", ErrorCode::Denied, None, "archive secret"),
            (40013, "invalid corpid", ErrorCode::Denied, None, "corp id"),
            (41001, "access_token missing", ErrorCode::Denied, None, "mixed up"),
            (301_052, "", ErrorCode::Denied, None, "expired"),
            (301_053, "", ErrorCode::Denied, None, "not enabled"),
            (
                301_042,
                "not allow to access from your ip, hint: [1], from ip: 203.0.113.7, more",
                ErrorCode::Denied,
                None,
                "add the address 203.0.113.7 to",
            ),
            (60020, "from ip: nowhere", ErrorCode::Denied, None, "add this machine's"),
            (301_048, "", ErrorCode::NotFound, None, ""),
            (-1, "system busy", ErrorCode::Unavailable, None, "system busy"),
            (99999, "\u{1}odd\n", ErrorCode::Unavailable, None, "odd"),
        ];
        for (code, message, expected, wait, part) in cases {
            let error = Refusal { code, message: message.into() }.error("archive secret", &Secret::new("s3cr3t"));
            assert_eq!((&error.code, error.retry_after_ms), (&expected, wait), "{code}");
            assert!(error.message.contains(part) && !error.message.contains("s3cr3t"), "{error}");
            assert!(!error.message.contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_documented_code_has_its_treatment() {
        let cases = [
            (10000, ErrorCode::Invalid),
            (10001, ErrorCode::Unavailable),
            (10002, ErrorCode::Unavailable),
            (10003, ErrorCode::Unavailable),
            (10004, ErrorCode::Denied),
            (10005, ErrorCode::NotFound),
            (10006, ErrorCode::Unavailable),
            (10007, ErrorCode::Denied),
            (10008, ErrorCode::Invalid),
            (10009, ErrorCode::Denied),
            (10010, ErrorCode::NotFound),
            (10011, ErrorCode::Denied),
            (424_242, ErrorCode::Unavailable),
        ];
        for (code, expected) in cases {
            let error = of_fault(&Fault::Returned(Code(code)));
            assert_eq!(error.code, expected, "{code}");
            assert!(error.message.contains(&code.to_string()), "{error}");
        }
    }
}

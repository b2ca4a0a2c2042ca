//! Getting the next sealed envelopes from WeCom.

use super::envelope::{self, Envelope, Reply};
use crate::corp::Corp;
use crate::rate::Purpose;
use crate::refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stele_plugin_api::{Error, ErrorCode};

/// How the limit grows back after "too large": by this part of the most there may be, with every page that arrives.
const GROWTH: u32 = 20;
/// Requests for one page: halving 1000 down to 1 takes ten, a stale token one more.
const MAX_TRIES: u32 = 12;

/// Fetches for one corp. Only one at a time: each page depends on the one before.
pub struct Fetcher {
    corp: Arc<Corp>,
    /// What the last replies allowed; shrinks when WeCom finds them too large.
    bearable: AtomicU32,
    most: u32,
}

/// A fetched page.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Envelopes in order of seq, each once, all after the seq that was asked for.
    pub envelopes: Vec<Envelope>,
    /// The reply repeated what came before, and had nothing new.
    pub repeats: bool,
}

impl Fetcher {
    /// Fetches at most so many envelopes at once.
    pub fn new(corp: Arc<Corp>, most: u32) -> Self {
        Self { corp, bearable: AtomicU32::new(most), most }
    }

    /// The envelopes after this seq (exclusive: WeCom wants the last known one itself).
    pub async fn fetch(&self, after: u64, wanted: u32) -> Result<Fetched, Error> {
        let handles = self.corp.chat()?;
        let mut is_renewed = false;
        for _ in 0..MAX_TRIES {
            let limit = wanted.min(self.bearable.load(Ordering::Relaxed)).max(1);
            self.corp.calls.next(Purpose::Messages).await;
            let result = handles.call(move |handle, egress| handle.chat_data(after, limit, egress)).await;
            if self.corp.suspects_token(&result) {
                handles.renew();
            }
            let refused = match envelope::read(&result.map_err(|fault| refusal::of_fault(&fault))?)? {
                Reply::Envelopes(envelopes) => {
                    self.grow();
                    let repeats = !envelopes.is_empty();
                    let envelopes = envelope::in_order(envelopes, after);
                    return Ok(Fetched { repeats: repeats && envelopes.is_empty(), envelopes });
                }
                Reply::Refused(refused) => refused,
            };
            if refused.is_stale_token() && !is_renewed {
                is_renewed = true;
                handles.renew();
            } else if refused.is_too_large() && limit > 1 {
                self.bearable.store(limit / 2, Ordering::Relaxed);
            } else {
                return Err(refused.error("archive_secret", &self.corp.config.archive_secret));
            }
        }
        Err(Error::new(ErrorCode::Unavailable, "wecom refused the page in every size"))
    }

    fn grow(&self) {
        let grown = self.bearable.load(Ordering::Relaxed).saturating_add((self.most / GROWTH).max(1));
        self.bearable.store(grown.min(self.most), Ordering::Relaxed);
    }
}

//! `health`: what keeps an instance from working, for the person who can change it.

use crate::corp::Corp;
use crate::lost::Lost;
use crate::vendor::Fault;
use stele_plugin_api::ops::HealthReport;

/// Looks at everything that can be wrong without a call to WeCom; no secrets in it.
pub fn report<'c>(library: Option<&Fault>, lost: &Lost, corps: impl Iterator<Item = &'c Corp> + Clone) -> HealthReport {
    let mut findings: Vec<String> = library.map(ToString::to_string).into_iter().collect();
    findings.extend(lost.finding());
    findings.extend(corps.clone().flat_map(Corp::findings));
    let ok = findings.is_empty();
    // Worth knowing, but nothing that keeps messages from being archived.
    let nameless = corps.filter(|corp| corp.config.app_secret.is_empty());
    findings.extend(nameless.map(|corp| {
        format!("corp {}: app_secret is not set, so names and avatars of customers cannot be fetched", corp.id())
    }));
    HealthReport { ok, findings }
}

//! The figures, for Prometheus.
//!
//! | name | what |
//! |---|---|
//! | `stele_build_info{version}` | 1 |
//! | `stele_archive_messages`, `_conversations`, `_people`, `_parked` | how much there is |
//! | `stele_media_files{state}`, `stele_media_stored_bytes` | files |
//! | `stele_instance_up{instance}` | 1 while the plugin answers |
//! | `stele_messages_stored_total{instance}` | messages committed |
//! | `stele_job_runs_total{kind,outcome}` | runs that ended |
//! | `stele_media_bytes_total`, `stele_media_failures_total{code}` | the media job |
//! | `stele_search_watermark`, `_behind`, `_days_differing`, `_seconds{outcome}` | the index and searches |
//! | `stele_bus_connected`, `_said_total`, `_heard_total` | the bus between daemons: 1 while it is there; words |
//! | `stele_http_requests_total{instance,status}`, `stele_http_request_seconds{instance}`, `stele_http_requests_in_flight{instance}`, `stele_http_rate_limited_total{instance}` | listeners |
//! | `stele_live_sessions{instance,carrier}` | who listens |
//! | `stele_live_delivered_total{instance}`, `stele_live_delay_seconds{instance}` | events taken by connections; time from a commit to their queues |
//! | `stele_live_ended_total{instance,reason}` | sessions that ended |
//! | `stele_live_dropped_total{instance,reason}` | events a session was too slow for; messages that came as history, or that cannot be rendered |
//!
//! Those of the plugin boundary begin with `stele_plugin_`, those plugins report themselves as well.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use stele_archive::Archive;

/// How often gauges are renewed and histograms tidied.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of duration histograms, in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The recorder of the process; made once, shared by all daemons in it (tests run several).
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
            .expect("the list of bounds is not empty")
            .build_recorder();
        let handle = recorder.handle();
        // Another recorder of this process keeps what it records; ours is then empty.
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
    handle.clone()
}

/// Renews what is counted in the archive.
pub async fn renew(archive: &dyn Archive) {
    metrics::gauge!("stele_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    if let Ok(stats) = archive.stats(None).await {
        for (name, value) in [
            ("stele_archive_messages", stats.messages),
            ("stele_archive_conversations", stats.conversations),
            ("stele_archive_people", stats.people),
            ("stele_archive_parked", stats.parked),
        ] {
            metrics::gauge!(name).set(value as f64);
        }
    }
    if let Ok(media) = archive.media_totals(None).await {
        for (state, value) in [("pending", media.pending), ("stored", media.stored), ("parked", media.parked)] {
            metrics::gauge!("stele_media_files", "state" => state).set(value as f64);
        }
        metrics::gauge!("stele_media_stored_bytes").set(media.bytes as f64);
    }
}

//! What the Go original signs: its own struct fields, printed with `%v` (reference/wecom-archive.md §3.1).
//!
//! Only the unmodified `openscrm/api-server` signs like this. The corp is not part of the text of the three queries, so
//! a captured request could be pointed at another corp: that is why the switch `legacy_go_signature` is off by default,
//! and why only a key bound to exactly one corp may use it.

use super::params::Params;
use super::router::Endpoint;

/// The text the Go original signs for these parameters.
pub fn text(endpoint: Endpoint, params: &Params) -> String {
    let value = |name| params.received(name).unwrap_or_default();
    let pager = format!("{{{} {} {}}}", int(params, "page"), int(params, "page_size"), int(params, "TotalRows"));
    let sorter = format!("{{{} {}}}", value("sort_field"), value("sort_type"));
    let text = match endpoint {
        Endpoint::Sync => value("ext_corp_id").to_owned(),
        Endpoint::Sessions => format!(
            "ExtStaffID={}&Name={}&Pager={pager}&SessionType={}&Sorter={sorter}",
            value("ext_staff_id"),
            value("name"),
            value("session_type"),
        ),
        Endpoint::SessionMsgs => format!(
            "ExtStaffID={}&Limit={}&MaxID={}&MinID={}&MsgType={}&Pager={pager}&ReceiverID={}&SendAtEnd={}\
             &SendAtStart={}&Sorter={sorter}",
            value("ext_staff_id"),
            int(params, "limit"),
            value("max_id"),
            value("min_id"),
            value("msg_type"),
            value("receiver_id"),
            value("send_at_end"),
            value("send_at_start"),
        ),
        Endpoint::Search => format!(
            "ExtPeerID={}&ExtStaffID={}&Keyword={}&Pager={pager}",
            value("ext_peer_id"),
            value("ext_staff_id"),
            value("keyword"),
        ),
    };
    text.trim_end_matches('&').to_owned()
}

/// A number as Go binds and prints it; what is none would not have been bound at all.
fn int(params: &Params, name: &str) -> i64 {
    params.received(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

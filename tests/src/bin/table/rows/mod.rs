//! What is asked: every endpoint of the contracts that reads messages, and every one that sends one.

mod admin;
mod gateway;
mod openim;
mod wecom;
mod wukongim;

use crate::ask::{Asking, Request, Row};
use rand::rngs::StdRng;
use serde_json::Value;
use stele_tests::crowd::{PROTOCOLS, Protocol};

/// Where the listeners of the instances are, and the admin's.
pub struct Addresses {
    pub wecom: String,
    pub gateway: String,
    pub wukongim: String,
    pub openim: String,
    pub admin: String,
}

/// Messages of a page.
const PAGE: u64 = 20;

/// All of them, over an archive with so many messages.
pub fn all(addresses: &Addresses, messages: u64) -> Vec<Row> {
    let share = messages / PROTOCOLS.len() as u64;
    let mut rows = wecom::rows(&addresses.wecom, share);
    rows.extend(gateway::rows(&addresses.gateway));
    rows.extend(wukongim::rows(&addresses.wukongim, share));
    rows.extend(openim::rows(&addresses.openim, share));
    rows.extend(admin::rows(&addresses.admin));
    rows
}

/// A kind of request of one contract.
fn row(
    (contract, endpoint): (&'static str, &'static str),
    about: &'static str,
    found: &'static str,
    asking: impl FnMut(&mut StdRng, &Value) -> Request + 'static,
) -> Row {
    Row { contract, endpoint, about, found, asking: Box::new(asking) as Asking }
}

/// How many messages the group that talks most has at least, of a protocol with so many.
fn said_in_loudest(share: u64) -> u64 {
    // A tenth of the three fifths that are said in groups.
    share / 20
}

fn crowd(protocol: Protocol, messages: u64) -> stele_tests::crowd::Crowd {
    stele_tests::crowd::Crowd { protocol, messages }
}

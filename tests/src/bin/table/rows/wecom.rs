//! Contract 000.

use super::{PAGE, row, said_in_loudest};
use crate::ask::{Request, Row};
use rand::{Rng, rngs::StdRng};
use stele_tests::client::{Style, signed_path};
use stele_tests::crowd::wecom::{CORP, is_staff, peer, room};
use stele_tests::crowd::{Place, anybody, day, keyword, loud_group};
use stele_tests::settings::API_KEY;

const SESSIONS: (&str, &str) = ("000", "sessions");
const MESSAGES: (&str, &str) = ("000", "session-msgs");
const SEARCH: (&str, &str) = ("000", "search");
const ITEMS: &str = "/data/items";

pub fn rows(address: &str, share: u64) -> Vec<Row> {
    let get = |endpoint: &'static str| {
        let address = address.to_owned();
        move |params: &[(&str, &str)]| {
            let mut params = params.to_vec();
            params.push(("ext_corp_id", CORP));
            let path = signed_path(endpoint, &params, API_KEY, Style::Raw);
            Request { method: "GET", url: format!("http://{address}{path}"), headers: Vec::new(), body: String::new() }
        }
    };
    let (sessions, newest, on_a_day, deep, of_a_kind, search) = (
        get("sessions"),
        get("session-msgs"),
        get("session-msgs"),
        get("session-msgs"),
        get("session-msgs"),
        get("search"),
    );
    let last_page = said_in_loudest(share) / PAGE;
    vec![
        row(SESSIONS, "of a member of staff, of a type", ITEMS, move |rng, _| {
            let kind = ["internal", "external", "group"][rng.random_range(0..3)];
            sessions(&[("ext_staff_id", &staff(rng)), ("session_type", kind)])
        }),
        row(MESSAGES, "the newest of a group", ITEMS, move |rng, _| {
            let (staff, room) = member(loud_group(rng));
            newest(&[("ext_staff_id", &staff), ("receiver_id", &room)])
        }),
        row(MESSAGES, "of a group on a day", ITEMS, move |rng, _| {
            let ((staff, room), day) = (member(loud_group(rng)), day(rng));
            let days = [("send_at_start", day.as_str()), ("send_at_end", day.as_str())];
            on_a_day(&[&[("ext_staff_id", staff.as_str()), ("receiver_id", &room)], &days[..]].concat())
        }),
        row(MESSAGES, "any page of the group that talks most", ITEMS, move |rng, _| {
            let ((staff, room), page) = (member(0), rng.random_range(1..=last_page).to_string());
            deep(&[("ext_staff_id", &staff), ("receiver_id", &room), ("page", &page)])
        }),
        row(MESSAGES, "the newest links of a group", ITEMS, move |rng, _| {
            let (staff, room) = member(loud_group(rng));
            of_a_kind(&[("ext_staff_id", &staff), ("receiver_id", &room), ("msg_type", "link")])
        }),
        row(SEARCH, "two characters in a group", ITEMS, move |rng, _| {
            let (staff, room) = member(loud_group(rng));
            search(&[("ext_staff_id", &staff), ("ext_peer_id", &room), ("keyword", keyword(rng))])
        }),
    ]
}

fn staff(rng: &mut StdRng) -> String {
    let person = anybody(rng);
    peer(if is_staff(person) { person } else { person - 1 })
}

/// A group, and a member of staff in it.
fn member(group: u32) -> (String, String) {
    let people = Place::Group(group).people();
    let staff = people.into_iter().find(|person| is_staff(*person)).expect("somebody of the corp is in it");
    (peer(staff), room(group))
}

//! What a search asks for.

use super::cursor::{self, Order};
use super::day::day;
use crate::answer::Failure;
use crate::api::fields::Fields;
use crate::config::Config;
use crate::ids;
use stele_plugin_api::model::Micros;
use stele_plugin_api::ops::{Place, SearchQuery};

/// Messages of a page where nothing else is asked for.
const DEFAULT_SHOWN: i32 = 20;
/// So many characters of what is wrong are told.
const MAX_TOLD: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which messages, and in which order, but not where to begin and how many.
    pub query: SearchQuery,
    /// The order.
    pub order: Order,
    /// Messages of a page.
    pub show: usize,
    /// Where the answer begins.
    pub start: Start,
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// At this page; the first is 1.
    Page(u64),
    /// After this place, or at the beginning.
    Cursor(Option<Place>),
}

impl Wanted {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// 1001 for whatever is wrong.
    pub fn read(fields: &Fields, config: &Config) -> Result<Self, Failure> {
        let order = order(fields)?;
        let (since, until) = times(fields, config)?;
        let mut query = SearchQuery {
            text: fields.text("keyword")?,
            sender: Some(fields.text("sendID")?).filter(|id| !id.is_empty()),
            since,
            until,
            oldest_first: order == Order::Asc,
            ..SearchQuery::default()
        };
        let receiver = fields.text("recvID")?;
        if !receiver.is_empty() {
            query.labels.push(ids::to(&receiver));
        }
        let session_type = fields.number::<i32>("sessionType")?;
        if session_type != 0 {
            query.labels.push(ids::session(session_type));
        }
        let content_type = fields.number::<i32>("contentType")?;
        if content_type != 0 {
            query.kinds.push(content_type.to_string());
        }
        let pagination = fields.object("pagination")?;
        let page = pagination.number::<i32>("pageNumber")?.max(1);
        let show = match pagination.number::<i32>("showNumber")? {
            0 => DEFAULT_SHOWN,
            less if less < 0 => return Err(pagination.wrong("showNumber", "must not be less than 0")),
            show => show,
        };
        let show = show.unsigned_abs().min(config.max_page) as usize;
        let start = if fields.has("cursor") {
            if page > 1 {
                return Err(pagination.wrong("pageNumber", "must not be more than 1 with a cursor"));
            }
            Start::Cursor(place(fields, order)?)
        } else {
            Start::Page(u64::from(page.unsigned_abs()))
        };
        Ok(Self { query, order, show, start })
    }
}

fn order(fields: &Fields) -> Result<Order, Failure> {
    match fields.text("order")?.as_str() {
        "" | "asc" => Ok(Order::Asc),
        "desc" => Ok(Order::Desc),
        _ => Err(fields.wrong("order", "must be asc or desc")),
    }
}

/// From when on, and until when.
fn times(fields: &Fields, config: &Config) -> Result<(Option<Micros>, Option<Micros>), Failure> {
    let (mut since, mut until) = (time(fields, "startTime")?, time(fields, "endTime")?);
    let text = fields.text("sendTime")?;
    if !text.is_empty() {
        let (from, to) = day(&text, config.zone()).ok_or_else(|| {
            let told: String = text.chars().take(MAX_TOLD).collect();
            Failure::args(format!("invalid sendTime, req={told}, format=YYYY-MM-DD"))
        })?;
        since = since.max(Some(from));
        until = Some(until.map_or(to, |until| until.min(to)));
    }
    Ok((since, until))
}

/// A time in milliseconds; 0 is none.
fn time(fields: &Fields, name: &str) -> Result<Option<Micros>, Failure> {
    match fields.number::<i64>(name)? {
        0 => Ok(None),
        less if less < 0 => Err(fields.wrong(name, "must not be less than 0")),
        millis => Ok(Some(millis.saturating_mul(1000))),
    }
}

fn place(fields: &Fields, order: Order) -> Result<Option<Place>, Failure> {
    let text = fields.text("cursor")?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || fields.wrong("cursor", "must be empty, or the nextCursor of an answer in the same order");
    cursor::read(order, &text).map(Some).ok_or_else(wrong)
}

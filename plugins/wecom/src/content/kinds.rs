//! The known message types (reference/wecom-archive.md §2.2): where their body is, and what of it people search for.

/// A known type.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `msgtype`.
    pub name: &'static str,
    /// Keys its body can be under, the likeliest first; all the same, `info` and the top level are looked at after them.
    pub body: &'static [&'static str],
    /// Fields of the body that are searchable text, in their order. `a[]` means every element, `a[].b` a field of each.
    pub text: &'static [&'static str],
    /// Other messages stand inside of it, under `item`.
    pub nests: bool,
}

const fn kind(name: &'static str, body: &'static [&'static str], text: &'static [&'static str]) -> Kind {
    Kind { name, body, text, nests: false }
}

const fn nest(name: &'static str, text: &'static [&'static str]) -> Kind {
    Kind { name, body: &[], text, nests: true }
}

/// The action that comes without a type: a member changed the active corp.
pub const SWITCH: &str = "switch";
/// The type of what could be decrypted, but is no JSON object.
pub const UNPARSABLE: &str = "unparsable";
/// The type of a message that names neither type nor action.
pub const UNKNOWN: &str = "unknown";

/// Every known type. An own name without entry in `body` is looked up first in any case.
pub const KNOWN: &[Kind] = &[
    kind("text", &[], &["content"]),
    kind("image", &[], &[]),
    kind("revoke", &[], &[]),
    kind("agree", &[], &[]),
    kind("disagree", &["agree"], &[]),
    kind("voice", &[], &[]),
    kind("video", &[], &[]),
    kind("card", &[], &["corpname"]),
    kind("location", &[], &["title", "address"]),
    kind("emotion", &[], &[]),
    kind("file", &[], &["filename"]),
    kind("link", &[], &["title", "description"]),
    kind("weapp", &[], &["title", "description", "displayname"]),
    nest("chatrecord", &["title"]),
    kind("todo", &[], &["title", "content"]),
    kind("vote", &[], &["votetitle", "voteitem[]"]),
    kind("collect", &[], &["title", "details[].ques"]),
    kind("redpacket", &[], &["wish"]),
    kind("external_redpacket", &["redpacket"], &["wish"]),
    kind("meeting", &[], &["topic", "address", "remarks"]),
    kind("meeting_notification", &["info"], &["content"]),
    kind("docmsg", &["doc", "doc_msg"], &["title"]),
    kind("markdown", &["info"], &["content"]),
    kind("news", &["info"], &["item[].title", "item[].description"]),
    kind("calendar", &[], &["title", "place", "remarks", "creatorname", "attendeename[]"]),
    nest("mixed", &[]),
    kind("meeting_voice_call", &["meetingvoicecall"], &["demofiledata[].filename"]),
    kind("meetingvoicecall", &["meeting_voice_call"], &["demofiledata[].filename"]),
    kind("voip_doc_share", &["voipdocshare"], &["filename"]),
    kind("voipdocshare", &["voip_doc_share"], &["filename"]),
    kind("voiptext", &["info"], &[]),
    kind("sphfeed", &[], &["sph_name", "feed_desc"]),
    kind("qydiskfile", &["info"], &["filename"]),
    kind(SWITCH, &[], &[]),
];

/// The type of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KNOWN.iter().find(|kind| kind.name == name)
}

/// The type of an element of a forwarded record or a mixed message: `ChatRecordText` means `text`
/// (reference/wecom-archive.md §2.3, row 4).
pub fn of_item(item_type: &str) -> String {
    item_type.strip_prefix("ChatRecord").unwrap_or(item_type).to_ascii_lowercase()
}

//! Where a keyword was found, shown as HTML.

/// Characters of a text that are shown, at most.
const MOST: usize = 200;
/// Of these, so many before the first hit.
const BEFORE: usize = 60;
const CUT: char = '…';

/// The text around its first hit, escaped, each hit in `<em>…</em>`. `hits` are byte ranges, ascending.
pub fn highlight(text: &str, hits: &[(u32, u32)]) -> String {
    let hits: Vec<_> = hits.iter().map(|(from, to)| (*from as usize, *to as usize)).collect();
    let first = hits.first().map_or(0, |hit| hit.0);
    let before = text.get(..first).unwrap_or_default();
    let from = before.char_indices().rev().nth(BEFORE - 1).map_or(0, |(at, _)| at);
    let upto = text[from..].char_indices().nth(MOST).map_or(text.len(), |(at, _)| from + at);
    let mut shown = String::new();
    if from > 0 {
        shown.push(CUT);
    }
    let mut at = from;
    for (begin, end) in hits.into_iter().filter(|(begin, _)| *begin < upto) {
        let end = end.min(upto);
        escape(text.get(at..begin), &mut shown);
        shown.push_str("<em>");
        escape(text.get(begin..end), &mut shown);
        shown.push_str("</em>");
        at = end;
    }
    escape(text.get(at..upto), &mut shown);
    if upto < text.len() {
        shown.push(CUT);
    }
    shown
}

fn escape(text: Option<&str>, shown: &mut String) {
    for character in text.unwrap_or_default().chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            other => shown.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, word: &str, expected: &str) {
        let hits: Vec<_> = text.match_indices(word).map(|(at, hit)| (at as u32, (at + hit.len()) as u32)).collect();
        assert_eq!(highlight(text, &hits), expected);
    }

    #[test]
    fn hits_are_marked_and_all_else_is_escaped() {
        check("hello world", "world", "hello <em>world</em>");
        check("aXbXc", "X", "a<em>X</em>b<em>X</em>c");
        check("XX", "X", "<em>X</em><em>X</em>");
        check("<b>1 & \"2\"</b>", "1 &", "&lt;b&gt;<em>1 &amp;</em> &quot;2&quot;&lt;/b&gt;");
        check("</em><script>", "script", "&lt;/em&gt;&lt;<em>script</em>&gt;");
        check("开会，明天", "明天", "开会，<em>明天</em>");
    }

    #[test]
    fn a_long_text_is_cut_around_the_first_hit() {
        let long = format!("{}X{}X", "一".repeat(100), "二".repeat(200));
        check(&long, "X", &format!("…{}<em>X</em>{}…", "一".repeat(60), "二".repeat(139)));
        check(&"好".repeat(201), &"好".repeat(201), &format!("<em>{}</em>…", "好".repeat(200)));
        check(&format!("{}X", "a".repeat(60)), "X", &format!("{}<em>X</em>", "a".repeat(60)));
    }

    proptest! {
        #[test]
        fn nothing_but_hits_is_markup(text: String, hits: Vec<(u32, u32)>) {
            let shown = highlight(&text, &hits);
            let plain = shown.replace("<em>", "").replace("</em>", "");
            prop_assert!(!plain.contains(['<', '>', '"', '\'']));
        }
    }
}

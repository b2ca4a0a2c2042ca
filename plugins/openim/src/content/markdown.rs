//! Markdown as it is read: without its marks, so that what is said is found across them.

/// What stands around words, and nowhere else.
const MARKS: [&str; 5] = ["***", "**", "__", "~~", "`"];

/// The text of a Markdown text; links are their text and their address.
pub fn plain(markdown: &str) -> String {
    let lines = markdown.lines().map(|line| {
        let mut line = links(heading(line));
        for mark in MARKS {
            line = line.replace(mark, "");
        }
        line
    });
    lines.filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// A line without the marks it begins with.
fn heading(line: &str) -> &str {
    let rest = line.trim_start();
    let behind = rest.trim_start_matches(['#', '>']);
    // A hash before a word is one of the text.
    if behind.len() < rest.len() && (behind.is_empty() || behind.starts_with(' ')) { behind.trim_start() } else { line }
}

/// A line with `[text](address)` as `text address`.
fn links(line: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(middle) = rest.find("](") {
        let Some(end) = rest[middle..].find(')').map(|end| middle + end) else { break };
        let (before, address) = (&rest[..middle], &rest[middle + 2..end]);
        let (around, text) = before.rsplit_once('[').unwrap_or((before, ""));
        plain.extend([around.trim_end_matches('!'), text, " ", address]);
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off() {
        let check = |markdown: &str, expected: &str| assert_eq!(plain(markdown), expected, "{markdown}");
        check("# Plan\n\nship **v1.2** on `Friday`, ~~not~~ later", "Plan\nship v1.2 on Friday, not later");
        check("> quoted", "quoted");
        check("see [the page](http://x/y) and ![a cat](cat.png)!", "see the page http://x/y and a cat cat.png!");
        check("#release snake_case 2*3*4 a] (b) [c]", "#release snake_case 2*3*4 a] (b) [c]");
        check("](x) [a](", " x [a](");
        check("", "");
    }
}

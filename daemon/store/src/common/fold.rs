//! Letter case aside.

/// The text with the differences of letter case removed, character by character, so that what is a part of the text is a
/// part of the folded text too (`str::to_lowercase` would treat a final sigma by its place).
pub(crate) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn letters_of_any_script_lose_their_case() {
        for (text, folded) in [
            ("Ärger", "ärger"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
            ("Οδυσσεύς", "οδυσσεύσ"),
            ("Straße", "strasse"),
            ("张三A%", "张三a%"),
        ] {
            assert_eq!(fold(text), folded);
        }
    }
}

//! How a sentence names a character that may not stand somewhere.

/// The character itself where it shows, else its number.
pub(crate) fn named(character: char) -> String {
    if character == ' ' || character.is_ascii_graphic() || character.is_alphanumeric() {
        format!("'{character}'")
    } else {
        format!("U+{:04X}", u32::from(character))
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_character_that_does_not_show_has_a_number() {
        for (character, name) in [
            ('a', "'a'"),
            (' ', "' '"),
            ('"', "'\"'"),
            ('\\', "'\\'"),
            ('é', "'é'"),
            ('\n', "U+000A"),
            ('\0', "U+0000"),
            ('\u{7f}', "U+007F"),
            ('\u{202e}', "U+202E"),
            ('\u{1f980}', "U+1F980"),
        ] {
            assert_eq!(named(character), name);
        }
    }
}

//! The patterns of the operator `like`.

use std::str::Chars;

use crate::error::{Result, SyncError};

const MAX_PATTERN_CHARS: usize = 1_000;

/// A pattern of the operator `like`, taken apart.
///
/// `%` stands for any sequence of characters, also none; `_` for exactly one character (one Unicode scalar
/// value); a backslash makes the character after it stand for itself; all else stands for itself. Case counts,
/// and the pattern has to match the whole text.
///
/// ```
/// use sync_core::query::LikePattern;
/// let pattern = LikePattern::parse(r"100\% _ol%")?;
/// assert!(pattern.matches("100% cold") && !pattern.matches("100% wool"));
/// # Ok::<(), sync_core::SyncError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LikePattern(Vec<LikeToken>);

/// One element of a [`LikePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikeToken {
    /// `%`: any sequence of characters, also none.
    AnySequence,
    /// `_`: exactly one character.
    AnyCharacter,
    /// Exactly this character.
    Character(char),
}

impl LikePattern {
    /// Takes a pattern apart.
    ///
    /// # Errors
    /// `Invalid` naming `like` if the pattern ends in a backslash that escapes nothing, or has more than 1000
    /// characters.
    pub fn parse(pattern: &str) -> Result<Self> {
        if pattern.chars().count() > MAX_PATTERN_CHARS {
            return Err(SyncError::invalid(
                "like",
                format!("a pattern has at most {MAX_PATTERN_CHARS} characters"),
            ));
        }
        let mut chars = pattern.chars();
        let mut tokens = Vec::new();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '%' => LikeToken::AnySequence,
                '_' => LikeToken::AnyCharacter,
                '\\' => LikeToken::Character(chars.next().ok_or_else(|| {
                    SyncError::invalid(
                        "like",
                        format!("the pattern {pattern:?} ends in a lone backslash; double it"),
                    )
                })?),
                c => LikeToken::Character(c),
            });
        }
        Ok(Self(tokens))
    }

    /// The elements in order, for translating the pattern into another language.
    pub fn tokens(&self) -> &[LikeToken] {
        &self.0
    }

    /// Whether the whole of `text` matches. Takes at most the product of both lengths in steps.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // Where the last `%` can be tried again, giving it one more character.
        let mut retry: Option<(usize, Chars<'_>)> = None;
        loop {
            match self.0.get(at) {
                Some(LikeToken::AnySequence) => {
                    at += 1;
                    retry = Some((at, rest.clone()));
                    continue;
                }
                Some(token) => match rest.next() {
                    Some(c) if token.accepts(c) => {
                        at += 1;
                        continue;
                    }
                    Some(_) => {}
                    None => return false,
                },
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            let Some((after_sequence, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            at = *after_sequence;
            rest = from.clone();
        }
    }
}

impl LikeToken {
    fn accepts(self, c: char) -> bool {
        match self {
            Self::AnySequence | Self::AnyCharacter => true,
            Self::Character(expected) => expected == c,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        LikePattern::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn wildcards_match_the_whole_text() {
        for (text, pattern) in [
            ("", ""),
            ("", "%"),
            ("", "%%"),
            ("abc", "abc"),
            ("abc", "a%"),
            ("abc", "%c"),
            ("abc", "%b%"),
            ("abc", "a_c"),
            ("abc", "___"),
            ("abc", "%_%_%_%"),
            ("abcabd", "%ab_"),
            ("aaab", "%aab"),
            ("a\nb", "a_b"),
            ("mississippi", "m%iss%ip%i"),
        ] {
            assert!(like(text, pattern), "{text:?} like {pattern:?}");
        }
        for (text, pattern) in [
            ("abc", ""),
            ("", "_"),
            ("abc", "ab"),
            ("abc", "bc"),
            ("abc", "__"),
            ("abc", "____%"),
            ("ABC", "abc"),
            ("abcabd", "%abc"),
            ("mississippi", "m%iss%iss%iss%"),
        ] {
            assert!(!like(text, pattern), "{text:?} not like {pattern:?}");
        }
    }

    #[test]
    fn one_character_is_one_unicode_scalar_value() {
        assert!(like("\u{1F600}", "_"));
        assert!(!like("\u{1F600}", "__"));
        assert!(
            like("e\u{301}", "__"),
            "a combining accent is a character of its own"
        );
        assert!(!like("\u{e9}", "e\u{301}"), "nothing is normalised");
    }

    #[test]
    fn a_backslash_makes_the_next_character_literal() {
        assert!(like("100%", r"100\%") && !like("100x", r"100\%"));
        assert!(like("a_b", r"a\_b") && !like("axb", r"a\_b"));
        assert!(like(r"a\b", r"a\\b"));
        assert!(like("ab", r"\a\b"));
        assert!(like(r"\x", r"\\_"));
    }

    #[test]
    fn patterns_that_mean_nothing_or_cost_too_much_are_refused() {
        assert!(
            LikePattern::parse("abc\\")
                .unwrap_err()
                .to_string()
                .contains("lone backslash")
        );
        assert!(LikePattern::parse(r"abc\\").is_ok());
        assert!(LikePattern::parse(&"%".repeat(MAX_PATTERN_CHARS)).is_ok());
        assert!(LikePattern::parse(&"%".repeat(MAX_PATTERN_CHARS + 1)).is_err());
    }

    #[test]
    fn a_hostile_pattern_ends_in_bounded_time() {
        assert!(!like(&"a".repeat(10_000), &format!("{}b", "%a".repeat(400))));
    }

    /// The definition, by plain recursion.
    fn defined(tokens: &[LikeToken], text: &[char]) -> bool {
        match (tokens, text) {
            ([], text) => text.is_empty(),
            ([LikeToken::AnySequence, rest @ ..], text) => {
                (0..=text.len()).any(|n| defined(rest, &text[n..]))
            }
            ([token, rest @ ..], [c, text @ ..]) => token.accepts(*c) && defined(rest, text),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(text in "[ab\u{1F600}]{0,8}", pattern in "[ab%_\u{1F600}]{0,8}") {
            let pattern = LikePattern::parse(&pattern).unwrap();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(pattern.matches(&text), defined(pattern.tokens(), &chars));
        }
    }
}

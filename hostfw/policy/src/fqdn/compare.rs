//! Patterns of names compared with each other: whether one means everything
//! that another one means, and whether any name is meant by both. Both are
//! answered by walking the two patterns side by side, a character at a time.

use std::collections::BTreeSet;

use super::{NamePattern, Shape, is_label_byte};

/// What a pattern wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Byte(u8),
    /// Any number of characters of a label.
    Star,
    /// Whole labels, with the dot behind each: only where it may end there.
    Below,
}

/// Pairs of places after which a walk gives up and takes the side of care; real
/// patterns need some dozens.
const MAX_STEPS: usize = 50_000;

/// A pattern as a list of tokens; a walk stands before one of them, or behind
/// the last.
struct Walk(Vec<Token>);

/// Where a walk may stand.
type Places = BTreeSet<Place>;

/// A token, and whether a label has begun within it.
type Place = (usize, bool);

impl NamePattern {
    /// True when every name that `other` means is meant.
    pub fn contains(&self, other: &Self) -> bool {
        let (own, others) = (self.walk(), other.walk());
        let symbols = symbols(&own, &others);
        let mut seen = BTreeSet::new();
        let mut open = vec![(others.start(), own.start(), b'.')];
        while let Some((there, here, last)) = open.pop() {
            if there.is_empty() || !seen.insert((there.clone(), here.clone(), last == b'.')) {
                continue;
            }
            let differs = others.may_end(&there) && !own.may_end(&here);
            if differs || seen.len() > MAX_STEPS {
                return false;
            }
            for symbol in symbols.iter().filter(|symbol| may_follow(last, **symbol)) {
                open.push((others.step(&there, *symbol), own.step(&here, *symbol), *symbol));
            }
        }
        true
    }

    /// True when some name is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (own, others) = (self.walk(), other.walk());
        let symbols = symbols(&own, &others);
        let mut seen = BTreeSet::new();
        let mut open = vec![(others.start(), own.start(), b'.')];
        while let Some((there, here, last)) = open.pop() {
            if there.is_empty()
                || here.is_empty()
                || !seen.insert((there.clone(), here.clone(), last == b'.'))
            {
                continue;
            }
            let agrees = others.may_end(&there) && own.may_end(&here);
            if agrees || seen.len() > MAX_STEPS {
                return true;
            }
            for symbol in symbols.iter().filter(|symbol| may_follow(last, **symbol)) {
                open.push((others.step(&there, *symbol), own.step(&here, *symbol), *symbol));
            }
        }
        false
    }

    fn walk(&self) -> Walk {
        let mut tokens = Vec::new();
        match &self.shape {
            Shape::Name(name) => tokens.extend(name.bytes().map(Token::Byte)),
            // Every well-formed name; the root is nobody's address.
            Shape::Every => tokens.extend([Token::Below]),
            Shape::Labels { below, labels } => {
                tokens.extend(below.then_some(Token::Below));
                for (number, label) in labels.iter().enumerate() {
                    if number > 0 {
                        tokens.push(Token::Byte(b'.'));
                    }
                    for byte in label.bytes() {
                        let token = if byte == b'*' { Token::Star } else { Token::Byte(byte) };
                        // Two stars in a row are one, and cost more.
                        if token != Token::Star || tokens.last() != Some(&Token::Star) {
                            tokens.push(token);
                        }
                    }
                }
            }
        }
        Walk(tokens)
    }
}

/// The characters that one of the patterns tells apart, and one that stands for
/// all the others of a label.
fn symbols(one: &Walk, other: &Walk) -> Vec<u8> {
    let written = one.0.iter().chain(&other.0).filter_map(|token| match token {
        Token::Byte(byte) => Some(*byte),
        Token::Star | Token::Below => None,
    });
    let mut symbols: BTreeSet<u8> = written.chain([b'.']).collect();
    let other = (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"-_").find(|one| !symbols.contains(one));
    symbols.extend(other);
    symbols.into_iter().collect()
}

/// No label of a name is empty.
fn may_follow(last: u8, symbol: u8) -> bool {
    symbol != b'.' || last != b'.'
}

impl Walk {
    fn start(&self) -> Places {
        let mut places = Places::new();
        self.enter(0, &mut places);
        places
    }

    /// Stands before a token, and behind it where it may be nothing.
    fn enter(&self, at: usize, places: &mut Places) {
        places.insert((at, false));
        if self.0.get(at) == Some(&Token::Star) {
            self.enter(at + 1, places);
        }
    }

    fn step(&self, places: &Places, symbol: u8) -> Places {
        let mut next = Places::new();
        for (at, begun) in places {
            match self.0.get(*at) {
                Some(Token::Byte(byte)) if *byte == symbol => self.enter(at + 1, &mut next),
                Some(Token::Star) if is_label_byte(symbol) => self.enter(*at, &mut next),
                Some(Token::Below) if is_label_byte(symbol) => {
                    next.insert((*at, true));
                }
                // A label ends: another one, or what comes behind.
                Some(Token::Below) if symbol == b'.' && *begun => {
                    next.insert((*at, false));
                    self.enter(at + 1, &mut next);
                }
                Some(Token::Byte(_) | Token::Star | Token::Below) | None => {}
            }
        }
        next
    }

    fn may_end(&self, places: &Places) -> bool {
        places.contains(&(self.0.len(), false))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> NamePattern {
        NamePattern::pattern(text)
    }

    #[test]
    fn a_pattern_contains_what_it_means_and_no_more() {
        for (wide, narrow) in [
            ("*", "www.example.com"),
            ("*", "**.example.com"),
            ("**.example.com", "*.example.com"),
            ("*.example.com", "w*.example.com"),
            ("*.example.com", "www.EXAMPLE.com."),
            ("a*b*.c", "ab.c"),
        ] {
            assert!(pattern(wide).contains(&pattern(narrow)), "{wide} {narrow}");
            assert!(!pattern(narrow).contains(&pattern(wide)), "{narrow} {wide}");
        }
        for (one, other) in [("*.example.com", "example.com"), ("*.a.com", "*.b.com")] {
            assert!(!pattern(one).contains(&pattern(other)), "{one} {other}");
            assert!(!pattern(one).overlaps(&pattern(other)), "{one} {other}");
        }
        assert!(pattern("a*.com").overlaps(&pattern("*b.com")));
        assert!(!pattern("a*.com").contains(&pattern("*b.com")));
    }

    proptest! {
        #[test]
        fn both_agree_with_trying_names(
            one in r"(\*\*\.)?[ab*]{1,3}(\.[ab*]{1,2})?",
            other in r"(\*\*\.)?[ab*]{1,3}(\.[ab*]{1,2})?",
            names in proptest::collection::vec(r"[abz]{1,3}(\.[abz]{1,3}){0,2}", 1..40),
        ) {
            let (one, other) = (pattern(&one), pattern(&other));
            for name in names {
                let (in_one, in_other) = (one.matches(&name), other.matches(&name));
                if one.contains(&other) {
                    prop_assert!(!in_other || in_one, "{name}");
                }
                if in_one && in_other {
                    prop_assert!(one.overlaps(&other), "{name}");
                }
            }
            prop_assert!(one.contains(&one));
        }
    }
}

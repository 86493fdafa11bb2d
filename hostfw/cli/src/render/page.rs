//! The page that reports are written on: its width, whether it has colours,
//! and how words are fitted to it. Text from files and from the daemon is
//! printed without control characters, so that it cannot drive the terminal.

/// Where a report is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Columns; at least [`Page::NARROWEST`].
    pub(crate) width: usize,
    /// Whether escape sequences for colours may be used.
    pub(crate) colour: bool,
}

/// How a piece of text looks where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// A heading.
    Heading,
    /// Less important.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Notice,
    /// Wrong.
    Bad,
}

impl Page {
    /// The width that everything must be readable at.
    pub(crate) const NARROWEST: usize = 80;

    /// Eighty columns without colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { width: Self::NARROWEST, colour: false };

    /// The text in a colour, where there are any.
    pub(crate) fn paint(&self, text: &str, paint: Paint) -> String {
        let text = printable(text);
        let code = match paint {
            _ if !self.colour || text.is_empty() => return text,
            Paint::Plain => return text,
            Paint::Heading => "1",
            Paint::Faint => "2",
            Paint::Good => "32",
            Paint::Notice => "33",
            Paint::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Words on as many lines as they need, the first behind `first`, the
    /// others behind as many spaces as `hang` says. A word that does not fit
    /// goes to the next line, the first one too: a sentence without its first
    /// word may say the opposite. One that is longer than a line is shortened in
    /// its middle.
    pub(crate) fn words(&self, first: &str, hang: usize, text: &str) -> String {
        let mut lines = String::new();
        let mut line = printable(first);
        let mut apart = "";
        for word in printable(text).split_whitespace() {
            let used = line.chars().count();
            let is_full = used + apart.len() + word.chars().count() > self.width;
            // Where no more is used than the next line hangs, it has no more room.
            if is_full && used > hang {
                lines.push_str(line.trim_end());
                lines.push('\n');
                line = " ".repeat(hang);
                apart = "";
            }
            line.push_str(apart);
            let room = self.width.saturating_sub(line.chars().count());
            line.push_str(&shorten(word, room.max(1)));
            apart = " ";
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
        lines
    }
}

/// The text without control characters; each stands as U+FFFD, tabs as a space.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\t' => ' ',
            _ if letter.is_control() || is_invisible(letter) => char::REPLACEMENT_CHARACTER,
            _ => letter,
        })
        .collect()
}

/// Marks that reorder or hide the text around them.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text in at most `width` columns: where it is longer, the middle gives
/// way, because paths and names differ at their ends.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let (head, tail) = (kept / 3, kept - kept / 3);
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(length - tail));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_at_spaces_and_hang_under_their_text() {
        let page = Page { width: 20, colour: false };
        assert_eq!(
            page.words("! ", 2, "one two three four five"),
            "! one two three four\n  five\n"
        );
    }

    #[test]
    fn a_word_longer_than_the_line_is_shortened() {
        let page = Page { width: 12, colour: false };
        assert_eq!(page.words("", 2, "/etc/hostfw/policies.d"), "/et…licies.d\n");
    }

    #[test]
    fn the_first_word_is_whole_however_little_room_is_left_for_it() {
        let page = Page { width: 80, colour: false };
        for length in 60..=90 {
            let first = format!("{} ", "x".repeat(length - 1));
            for text in ["no rule matches", "CiliumNetworkPolicy is a policy"] {
                let shown = page.words(&first, 4, text);
                let words: Vec<&str> = shown.split_whitespace().skip(1).collect();
                assert_eq!(words.join(" "), text, "behind {length}:\n{shown}");
                let behind = shown.lines().skip(1);
                assert!(behind.into_iter().all(|line| line.starts_with("    ")), "{shown}");
                assert!(length > 80 || shown.lines().all(|line| line.len() <= 80), "{shown}");
            }
        }
    }

    #[test]
    fn the_end_of_a_path_survives_shortening() {
        assert_eq!(shorten("/etc/hostfw/policies.d/ssh.yaml:12", 20), "/etc/h…d/ssh.yaml:12");
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("long", 0), "");
    }

    #[test]
    fn text_from_files_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\tc\u{202e}d"), "a\u{fffd}[31mb c\u{fffd}d");
        let page = Page { width: 80, colour: true };
        assert_eq!(page.paint("\x1b[2J", Paint::Bad), "\x1b[31m\u{fffd}[2J\x1b[0m");
    }
}

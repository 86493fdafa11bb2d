//! The syntax of regular expressions as RE2 has it, read as Go's package
//! regexp/syntax reads it: that is what decides whether the reference takes a
//! policy. Nothing is compiled or matched here.

/// How often something may be repeated, in all repetitions around it together.
const MAX_COUNT: u32 = 1000;

/// How deep groups may stand in each other.
const MAX_DEPTH: usize = 1000;

/// Names between `[:` and `:]`; each may follow a `^`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

type Fault = &'static str;

/// What RE2 would refuse.
pub(super) fn check(written: &str) -> Result<(), Fault> {
    let mut open = Vec::new();
    let mut group = Group::default();
    let mut after_repetition = false;
    let mut rest = Rest(written);
    while let Some(next) = rest.next() {
        let stacked = std::mem::take(&mut after_repetition);
        match next {
            '(' if rest.eat('?') => {
                if rest.opens_group()? {
                    open.push(std::mem::take(&mut group));
                }
            }
            '(' => open.push(std::mem::take(&mut group)),
            ')' => {
                let inner = group.widest.max(1);
                group = open.pop().ok_or("a parenthesis closes that none has opened")?;
                group.add(inner);
            }
            '|' => group.last = None,
            '[' => {
                rest.class()?;
                group.add(1);
            }
            '*' | '+' | '?' => {
                after_repetition = true;
                group.repeat(1, stacked, &mut rest)?;
            }
            '{' => match rest.counts() {
                // As in `/users/{id}`.
                None => group.add(1),
                Some((min, max)) => {
                    if min.max(max) > MAX_COUNT || min > max {
                        return Err("a count is above 1000, or the second below the first");
                    }
                    after_repetition = true;
                    group.repeat(max, stacked, &mut rest)?;
                }
            },
            '\\' if rest.eat('Q') => {
                if rest.literals() {
                    group.add(1);
                }
            }
            '\\' => {
                // Places and not characters.
                if !['A', 'b', 'B', 'z'].into_iter().any(|place| rest.eat(place)) {
                    rest.escape()?;
                }
                group.add(1);
            }
            _ => group.add(1),
        }
        if open.len() >= MAX_DEPTH {
            return Err("it nests too deep");
        }
    }
    if open.is_empty() { Ok(()) } else { Err("a parenthesis is not closed") }
}

/// A group that is being read, or all there is.
#[derive(Default)]
struct Group {
    /// How often what was read last is repeated at most; `None` where nothing
    /// stands that could be.
    last: Option<u32>,
    /// The most of these.
    widest: u32,
}

impl Group {
    fn add(&mut self, repeated: u32) {
        self.last = Some(repeated);
        self.widest = self.widest.max(repeated);
    }

    /// Repeats what was read last, lazily when a `?` follows.
    fn repeat(&mut self, times: u32, stacked: bool, rest: &mut Rest<'_>) -> Result<(), Fault> {
        rest.eat('?');
        if stacked {
            return Err("a repetition is repeated");
        }
        let last = self.last.ok_or("nothing stands before a repetition")?;
        let all = last * times.max(1);
        if times > 1 && all > MAX_COUNT {
            return Err("counts in each other come to more than 1000");
        }
        self.add(all);
        Ok(())
    }
}

/// What is still to be read.
#[derive(Clone, Copy)]
struct Rest<'w>(&'w str);

impl<'w> Rest<'w> {
    fn peek(self) -> Option<char> {
        self.0.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut rest = self.0.chars();
        let next = rest.next();
        self.0 = rest.as_str();
        next
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.0.strip_prefix(wanted).map(|rest| self.0 = rest).is_some()
    }

    /// The longest run of such characters.
    fn run(&mut self, wanted: impl Fn(char) -> bool) -> &'w str {
        let rest = self.0.trim_start_matches(&wanted);
        let run = self.0.strip_suffix(rest).unwrap_or_default();
        self.0 = rest;
        run
    }

    /// Everything up to a character, which is taken too.
    fn until(&mut self, end: char) -> Option<&'w str> {
        let (before, rest) = self.0.split_once(end)?;
        self.0 = rest;
        Some(before)
    }

    /// Behind `(?`: a name or flags. False when flags stand for themselves.
    fn opens_group(&mut self) -> Result<bool, Fault> {
        const FAULT: Fault = "behind `(?` stand the flags i, m, s and U, or a name";
        if self.eat('P') && self.peek() != Some('<') {
            return Err(FAULT);
        }
        if self.eat('<') {
            let name = self.until('>').unwrap_or_default();
            let known = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let is_name = !name.is_empty() && name.chars().all(known);
            return if is_name { Ok(true) } else { Err("a group has no good name") };
        }
        let (mut negated, mut lacks_flag) = (false, false);
        loop {
            match self.next() {
                Some('i' | 'm' | 's' | 'U') => lacks_flag = false,
                Some('-') if !negated => (negated, lacks_flag) = (true, true),
                Some(end @ (':' | ')')) if !lacks_flag => return Ok(end == ':'),
                _ => return Err(FAULT),
            }
        }
    }

    /// `n}`, `n,}` or `n,m}`; anything else is no repetition, and not taken.
    /// Without an end the first count stands for it.
    fn counts(&mut self) -> Option<(u32, u32)> {
        let mut ahead = *self;
        let min = ahead.number()?;
        let has_max = ahead.eat(',') && ahead.peek() != Some('}');
        let max = if has_max { ahead.number()? } else { min };
        ahead.eat('}').then(|| {
            *self = ahead;
            (min, max)
        })
    }

    /// Digits without a zero in front.
    fn number(&mut self) -> Option<u32> {
        let digits = self.run(|next| next.is_ascii_digit());
        let is_number = digits == "0" || !digits.is_empty() && !digits.starts_with('0');
        is_number.then(|| digits.parse().unwrap_or(u32::MAX))
    }

    /// Behind `\Q`: what stands before `\E`, or all of the rest. True when that
    /// is anything.
    fn literals(&mut self) -> bool {
        let (literals, rest) = self.0.split_once(r"\E").unwrap_or((self.0, ""));
        self.0 = rest;
        !literals.is_empty()
    }

    /// Behind a backslash: a class such as `\d` or `\pL`, or one character,
    /// which is returned.
    fn escape(&mut self) -> Result<Option<char>, Fault> {
        let octal = |rest: &Self| rest.peek().and_then(|next| next.to_digit(8));
        let code = match self.next().ok_or("a backslash ends it")? {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => return Ok(None),
            'p' | 'P' => return self.unicode_class().map(|()| None),
            'x' => self.hexadecimal(),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            // A single digit would be a reference to a group.
            first @ '0'..='7' if first == '0' || octal(self).is_some() => {
                let mut code = first.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = octal(self) else { break };
                    code = code * 8 + digit;
                    self.next();
                }
                Some(code)
            }
            mark if mark.is_ascii() && !mark.is_ascii_alphanumeric() => Some(u32::from(mark)),
            _ => None,
        };
        // RE2 knows no surrogates, and orders them among the others.
        let code = code.ok_or("RE2 does not know what follows a backslash")?;
        Ok(Some(char::from_u32(code).unwrap_or('\u{d7ff}')))
    }

    /// Behind `\x`: two digits, or any number in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.eat('{') {
            self.until('}')?
        } else {
            let (digits, rest) = self.0.split_at_checked(2)?;
            self.0 = rest;
            digits
        };
        let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| are_digits)?;
        (code <= u32::from(char::MAX)).then_some(code)
    }

    /// Behind `\p`: a category or a script, as one letter or in braces.
    fn unicode_class(&mut self) -> Result<(), Fault> {
        let name = if self.eat('{') {
            self.until('}')
        } else {
            let (letter, rest) = self.0.split_at_checked(1).unwrap_or_default();
            self.0 = rest;
            Some(letter)
        };
        let name = name.unwrap_or_default();
        let name = name.strip_prefix('^').unwrap_or(name);
        let plain = |letter: char| letter.is_ascii_alphabetic() || "_- ".contains(letter);
        let known = |kind: &str| {
            regex_syntax::Parser::new().parse(&format!(r"\p{{{kind}={name}}}")).is_ok()
        };
        let is_known = !name.is_empty() && name.chars().all(plain) && (known("gc") || known("sc"));
        if is_known { Ok(()) } else { Err("there is no such Unicode category or script") }
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<(), Fault> {
        self.eat('^');
        // A bracket that closes nothing yet is one of the characters.
        let mut is_first = true;
        while std::mem::take(&mut is_first) || !self.eat(']') {
            if self.posix_class()? {
                continue;
            }
            let Some(first) = self.member()? else { continue };
            let mut ahead = *self;
            if ahead.eat('-') && ahead.peek().is_some_and(|next| next != ']') {
                *self = ahead;
                let last = self.member()?;
                if last.is_none_or(|last| last < first) {
                    return Err("a range in a class ends before it begins");
                }
            }
        }
        Ok(())
    }

    fn member(&mut self) -> Result<Option<char>, Fault> {
        match self.next().ok_or("a class is not closed")? {
            '\\' => self.escape(),
            next => Ok(Some(next)),
        }
    }

    /// `[:alpha:]`, where one stands.
    fn posix_class(&mut self) -> Result<bool, Fault> {
        let Some(behind) = self.0.strip_prefix("[:") else { return Ok(false) };
        let mut ahead = Self(behind);
        ahead.eat('^');
        let name = ahead.run(|next| next.is_ascii_alphanumeric());
        if !(ahead.eat(':') && ahead.eat(']')) {
            return Ok(false);
        }
        *self = ahead;
        if POSIX_CLASSES.contains(&name) { Ok(true) } else { Err("there is no such class") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_taken() {
        for good in [
            "",
            "/public.*",
            "GET|POST",
            "^/a/[0-9]+$",
            "(?i)get",
            "(?i-s:get)?",
            "(?P<name>a)(?<other>b)",
            "/(a|b){1,3}",
            "[a-z-]+",
            "a|",
            "()*",
            "(a*)*",
            "a*?b+?c??d{2}?",
            "a*(?i)*",
            "^*",
            // Braces that count nothing are characters.
            "/users/{id}",
            "a{2",
            "x{,3}",
            "x{01}",
            "{",
            "a{1000}",
            "(a{10}){100}",
            // Escapes.
            r"\Qa.(b\E+",
            r"\Q(",
            r"\123",
            r"\0",
            r"\x41\x{10FFFF}\_\-\/\a\f\n\r\t\v",
            r"\A\b\B\z\d\D\s\S\w\W",
            r"\pL\PN\p{Greek}\p{^Lu}\p{Uppercase_Letter}",
            // Classes.
            "[[a]",
            "[]a]",
            "[^]a]",
            "[a&&b]",
            "x~~[a-c]",
            "[[:alpha:][:^digit:]-]",
            "[[:alpha]",
            r"[\d-z\]\pL\x20-\x7e]",
            "[é-ü]",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for bad in [
            "(",
            ")",
            "(a",
            "a)",
            "(?",
            "(?i",
            "(?=x)",
            "(?!x)",
            "(?<!x)y",
            "(?x) a",
            "(?u)a",
            "(?i-)",
            "(?--i)",
            "(?P=a)",
            "(?P<>a)",
            "(?P<a b>c)",
            "(?P<a",
            "(?i)*",
            "*",
            "a|*",
            "(*)",
            r"\Q\E*",
            // Repetitions.
            "/api/**",
            "a++",
            "a?*",
            "a*??",
            "a{2}{3}",
            "a{2}*",
            "{2}",
            "a{3,1}",
            "a{1001}",
            "a{1,1001}",
            "a{99999999999}",
            "(a{1000}){1000}",
            "((a{10}){10}){11}",
            "(a|b{20}){51}",
            // Escapes.
            r"(a)\1",
            r"\8",
            r"\u1234",
            r"\C",
            r"\q",
            r"\é",
            r"\",
            r"\xg0",
            r"\x4",
            r"\x{}",
            r"\x{110000}",
            r"\p{Alphabetic}",
            r"\p{sc=Greek}",
            r"\p{Nothing}",
            r"\p",
            r"\p{L",
            r"\pX",
            r"\E",
            // Classes.
            "[",
            "[a",
            "[]",
            "[^]",
            "[z-a]",
            "[a-Z]",
            r"[a-\d]",
            r"[\b]",
            r"[\Qa\E]",
            "[[:none:]]",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"(".repeat(5000)).is_err());
        assert!(check(&format!("{}{}", "(".repeat(5000), ")".repeat(5000))).is_err());
    }
}

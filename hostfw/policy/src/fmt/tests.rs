//! The canonical form case by case, and of whatever an author may write.

use proptest::prelude::*;

use super::*;

/// Formats a text twice: the second time changes nothing.
#[track_caller]
fn formatted(text: &str) -> String {
    let once = format(&source(text)).unwrap_or_else(|complaints| panic!("{complaints:?}\n{text}"));
    let twice = format(&source(&once));
    assert_eq!(twice.as_deref(), Ok(once.as_str()), "of\n{text}");
    once
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(formatted(text), *expected, "of\n{text}");
    }
}

fn source(text: &str) -> Source {
    Source::new("p.yaml", text)
}

#[test]
fn blocks_are_indented_by_two_and_the_lists_of_keys_are_not() {
    check(&[
        ("a:\n  - 1\n  - 2\n", "a:\n- 1\n- 2\n"),
        ("a:\n    b:\n        c: d\n", "a:\n  b:\n    c: d\n"),
        ("-   a: 1\n    b: 2\n-\n    c: 3\n", "- a: 1\n  b: 2\n- c: 3\n"),
        ("- - a\n  -   b\n- -  - c\n", "- - a\n  - b\n- - - c\n"),
        ("a :   1\n\"b\"  :\tc   \n", "a: 1\n\"b\": c\n"),
        ("? a\n: b\n? c\n", "a: b\nc:\n"),
        ("a:\n- b:\n  - c\n  -\n- \n", "a:\n- b:\n  - c\n  -\n-\n"),
        ("a: 1\r\nb:\r\n- x\r\n", "a: 1\nb:\n- x\n"),
        ("\u{feff}a: 1", "a: 1\n"),
        ("", ""),
        (" \n\n", ""),
    ]);
}

#[test]
fn the_keys_of_an_object_have_their_order_and_others_keep_theirs() {
    check(&[
        (
            "status: x\nspec: {}\nkind: K\nmetadata:\n  name: n\n  kind: b\n  apiVersion: a\n\
             apiVersion: v1\nalso: y\n",
            "apiVersion: v1\nkind: K\nmetadata:\n  name: n\n  kind: b\n  apiVersion: a\n\
             spec: {}\nstatus: x\nalso: y\n",
        ),
        ("{kind: K, apiVersion: v1}\n", "{apiVersion: v1, kind: K}\n"),
        (
            "# Title\n\n# the kind\nkind: K # k\n\n# the version\napiVersion: v1\n# end\n",
            "# Title\n\n# the kind\n# the version\napiVersion: v1\nkind: K # k\n# end\n",
        ),
        ("# Title\n\nkind: K\napiVersion: v1\n", "# Title\n\napiVersion: v1\nkind: K\n"),
        ("# Title\nkind: K\n\napiVersion: v1\n", "# Title\napiVersion: v1\nkind: K\n"),
        // An alias must stay behind its anchor.
        ("spec: &a 1\nkind: *a\n", "spec: &a 1\nkind: *a\n"),
    ]);
}

#[test]
fn short_flow_collections_stay_and_long_ones_become_blocks() {
    let long = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 169.254.0.0/16";
    let block = format!("- {}\n", long.replace(", ", "\n- "));
    check(&[
        ("a: [ 1,2 ,3, ]\n", "a: [1, 2, 3]\n"),
        ("- { port: \"22\" ,protocol: TCP }\n", "- {port: \"22\", protocol: TCP}\n"),
        ("a: [\n  [b],\n  {c: [d]}\n]\n", "a: [[b], {c: [d]}]\n"),
        ("a: [ ]\nb: { }\nc: {\"d\":1}\n", "a: []\nb: {}\nc: {\"d\": 1}\n"),
        (&format!("abcdef: [{long}]\n"), &format!("abcdef:\n{block}")),
        (&format!("a: [{long}]\n"), &format!("a: [{long}]\n")),
        (
            &format!("a: [{{bcde: [{long}]}}]\n"),
            &format!("a:\n- bcde:\n{}", block.replace("- ", "  - ")),
        ),
        // There is no good way to write nothing on one line.
        ("a: {b: , c}\n", "a:\n  b:\n  c:\n"),
        ("a: [b: c]\n", "a: [{b: c}]\n"),
        ("a: {b: c\n  d}\n", "a:\n  b: c\n    d\n"),
        // Comments need lines.
        (
            "a: [ # one\n  b, # two\n  # three\n  c\n  # four\n] # five\n",
            "# five\na: # one\n- b # two\n# three\n- c\n# four\n",
        ),
        ("a: [b, c] # d\n", "a: [b, c] # d\n"),
        ("a: [] # d\nb:\n  [ # e\n  ]\n", "a: [] # d\nb: [] # e\n"),
        ("[\n [\n  # c\n  a]]\n", "# c\n[[a]]\n"),
    ]);
}

#[test]
fn scalars_are_written_as_they_were() {
    check(&[
        ("a: 080\nb: yes\nc: ~\nd: 'x'\ne: \"y\"\n", "a: 080\nb: yes\nc: ~\nd: \"x\"\ne: \"y\"\n"),
        ("a: 'it''s'\nb: 'say \"x\"'\nc: '\\d'\n", "a: \"it's\"\nb: 'say \"x\"'\nc: '\\d'\n"),
        ("a: \"\\\"it's\\\" \\\\d\"\n", "a: '\"it''s\" \\d'\n"),
        ("a: \"\\t\\\"\\u200b\"\nb: \"\\/\"\n", "a: \"\\t\\\"\\u200b\"\nb: \"\\/\"\n"),
        ("'a b': ''\n", "\"a b\": \"\"\n"),
        ("a: b\n     c\n\n     d\ne: f\n", "a: b\n  c\n\n  d\ne: f\n"),
        ("a: 'b  \n     c  '\n", "a: \"b\n  c  \"\n"),
        ("a: \"b \\\n     c\\\n\n   \\  d\"\n", "a: \"b \\\n  c\\\n\n  \\  d\"\n"),
        ("a: \"b\\  \n  c\"\n", "a: \"b\\ \n  c\"\n"),
        ("a:\n  b\nc:\n  - \n    d\n", "a: b\nc:\n- d\n"),
        ("just text\n", "just text\n"),
        ("\"a\n   b\"\n", "\"a\n  b\"\n"),
        ("a: !!str   80\nb: !!map\n  c: !!seq [ ]\n", "a: !!str 80\nb: !!map\n  c: !!seq []\n"),
    ]);
}

#[test]
fn block_scalars_keep_their_style_and_content() {
    check(&[
        ("a: |\n     x\n       y\n\n     z\n\n\nb: c\n", "a: |\n  x\n    y\n\n  z\n\nb: c\n"),
        ("a: >-   # why\n x\n y\n", "a: >- # why\n  x\n  y\n"),
        ("- |+\n x\n\n\n- b\n", "- |+\n  x\n\n\n- b\n"),
        ("- a: |+\n\n\n\n  b: c\n", "- a: |+\n\n\n\n  b: c\n"),
        ("a:\n  - b: |2\n        x\n      y\n", "a:\n- b: |2\n      x\n    y\n"),
        ("a: |1\n x\n", "a: |\n  x\n"),
        ("a: |2\n     \nb: c\n", "a: |2\n     \n\nb: c\n"),
        ("a: |\n\n\n   x\n  # comment\nb: c\n", "a: |\n\n\n  x\n# comment\nb: c\n"),
        ("a: |\n  x\n  # text\n", "a: |\n  x\n  # text\n"),
        ("a: |-\nb: >\n", "a: |-\nb: >\n"),
        ("a: |\n  x", "a: |\n  x\n"),
        ("a: &x  !!str  |\n  x\nb: # | >\n\n  >\n  y\n", "a: &x !!str |\n  x\nb: > # | >\n  y\n"),
        ("--- |\n x\n", "|\n  x\n"),
        ("--- >+2\n   x\n", ">2+\n   x\n"),
        ("kind: |+\n  x\n\n# c\napiVersion: y\n", "# c\napiVersion: y\nkind: |+\n  x\n\n"),
    ]);
}

#[test]
fn documents_are_divided_by_three_dashes() {
    check(&[
        ("---\na: 1\n...\n---\nb: 2\n---\n", "a: 1\n---\nb: 2\n"),
        ("# licence\n---\na: 1\n", "# licence\n\na: 1\n"),
        ("--- # one\na: 1\n--- # two\n\nb: 2\n\n", "# one\na: 1\n--- # two\nb: 2\n"),
        (
            "a: 1\n\n# end of a\n---\n# begin of b\nb: 2\n",
            "a: 1\n\n# end of a\n---\n# begin of b\nb: 2\n",
        ),
        ("---\n# nothing\n---\na: 1\n---\n# nothing more\n", "# nothing\n\na: 1\n# nothing more\n"),
        ("a: 1\n... # end\n# next\nb: 2\n", "a: 1\n---\n# end\n# next\nb: 2\n"),
        ("# only\n\n\n# comments\n", "# only\n\n# comments\n"),
        ("--- {a: 1}\n--- ~\n--- b\n", "{a: 1}\n---\n~\n---\nb\n"),
    ]);
}

#[test]
fn comments_stay_where_they_are() {
    let many = "  # out of force\n".repeat(1000);
    let few = many.replace("  #", "#");
    check(&[
        (&format!("a:\n{many}  - b\n{many}c: d\n"), &format!("a:\n{few}- b\n{few}c: d\n")),
        (
            "#top\na:   #behind a key\n    # above an item\n  - b # behind an item\n  # end of list\n# above c\nc: d     # behind a value\n# end\n",
            "#top\na: #behind a key\n# above an item\n- b # behind an item\n# end of list\n# above c\nc: d # behind a value\n# end\n",
        ),
        (
            "a:\n- b\n# above c\nc:\n- d\n  # end of c\n",
            "a:\n- b\n# above c\nc:\n- d\n# end of c\n",
        ),
        ("a:\n  - b\n# end\n", "a:\n- b\n# end\n"),
        (
            "a:\n  b:\n    c: 1\n    # of c\n  # of b\n# of a\nd: 2\n",
            "a:\n  b:\n    c: 1\n    # of c\n  # of b\n# of a\nd: 2\n",
        ),
        (
            "a:\n    b:\n        - c\n      # above d\n    d: 1\n",
            "a:\n  b:\n  - c\n  # above d\n  d: 1\n",
        ),
        (
            "ingress:\n  # - fromCIDR: x\n\n  # - y\negress: []\n",
            "ingress:\n  # - fromCIDR: x\n\n  # - y\negress: []\n",
        ),
        ("a:\n  # above\n  b\n", "# above\na: b\n"),
        ("a: # one\n  # two\n  b # three\n", "# two\n# three\na: b # one\n"),
        (
            "- # one\n  # two\n  a: 1\n-\n  # three\n  - b\n",
            "- # one\n  # two\n  a: 1\n# three\n- - b\n",
        ),
        ("-\n  -\n    # c\n    a: 1\n", "# c\n- - a: 1\n"),
        ("a:\n  -\n  # below\n  - # behind\n", "a:\n-\n# below\n- # behind\n"),
        ("a: &x # c\n  b: 1\n", "a: &x # c\n  b: 1\n"),
        (
            "a:\n  - b: 1\n\n    # c\n    d: 2\n    # e\n\n  # f\n  - g\n",
            "a:\n- b: 1\n\n  # c\n  d: 2\n  # e\n\n# f\n- g\n",
        ),
        // What closes a list lines up with its dashes, as an item taken out of
        // force does.
        (
            "a:\n  b:\n    - c: 1\n      # of c\n    # - d: 1\n  # of b\n# of a\n",
            "a:\n  b:\n  - c: 1\n    # of c\n  # - d: 1\n  # of b\n# of a\n",
        ),
        ("a: 'x' #c  \t\n", "a: \"x\" #c\n"),
    ]);
}

#[test]
fn at_most_one_blank_line_stands_between_things() {
    check(&[
        (
            "\n\na:\n\n  b: 1\n\n\n\n  c: 2\n \t\n# d\n\n\ne: 3\n\n\n",
            "a:\n  b: 1\n\n  c: 2\n\n# d\n\ne: 3\n",
        ),
        ("a:\n\n  - b: 1\n\n    c: 2\n\n  - d\n", "a:\n- b: 1\n\n  c: 2\n\n- d\n"),
        ("a:\n  -\n\n    b: 1\n  -\n\n    # c\n    d: 1\n", "a:\n- b: 1\n\n# c\n- d: 1\n"),
    ]);
}

#[test]
fn anchors_and_aliases_are_kept() {
    check(&[
        (
            "a: &x\n  k: v\nb:\n    <<: *x\nc: &y [ 1 ]\nd: [ *y,*x ]\ne: &z\n",
            "a: &x\n  k: v\nb:\n  <<: *x\nc: &y [1]\nd: [*y, *x]\ne: &z\n",
        ),
        ("- &x a: 1\n- &y\n  b: 2\n- &z\n  - c\n", "- &x a: 1\n- &y\n  b: 2\n- &z\n  - c\n"),
        ("&a\nb: 1\n", "&a\nb: 1\n"),
    ]);
}

#[test]
fn what_has_no_canonical_form_is_refused() {
    for (text, code, at) in [
        ("%YAML 1.2\n---\na: 1\n", "not-formatted", (1, 1)),
        ("? |\n  a\n: b\n", "not-formatted", (2, 3)),
        (": b\n", "not-formatted", (1, 1)),
        ("a: [b\n", "yaml-syntax", (1, 4)),
        ("a: 1\na: 2\n", "duplicate-key", (2, 1)),
    ] {
        let complaints = format(&source(text)).expect_err(text);
        let found = (complaints[0].line, complaints[0].column);
        assert_eq!((complaints.len(), complaints[0].code, found), (1, code, at), "{text}");
        assert!(!complaints[0].what.contains("internal"), "{complaints:?}");
    }
}

#[test]
fn a_form_with_another_content_is_never_returned() {
    let before = |text: &str| text::documents(&mut Report::new(&source(text)));
    let said = |text: &str| said(&Tokens::of(text).expect("tokens"));
    let refused = |old: &str, new: &str| {
        let fault = super::check("p.yaml", before(old), &said(old), new).expect_err(new);
        assert!(fault.what.starts_with("internal error"), "{fault:?}");
    };
    refused("a: 1\n", "a: 2\n");
    refused("a: 1\n", "a: \"1\"\n");
    refused("a: 1\n", "a: 1\n---\nb: 1\n");
    refused("a: [1, 2]\n", "a: [2, 1]\n");
    refused("a: {b: 1, c: 2}\n", "a: {c: 2, b: 1}\n");
    refused("a: 1 # c\n", "a: 1\n");
    refused("a: 1 # c\n# c\n", "a: 1 # c\n");
    refused("a: 1\n", "a: [\n");
    let moved = super::check(
        "p.yaml",
        before("a: 1 # c\nb: 2\n"),
        &["# c".to_owned()],
        "# c\nb: 2\na: 1\n",
    );
    assert!(moved.is_ok(), "{moved:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_author_writes_keeps_its_content_and_its_comments(
        choices in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let written = Author::new(choices).write();
        // The author writes nothing that the reader refuses; `format` itself
        // compares content and comments.
        let once = formatted(&written);
        prop_assert!(!once.lines().any(|line| line.ends_with(' ')), "{once}");
        prop_assert!(!once.contains("\n\n\n") && !once.ends_with("\n\n"), "{once}");
        prop_assert_eq!(
            said(&Tokens::of(&written).expect("tokens")),
            said(&Tokens::of(&once).expect("tokens"))
        );
    }
}

const KEYS: [&str; 5] = ["kind", "a b", "spec", "apiVersion", "status"];

/// Writes a tree with comments, each choice of style taken from a list.
struct Author {
    choices: std::vec::IntoIter<u8>,
    text: String,
    n_comments: usize,
}

impl Author {
    fn new(choices: Vec<u8>) -> Self {
        Self { choices: choices.into_iter(), text: String::new(), n_comments: 0 }
    }

    fn write(mut self) -> String {
        loop {
            self.block(0, 0);
            if self.choose(3) != 0 || self.choices.len() == 0 {
                return self.text;
            }
            self.text.push_str("---");
            self.end();
        }
    }

    /// A number below the limit; zero, the plainest choice, once none are left.
    fn choose(&mut self, limit: usize) -> usize {
        self.choices.next().map_or(0, usize::from) % limit
    }

    fn block(&mut self, indent: usize, depth: usize) {
        let is_map = depth == 0 || self.choose(2) == 0;
        let first = self.choose(KEYS.len());
        for index in 0..=self.choose(KEYS.len() - 1) {
            self.between(indent);
            self.text.extend(std::iter::repeat_n(' ', indent));
            if is_map {
                let key = KEYS[(first + index) % KEYS.len()];
                let quote = ["", "'", "\""][self.choose(3)];
                self.text += &format!("{quote}{key}{quote}:");
            } else {
                self.text.push('-');
            }
            self.value(indent, depth, is_map);
        }
    }

    fn value(&mut self, indent: usize, depth: usize, is_map: bool) {
        let inner = indent + 1 + self.choose(4);
        match self.choose(if depth < 4 { 9 } else { 6 }) {
            0 => {
                let scalar = [" x", " 'it''s'", " \"\\\"\"", " 080", ""][self.choose(5)];
                self.text.push_str(scalar);
                self.end();
            }
            1 => {
                self.text.push(' ');
                self.flow(0, inner);
                self.end();
            }
            2 => {
                let header = [" |", " >-"][self.choose(2)];
                self.text.push_str(header);
                self.end();
                let pad = " ".repeat(inner);
                self.text += &format!("{pad}one\n{pad}  two\n\n{pad}# text\n");
            }
            3 => {
                let pad = " ".repeat(inner);
                self.text += &format!(" plain # {}\n", self.n_comments);
                self.n_comments += 1;
                self.text += &format!("{pad}# {}\n", self.n_comments);
                self.n_comments += 1;
            }
            4 => {
                let pad = " ".repeat(inner);
                self.text += &format!(" \"of\n\n{pad}lines\"");
                self.end();
            }
            5 => self.end(),
            6 if !is_map => {
                // Begun on the line of the dash, which is one column wide.
                self.text.push_str("   - x");
                self.end();
                self.between(indent + 4);
                self.text += &format!("{}- y\n", " ".repeat(indent + 4));
            }
            _ => {
                self.end();
                self.block(inner, depth + 1);
            }
        }
    }

    fn flow(&mut self, depth: usize, indent: usize) {
        let is_map = self.choose(2) == 0;
        self.text.push(if is_map { '{' } else { '[' });
        for index in 0..self.choose(5) {
            if is_map {
                self.text += &format!("key{index} : ");
            }
            match self.choose(if depth < 3 { 4 } else { 2 }) {
                0 => {
                    let n_words = 1 + self.choose(3);
                    self.text += &"value".repeat(n_words);
                }
                1 => self.text.push_str("\"q\""),
                _ => self.flow(depth + 1, indent),
            }
            self.text.push(',');
            if self.choose(4) == 0 {
                self.end();
                self.text.extend(std::iter::repeat_n(' ', indent));
            }
        }
        self.text.push(if is_map { '}' } else { ']' });
    }

    /// The end of a line, maybe with a comment.
    fn end(&mut self) {
        if self.choose(3) == 1 {
            self.text += &format!("  # {}", self.n_comments);
            self.n_comments += 1;
        }
        self.text.push('\n');
    }

    /// Blank lines and comments above a line, wherever they begin.
    fn between(&mut self, indent: usize) {
        for _ in 0..self.choose(3) {
            if self.choose(2) == 0 {
                self.text.push('\n');
            } else {
                let pad = " ".repeat((indent + self.choose(5)).saturating_sub(2));
                self.text += &format!("{pad}#{}\n", self.n_comments);
                self.n_comments += 1;
            }
        }
    }
}

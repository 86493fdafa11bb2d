//! Reads a file as a tree from the events of the YAML parser. The reader that
//! bounds nesting and size has read the same text before.

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag};

use super::{
    Refusal,
    leaf::{self, Leaf},
    tokens::{Tokens, position, refusal},
    tree::{Collection, Document, Kind, Node, Properties, Slot, Stream},
};

/// A key that is longer could stand in a file only with a question mark.
const MAX_KEY: usize = 1000;

/// The documents of a text, without its comments.
pub(super) fn read(text: &str, tokens: &Tokens) -> Result<Stream, Refusal> {
    let mut options = Options::default();
    options.disallow_directives = true;
    options.emit_anchor_events = true;
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let dashes = tokens.dashes.iter();
    let mut reader = Reader { text, events, dashes, last_end: 0, has_alias: false };
    let mut stream = Stream::default();
    while let Some((event, span)) = reader.next()? {
        let Event::DocumentStart(is_explicit, _) = event else { continue };
        let range = range(&span);
        let Some((event, span)) = reader.next()? else { break };
        reader.has_alias = false;
        let begin = if is_explicit {
            reader.last_end = range.end;
            range.start
        } else {
            let n_ends = tokens.ends.partition_point(|end| *end <= range.start);
            n_ends.checked_sub(1).and_then(|last| tokens.ends.get(last)).copied().unwrap_or(0)
        };
        let value = reader.node(event, &span)?;
        if matches!(value, Node { kind: Kind::Empty, properties: None, .. }) {
            continue;
        }
        stream.documents.push(Document {
            begin,
            marker_end: is_explicit.then_some(range.end),
            has_alias: reader.has_alias,
            behind: None,
            head: Vec::new(),
            root: Slot::new(value.begin, None, None, value),
            foot: Vec::new(),
        });
    }
    Ok(stream)
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    dashes: std::slice::Iter<'t, usize>,
    /// Where the last token ended that may stand before a block scalar.
    last_end: usize,
    has_alias: bool,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Refusal> {
        self.events.next().transpose().map_err(|error| refusal(&error))
    }

    /// A node whose first event has been taken.
    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, Refusal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let properties = self.properties(anchor, tag.as_deref(), span)?;
                Ok(self.scalar(&text, style, properties, span))
            }
            Event::Alias(_) => {
                self.has_alias = true;
                let written = span.slice(self.text).unwrap_or_default();
                Ok(self.leaf(Leaf::alias(written), None, span))
            }
            Event::SequenceStart(style, anchor, tag) => {
                let properties = self.properties(anchor, tag.as_deref(), span)?;
                self.collection(false, style, properties, span)
            }
            Event::MappingStart(style, anchor, tag) => {
                let properties = self.properties(anchor, tag.as_deref(), span)?;
                self.collection(true, style, properties, span)
            }
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | Event::Comment(..)
            | _ => Err(unexpected(span)),
        }
    }

    /// Anchor and tag, in this order. The event of the anchor stands behind
    /// that of its node.
    fn properties(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<Option<(usize, Properties)>, Refusal> {
        let mut spans = Vec::new();
        if anchor != 0 {
            let Some((_, span)) = self.next()? else { return Err(unexpected(span)) };
            spans.push(span);
        }
        if tag.is_some() {
            spans.push(span.tag_span().ok_or_else(|| unexpected(span))?);
        }
        let words: Vec<&str> = spans.iter().filter_map(|span| span.slice(self.text)).collect();
        let text = words.join(" ");
        let begin = spans.iter().map(|span| range(span).start).min();
        let end = spans.iter().map(|span| range(span).end).max();
        Ok(begin.zip(end).map(|(begin, end)| (begin, Properties { text, end })))
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        properties: Option<(usize, Properties)>,
        span: &Span,
    ) -> Node {
        let written = span.slice(self.text).unwrap_or_default();
        match style {
            ScalarStyle::Plain if written.is_empty() => {
                let after = properties.as_ref().map_or(0, |(_, properties)| properties.end);
                let at = range(span).start.max(after);
                let begin = properties.as_ref().map_or(at, |(begin, _)| *begin);
                let properties = properties.map(|(_, properties)| properties);
                Node { begin, content: at, end: at, properties, kind: Kind::Empty }
            }
            ScalarStyle::Plain => self.leaf(Leaf::plain(text, written), properties, span),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                self.leaf(Leaf::quoted(text, written), properties, span)
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                // The span of the event begins behind the header.
                let after = properties.as_ref().map_or(0, |(_, properties)| properties.end);
                let after = leaf::header(self.text, self.last_end.max(after));
                let written = self.text.get(after..range(span).end).unwrap_or_default();
                let mut node = self.leaf(Leaf::block(text, written), properties, span);
                node.begin = node.begin.min(after);
                node.content = after;
                node
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf, properties: Option<(usize, Properties)>, span: &Span) -> Node {
        let range = range(span);
        self.last_end = range.end;
        let begin = properties.as_ref().map_or(range.start, |(begin, _)| *begin);
        let properties = properties.map(|(_, properties)| properties);
        Node { begin, content: range.start, end: range.end, properties, kind: Kind::Leaf(leaf) }
    }

    fn collection(
        &mut self,
        is_map: bool,
        style: StructureStyle,
        properties: Option<(usize, Properties)>,
        span: &Span,
    ) -> Result<Node, Refusal> {
        let is_flow = style == StructureStyle::Flow;
        self.last_end = self.last_end.max(range(span).end);
        let mut slots = Vec::new();
        let end = loop {
            let Some((event, span)) = self.next()? else { return Err(unexpected(span)) };
            if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
                break range(&span).end;
            }
            slots.push(match (is_map, is_flow) {
                (true, _) => self.entry(event, &span)?,
                (false, true) => {
                    let value = self.node(event, &span)?;
                    Slot::new(value.begin, None, None, value)
                }
                (false, false) => {
                    let dash = *self.dashes.next().ok_or_else(|| unexpected(&span))?;
                    self.last_end = dash + 1;
                    let value = self.node(event, &span)?;
                    Slot::new(dash, Some(dash + 1), None, value)
                }
            });
        };
        if is_flow {
            self.last_end = end;
        }
        let first = slots.first().map(|slot| slot.begin);
        let content = if is_flow { range(span).start } else { first.unwrap_or(end) };
        let begin = properties.as_ref().map_or(content, |(begin, _)| *begin);
        let properties = properties.map(|(_, properties)| properties);
        let kind = Kind::Collection(Collection { is_map, is_flow, slots, foot: Vec::new() });
        Ok(Node { begin, content, end, properties, kind })
    }

    fn entry(&mut self, event: Event<'t>, span: &Span) -> Result<Slot, Refusal> {
        let key = self.node(event, span)?;
        let is_short =
            |leaf: &Leaf| leaf.only_line().is_some_and(|line| line.chars().count() <= MAX_KEY);
        if !matches!(&key.kind, Kind::Leaf(leaf) if is_short(leaf)) {
            return Err(Refusal {
                at: position(&span.start),
                what: "the canonical form has no place for this key".to_owned(),
                instead: "a key of one line, up to a thousand characters",
            });
        }
        let Some((event, span)) = self.next()? else { return Err(unexpected(span)) };
        let value = self.node(event, &span)?;
        Ok(Slot::new(key.begin, Some(key.end), Some(key), value))
    }
}

fn range(span: &Span) -> std::ops::Range<usize> {
    span.byte_range().unwrap_or_default()
}

/// Events in an order that the parser does not have.
fn unexpected(span: &Span) -> Refusal {
    Refusal {
        at: position(&span.start),
        what: "internal error: the parser's events do not match".to_owned(),
        instead: "the file as it is, and please report it",
    }
}

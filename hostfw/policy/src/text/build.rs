//! Builds trees from the events of the YAML parser, and stops what multiplies:
//! nesting, aliases, documents. It knows the syntax of YAML and nothing of what
//! stands in a file.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, Tag};

use super::{Entry, MAX_NODES, Node, Position, Value, number, scalar};

/// Nothing that people write is nested deeper, nor what programs write for them.
const MAX_DEPTH: usize = 48;
/// Documents of one file.
const MAX_DOCUMENTS: usize = 100_000;
/// Nodes that all aliases of a file may stand for.
const MAX_REPLAYED: usize = 50_000;
/// Entries of a mapping up to which keys are compared one by one.
const FEW: usize = 16;

/// Why a file is no YAML, or not one that is read.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Position,
    pub(super) kind: FaultKind,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum FaultKind {
    /// It asks for more than a file may.
    Limit(String),
    /// A key stands twice in one mapping.
    Duplicate(String),
    /// It is no YAML.
    Syntax(String),
}

/// Every document of a text, and how many nodes were read.
pub(super) fn documents(text: &str) -> Result<(Vec<Node>, usize), Fault> {
    let mut builder = Builder::default();
    // The parser would refuse more than a few comments in a row.
    let mut options = Options::default();
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, &span)?,
            Err(error) => {
                let what = error.info();
                // The parser bounds nesting too, and looks ahead of its events.
                let is_limit = ["limit", "depth"].iter().any(|word| what.contains(word));
                let kind = if is_limit { FaultKind::Limit(what) } else { FaultKind::Syntax(what) };
                return Err(fault(position(error.marker()), kind));
            }
        }
    }
    Ok((builder.documents, builder.n_nodes))
}

/// What has been read so far.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Anchored nodes of this document.
    anchors: HashMap<usize, Anchored>,
    n_nodes: usize,
    n_replayed: usize,
    n_documents: usize,
}

/// A node that aliases may stand for.
struct Anchored {
    node: Node,
    n_nodes: usize,
    height: usize,
}

/// A collection that has not ended.
struct Open {
    at: Position,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The keys, once there are many.
        keys: HashSet<String>,
        /// A key whose value comes next, and whether it was written plain.
        key: Option<(Position, String, bool)>,
        /// Mappings to be merged into this one.
        merged: Vec<Node>,
    },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, 1)?;
                let is_plain = matches!(style, ScalarStyle::Plain);
                let value = scalar_value(&text, is_plain, tag.as_deref(), at)?;
                self.finish(Node { at, value }, Some((&text, is_plain)), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_collection_tag(tag.as_deref(), "seq", at)?;
                self.begin(at, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                check_collection_tag(tag.as_deref(), "map", at)?;
                let kind = OpenKind::Map {
                    entries: Vec::new(),
                    keys: HashSet::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.begin(at, anchor, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, kind }) => {
                    let value = match kind {
                        OpenKind::List(items) => Value::List(items),
                        OpenKind::Map { entries, merged, .. } => Value::Map(merge(entries, merged)),
                    };
                    self.finish(Node { at, value }, None, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.n_documents += 1;
                if self.n_documents > MAX_DOCUMENTS {
                    return Err(fault(at, FaultKind::Limit("too many documents".to_owned())));
                }
                Ok(())
            }
            // Comments, and whatever else is no content.
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | Event::Comment(..)
            | _ => Ok(()),
        }
    }

    fn begin(&mut self, at: Position, anchor: usize, kind: OpenKind) -> Result<(), Fault> {
        self.count(at, 1)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(fault(at, FaultKind::Limit("the nesting is too deep".to_owned())));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Fault> {
        let Some(Anchored { node, n_nodes, height }) = self.anchors.get(&anchor) else {
            let what = "an alias stands for something that contains it".to_owned();
            return Err(fault(at, FaultKind::Syntax(what)));
        };
        let (n_nodes, height) = (*n_nodes, *height);
        self.n_replayed = self.n_replayed.saturating_add(n_nodes);
        if self.n_replayed > MAX_REPLAYED {
            return Err(fault(at, FaultKind::Limit("aliases stand for too many nodes".to_owned())));
        }
        if self.open.len() + height > MAX_DEPTH {
            return Err(fault(at, FaultKind::Limit("the nesting is too deep".to_owned())));
        }
        let node = Node { at, ..node.clone() };
        self.count(at, n_nodes)?;
        let text = match &node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Null | Value::Truth(_) | Value::List(_) | Value::Map(_) => None,
        };
        self.finish(node, text.as_deref().map(|text| (text, false)), 0)
    }

    fn count(&mut self, at: Position, n_nodes: usize) -> Result<(), Fault> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        if self.n_nodes > MAX_NODES {
            return Err(fault(at, FaultKind::Limit("too many nodes".to_owned())));
        }
        Ok(())
    }

    /// Puts a node where it belongs. `text` is a scalar as it was written, and
    /// whether it was plain.
    fn finish(
        &mut self,
        node: Node,
        text: Option<(&str, bool)>,
        anchor: usize,
    ) -> Result<(), Fault> {
        if anchor != 0 {
            let (n_nodes, height) = measure(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), n_nodes, height });
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.documents.push(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, keys, key, merged }) => match key.take() {
                None => {
                    let Some((text, is_plain)) = text else {
                        let what = "a key must be text".to_owned();
                        return Err(fault(node.at, FaultKind::Syntax(what)));
                    };
                    *key = Some((node.at, text.to_owned(), is_plain));
                }
                Some((_, text, true)) if text == "<<" => {
                    let maps = match node.value {
                        Value::List(items) => items,
                        Value::Map(_)
                        | Value::Null
                        | Value::Text(_)
                        | Value::Number(_)
                        | Value::Truth(_) => vec![node],
                    };
                    if let Some(other) = maps.iter().find(|map| !matches!(map.value, Value::Map(_)))
                    {
                        let what = "what is merged must be a mapping".to_owned();
                        return Err(fault(other.at, FaultKind::Syntax(what)));
                    }
                    merged.extend(maps);
                }
                Some((at, text, _)) => {
                    if is_known(entries, keys, &text) {
                        return Err(fault(at, FaultKind::Duplicate(text)));
                    }
                    entries.push(Entry { at, key: text, value: node });
                }
            },
        }
        Ok(())
    }
}

/// Whether a mapping has a key already; remembers it where there are many.
fn is_known(entries: &[Entry], keys: &mut HashSet<String>, key: &str) -> bool {
    if entries.len() < FEW {
        return entries.iter().any(|entry| entry.key == key);
    }
    if keys.is_empty() {
        keys.extend(entries.iter().map(|entry| entry.key.clone()));
    }
    !keys.insert(key.to_owned())
}

/// The entries of a mapping, and behind them those of the merged ones that it
/// does not have itself (YAML's merge key `<<`).
fn merge(mut entries: Vec<Entry>, merged: Vec<Node>) -> Vec<Entry> {
    for node in merged {
        let Value::Map(others) = node.value else { continue };
        for other in others {
            if !entries.iter().any(|entry| entry.key == other.key) {
                entries.push(other);
            }
        }
    }
    entries
}

/// How many nodes, and how deep.
fn measure(node: &Node) -> (usize, usize) {
    let below: (usize, usize) = match &node.value {
        Value::Null | Value::Text(_) | Value::Number(_) | Value::Truth(_) => return (1, 0),
        Value::List(items) => deepest(items.iter()),
        Value::Map(entries) => deepest(entries.iter().map(|entry| &entry.value)),
    };
    (below.0 + 1, below.1 + 1)
}

fn deepest<'n>(nodes: impl Iterator<Item = &'n Node>) -> (usize, usize) {
    nodes.map(measure).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1.max(one.1)))
}

fn scalar_value(
    text: &str,
    is_plain: bool,
    tag: Option<&Tag>,
    at: Position,
) -> Result<Value, Fault> {
    match tag {
        None if is_plain => Ok(scalar::resolved(text)),
        None => Ok(Value::Text(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(Value::Text(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema() => Ok(scalar::resolved(text)),
        Some(_) => Err(fault(at, FaultKind::Syntax("tags of one's own mean nothing".to_owned()))),
    }
}

fn check_collection_tag(tag: Option<&Tag>, name: &str, at: Position) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema_tag(name) => {
            Err(fault(at, FaultKind::Syntax("tags of one's own mean nothing".to_owned())))
        }
        Some(_) | None => Ok(()),
    }
}

fn fault(at: Position, kind: FaultKind) -> Fault {
    Fault { at, kind }
}

fn position(marker: &Marker) -> Position {
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

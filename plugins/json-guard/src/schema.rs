//! A JSON schema as a table of nodes: the part of the language that can be checked while a value is still being
//! written.
//!
//! Kept: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum` and `const`, `$ref` into the same
//! document, and `anyOf` or `oneOf` as far as the first character of a value tells the alternatives apart. Whatever
//! else a schema says (ranges, patterns, lengths, formats) is not checked; it never makes a right answer wrong.

use std::collections::BTreeMap;

use serde_json::Value;

/// Nodes of one schema: far more than any that a person or a generator writes.
const NODES_MAX: usize = 10_000;
/// Sets of alternatives in a row.
const DEPTH_MAX: usize = 64;

/// A kind of value, told by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// What a value may be. Node 0 is anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// None means any.
    kinds: Option<Vec<Kind>>,
    /// Whether a number must be an integer.
    pub(crate) is_integer: bool,
    properties: BTreeMap<String, usize>,
    pub(crate) required: Vec<String>,
    /// What further properties may be; none means that there must be none.
    additional: Option<usize>,
    pub(crate) items: usize,
    /// The only values that there may be, as text where they are strings.
    pub(crate) values: Option<Vec<Value>>,
    alternatives: Vec<usize>,
}

/// A compiled schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    nodes: Vec<Node>,
    /// The node of the whole.
    pub(crate) root: usize,
}

/// Anything.
pub(crate) const ANY: usize = 0;

impl Schema {
    /// Anything that is JSON.
    pub(crate) fn any() -> Self {
        Self { nodes: vec![Node { additional: Some(ANY), ..Node::default() }], root: ANY }
    }

    /// Compiles a schema's text.
    ///
    /// # Errors
    /// It is no JSON, no schema, refers to nothing, or is too large.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is no JSON: {error}"))?;
        let mut compiler =
            Compiler { document: &document, schema: Self::any(), by_reference: BTreeMap::new() };
        compiler.schema.root = compiler.node(&document)?;
        Ok(compiler.schema)
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The node for a value of a kind, alternatives resolved; none where there may be no such value.
    pub(crate) fn begin(&self, number: usize, kind: Kind) -> Option<usize> {
        self.begin_within(number, kind, DEPTH_MAX)
    }

    fn begin_within(&self, number: usize, kind: Kind, depth: usize) -> Option<usize> {
        let node = self.node(number);
        if node.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&kind)) {
            return None;
        }
        if node.alternatives.is_empty() {
            return Some(number);
        }
        let Some(depth) = depth.checked_sub(1) else { return Some(ANY) };
        let mut possible =
            node.alternatives.iter().filter_map(|alternative| self.begin_within(*alternative, kind, depth));
        match (possible.next(), possible.next()) {
            (None, _) => None,
            (Some(only), None) => Some(only),
            // What comes later would have to tell them apart.
            (Some(_), Some(_)) => Some(ANY),
        }
    }

    /// The node of an object's property; none where there may be none of that name.
    pub(crate) fn property(&self, number: usize, key: &str) -> Option<usize> {
        let node = self.node(number);
        node.properties.get(key).copied().or(node.additional)
    }

    /// Whether some property's name begins like this.
    pub(crate) fn has_property_like(&self, number: usize, beginning: &str) -> bool {
        let node = self.node(number);
        node.additional.is_some() || node.properties.keys().any(|key| key.starts_with(beginning))
    }
}

struct Compiler<'a> {
    document: &'a Value,
    schema: Schema,
    by_reference: BTreeMap<String, usize>,
}

impl Compiler<'_> {
    fn node(&mut self, schema: &Value) -> Result<usize, String> {
        let fields = match schema {
            Value::Bool(true) => return Ok(ANY),
            Value::Object(fields) if fields.is_empty() => return Ok(ANY),
            Value::Object(fields) => fields,
            _ => return Err("a schema is an object".to_owned()),
        };
        if let Some(Value::String(reference)) = fields.get("$ref") {
            return self.reference(reference);
        }
        let number = self.reserve()?;
        self.fill(number, fields)?;
        Ok(number)
    }

    fn reserve(&mut self) -> Result<usize, String> {
        if self.schema.nodes.len() >= NODES_MAX {
            return Err(format!("the schema has more than {NODES_MAX} parts"));
        }
        self.schema.nodes.push(Node { additional: Some(ANY), ..Node::default() });
        Ok(self.schema.nodes.len() - 1)
    }

    /// The part of the document that is referred to, compiled once, so that a schema may contain itself.
    fn reference(&mut self, reference: &str) -> Result<usize, String> {
        if let Some(number) = self.by_reference.get(reference) {
            return Ok(*number);
        }
        let document = self.document;
        let part = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        let part = part.ok_or_else(|| format!("the schema refers to `{reference}`, which is not in it"))?;
        let number = self.reserve()?;
        self.by_reference.insert(reference.to_owned(), number);
        match part {
            Value::Object(fields) => self.fill(number, fields)?,
            Value::Bool(true) => {}
            _ => return Err(format!("`{reference}` is no schema")),
        }
        Ok(number)
    }

    fn fill(&mut self, number: usize, fields: &serde_json::Map<String, Value>) -> Result<(), String> {
        let mut node = Node { additional: Some(ANY), ..Node::default() };
        if let Some(Value::String(reference)) = fields.get("$ref") {
            node.alternatives = vec![self.reference(reference)?];
        }
        if let Some(names) = fields.get("type") {
            (node.kinds, node.is_integer) = kinds(names)?;
        }
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (key, schema) in properties {
                node.properties.insert(key.clone(), self.node(schema)?);
            }
        }
        if let Some(Value::Array(required)) = fields.get("required") {
            node.required = required.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        }
        match fields.get("additionalProperties") {
            // Properties whose names follow a pattern are not looked at.
            Some(Value::Bool(false)) if !fields.contains_key("patternProperties") => node.additional = None,
            Some(schema @ Value::Object(_)) => node.additional = Some(self.node(schema)?),
            _ => {}
        }
        if let Some(items @ Value::Object(_)) = fields.get("items") {
            node.items = self.node(items)?;
        }
        match (fields.get("enum"), fields.get("const")) {
            (Some(Value::Array(values)), _) => node.values = Some(values.clone()),
            (_, Some(value)) => node.values = Some(vec![value.clone()]),
            _ => {}
        }
        for name in ["anyOf", "oneOf"] {
            if let Some(Value::Array(alternatives)) = fields.get(name) {
                for schema in alternatives {
                    node.alternatives.push(self.node(schema)?);
                }
            }
        }
        self.schema.nodes[number] = node;
        Ok(())
    }
}

/// The kinds that `type` names, and whether numbers must be integers.
fn kinds(names: &Value) -> Result<(Option<Vec<Kind>>, bool), String> {
    let names = match names {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return Err("`type` is a name or a list of names".to_owned()),
    };
    let mut kinds = Vec::new();
    for name in &names {
        kinds.push(match *name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "number" | "integer" => Kind::Number,
            "boolean" => Kind::Boolean,
            "null" => Kind::Null,
            other => return Err(format!("`{other}` is no type")),
        });
    }
    Ok((Some(kinds), names.contains(&"integer") && !names.contains(&"number")))
}

//! A JSON text as a tree, read by `serde_json`.
//!
//! One visitor reads every value, and the fields are looked up in the tree by name: derived types would each bring
//! their own copy of the parser into the module, and their messages print floats, which together are a third of its size.
//! The tree borrows the text where it can, so that a long envelope is not copied.

use super::{ConfigurationError, within};
use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Values of one configuration, nested ones included: every id that hand-written rules may have, and what is around them.
pub(super) const MAX_VALUES: usize = 65_536;

/// Fields of an object: more than a service with all of its dimensions has.
const MAX_FIELDS: usize = 32;

/// A value.
#[derive(Debug)]
pub(super) enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number that is not negative and has no fraction.
    Whole(u64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// An object.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// The fields of an object that were not taken yet, and the way to it.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The way to the object, like `services[0]`; empty for the outermost one.
    path: String,
    fields: Vec<(Cow<'a, str>, Json<'a>)>,
}

/// Reads one value, and counts those in it. It leaves the text where there are too many.
#[derive(Clone, Copy)]
struct Reader<'c> {
    values: &'c Cell<usize>,
    max_values: usize,
}

// === impl Json ===

impl<'a> Json<'a> {
    /// Reads a whole text of at most so many values.
    ///
    /// # Errors
    /// When it is no JSON, or has more values. What the values mean is not looked at.
    pub(super) fn read(text: &'a [u8], max_values: usize) -> Result<Self, ConfigurationError> {
        let values = Cell::new(0);
        let mut json = serde_json::Deserializer::from_slice(text);
        let value = json.deserialize_any(Reader { values: &values, max_values });
        // Asked before the error of a text that was left in the middle.
        within("values of hand-written rules", values.get(), max_values)?;
        let value = value?;
        json.end()?;
        Ok(value)
    }

    /// The fields of an object.
    ///
    /// # Errors
    /// When it is none, has too many fields, or one of them twice: JSON itself allows that, and one of them would be lost.
    pub(super) fn fields(self, path: String) -> Result<Fields<'a>, ConfigurationError> {
        let Self::Object(mut fields) = self else { return Err(expected(path, "an object")) };
        within("fields of an object", fields.len(), MAX_FIELDS)?;
        // Objects are short, so each field is held against those behind it.
        let mut rest = fields.as_slice();
        while let Some(((name, _), behind)) = rest.split_first() {
            if behind.iter().any(|(other, _)| other == name) {
                let path = way(&path, name);
                return Err(ConfigurationError::Field { path, problem: "it occurs twice".to_owned() });
            }
            rest = behind;
        }
        fields.reverse();
        Ok(Fields { path, fields })
    }

    /// A text.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn text(self, path: String) -> Result<Cow<'a, str>, ConfigurationError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(expected(path, "a text")),
        }
    }

    /// A list, each value with the way to it.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn list(self, path: &str, of_what: &str) -> Result<Vec<Self>, ConfigurationError> {
        match self {
            Self::List(list) => Ok(list),
            _ => Err(expected(path.to_owned(), of_what)),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// When it is none, or has something else in it.
    pub(super) fn texts(self, path: &str) -> Result<Vec<String>, ConfigurationError> {
        const TEXTS: &str = "a list of texts";
        let text = |value| match value {
            Self::Text(text) => Ok(text.into_owned()),
            _ => Err(expected(path.to_owned(), TEXTS)),
        };
        self.list(path, TEXTS)?.into_iter().map(text).collect()
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The way to a field of this object.
    pub(super) fn at(&self, field: &str) -> String {
        way(&self.path, field)
    }

    /// Takes a field out; none when it is absent or `null`.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.fields.iter().position(|(known, _)| known == name)?;
        match self.fields.remove(at).1 {
            Json::Null => None,
            value => Some(value),
        }
    }

    /// Takes a field out that has to be there.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn need(&mut self, name: &str) -> Result<Json<'a>, ConfigurationError> {
        match self.take(name) {
            Some(value) => Ok(value),
            None => Err(ConfigurationError::Field { path: self.at(name), problem: "missing".to_owned() }),
        }
    }

    /// Takes a text out.
    ///
    /// # Errors
    /// When it is there and none.
    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>, ConfigurationError> {
        let path = self.at(name);
        self.take(name).map(|value| value.text(path).map(Cow::into_owned)).transpose()
    }

    /// Takes a text out that has to be there.
    ///
    /// # Errors
    /// When it is not, or is none.
    pub(super) fn need_text(&mut self, name: &str) -> Result<String, ConfigurationError> {
        let path = self.at(name);
        Ok(self.need(name)?.text(path)?.into_owned())
    }

    /// Takes the next field out, in their order, until there is none.
    pub(super) fn next(&mut self) -> Option<(Cow<'a, str>, Json<'a>)> {
        self.fields.pop()
    }

    /// Ends an object whose fields are all known.
    ///
    /// # Errors
    /// When a field was not taken.
    pub(super) fn end(mut self, known: &str) -> Result<(), ConfigurationError> {
        match self.next() {
            Some((name, _)) => Err(ConfigurationError::Field {
                path: self.at(&name),
                problem: ["unknown field, there are ", known].concat(),
            }),
            None => Ok(()),
        }
    }
}

/// A value of another kind than `what`.
#[cold]
pub(super) fn expected(path: String, what: &str) -> ConfigurationError {
    ConfigurationError::Field { path, problem: ["it must be ", what].concat() }
}

fn way(path: &str, field: &str) -> String {
    let separator = if path.is_empty() { "" } else { "." };
    [path, separator, field].concat()
}

// === impl Reader ===

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Json<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json<'de>, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while self.may_go_on()
            && let Some(value) = values.next_element_seed(self)?
        {
            list.push(value);
            self.count();
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Vec::new();
        while self.may_go_on()
            && let Some(name) = map.next_key_seed(self)?
        {
            let value = map.next_value_seed(self)?;
            // The name of a field is a text, or the parser would have refused it.
            if let Json::Text(name) = name {
                fields.push((name, value));
            }
            self.count();
        }
        Ok(Json::Object(fields))
    }
}

impl Reader<'_> {
    fn count(self) {
        self.values.set(self.values.get() + 1);
    }

    fn may_go_on(self) -> bool {
        self.values.get() <= self.max_values
    }
}

//! Protobuf as it lies: the fields of a message, one after the other.
//!
//! Two bytes of a message may be five hundred when they are unpacked, so that what a client sends within its limit would take gigabytes.
//! Nothing is unpacked here, and what nobody asks for is stepped over.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::limits::MAX_STATISTIC_BYTES;

/// The fields of a message. After what cannot be read there are no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A whole number, or what is counted.
    Number(u64),
    /// A double.
    Double(f64),
    /// A text, or a message.
    Bytes(&'a [u8]),
    /// Something that no message of ours has.
    Other,
}

/// These bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no protobuf")]
pub(crate) struct Garbled;

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The last value of a field, which is the one that holds of a number or a text. Messages in one field would have to be merged; of
    /// those, too, the last one counts here, for nobody sends several.
    pub(crate) fn last(message: &'a [u8], wanted: u32) -> Result<Option<Value<'a>>, Garbled> {
        let mut last = None;
        for field in Self::of(message) {
            let (number, value) = field?;
            if number == wanted {
                last = Some(value);
            }
        }
        Ok(last)
    }

    fn read(&mut self) -> Result<(u32, Value<'a>), Garbled> {
        let (number, kind) = decode_key(&mut self.0).map_err(|_| Garbled)?;
        let value = match kind {
            WireType::Varint => Value::Number(self.number()?),
            WireType::SixtyFourBit => {
                let bytes = self.take(8)?.try_into().map_err(|_| Garbled)?;
                Value::Double(f64::from_le_bytes(bytes))
            }
            WireType::ThirtyTwoBit => self.take(4).map(|_| Value::Other)?,
            WireType::LengthDelimited => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(Garbled),
        };
        Ok((number, value))
    }

    fn number(&mut self) -> Result<u64, Garbled> {
        decode_varint(&mut self.0).map_err(|_| Garbled)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Garbled> {
        let count = usize::try_from(count).map_err(|_| Garbled)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Garbled)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Garbled>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Option<u64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub(crate) fn double(self) -> Option<f64> {
        if let Self::Double(double) = self { Some(double) } else { None }
    }

    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A text that is no longer than the names of statistics are.
    pub(crate) fn name(self) -> Option<&'a str> {
        self.text().filter(|text| text.len() <= MAX_STATISTIC_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_as_they_lie_and_the_last_of_one_holds() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x08, 0x07];
        let fields: Vec<_> = Fields::of(&message).map(Result::unwrap).collect();
        let expected =
            [(1, Value::Number(150)), (2, Value::Bytes(b"hi")), (3, Value::Other), (1, Value::Number(7))];
        assert_eq!(fields, expected);
        assert_eq!(Fields::last(&message, 1).unwrap().and_then(Value::number), Some(7));
        assert_eq!(Fields::last(&message, 2).unwrap().and_then(Value::text), Some("hi"));
        assert_eq!(Fields::last(&message, 9), Ok(None));
        let double = [&[0x09][..], &1.5_f64.to_le_bytes()].concat();
        assert_eq!(Fields::last(&double, 1).unwrap().and_then(Value::double), Some(1.5));
    }

    #[test]
    fn what_is_cut_off_or_in_groups_is_no_message_and_ends() {
        for garbled in [&[0x12, 0x05, b'h'][..], &[0x09, 0, 0], &[0x08], &[0x0b], &[0x07], &[0x12, 0xff]] {
            let fields: Vec<_> = Fields::of(garbled).collect();
            assert_eq!(fields, [Err(Garbled)], "{garbled:?}");
        }
        assert_eq!(Fields::last(&[0x08, 1, 0x09], 1), Err(Garbled));
    }
}

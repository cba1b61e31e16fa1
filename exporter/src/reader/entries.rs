//! The entries in a reply to `XREAD` of one stream.
//!
//! Pure. In comes a whole reply; out come its entries, in their order, as slices of it. A reply of another form is
//! refused as a whole, by [`summary`], before any of its entries is used.

use techsapo_shared::wire::EntryId;

use super::resp::{Element, Elements, ProtocolError};

const FORM: ProtocolError = ProtocolError::Form("XREAD");

/// Name and value of one field of an entry.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// What a reply holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries; at least one.
    pub entries: u64,
    /// Id of the last one.
    pub last: EntryId,
}

/// Looks through a whole reply; nothing if there were no entries.
///
/// # Errors
/// It is no reply to `XREAD` of one stream.
pub fn summary(reply: &[u8]) -> Result<Option<Summary>, ProtocolError> {
    if matches!(Elements::of(reply).take(), Some(Element::Null | Element::Array(0))) {
        return Ok(None);
    }
    let mut entries = Entries::of(reply);
    if entries.left == 0 {
        return Err(FORM);
    }
    let mut summary = Summary { entries: entries.left, last: EntryId::ZERO };
    let mut fields = Vec::new();
    while entries.left > 0 {
        summary.last = entries.next(&mut fields).ok_or(FORM)?;
    }
    if entries.elements.take().is_some() { Err(FORM) } else { Ok(Some(summary)) }
}

/// The entries of a reply that [`summary`] accepted.
#[derive(Debug)]
pub struct Entries<'a> {
    elements: Elements<'a>,
    left: u64,
}

impl<'a> Entries<'a> {
    /// Those of `reply`.
    pub fn of(reply: &'a [u8]) -> Self {
        let mut elements = Elements::of(reply);
        let left = open(&mut elements).unwrap_or(0);
        Self { elements, left }
    }

    /// The id of the next entry, and its fields in `fields` instead of what was there; nothing behind the last.
    #[inline]
    pub fn next(&mut self, fields: &mut Vec<Field<'a>>) -> Option<EntryId> {
        fields.clear();
        self.left = self.left.checked_sub(1)?;
        (self.elements.array()? == 2).then_some(())?;
        let id = EntryId::parse(self.elements.text()?)?;
        let texts = self.elements.array()?;
        texts.is_multiple_of(2).then_some(())?;
        for _ in 0..texts / 2 {
            fields.push((self.elements.text()?, self.elements.text()?));
        }
        Some(id)
    }
}

/// Goes to the first entry: into the list of streams, the only stream, behind its key. Gives the number of entries.
fn open(elements: &mut Elements<'_>) -> Option<u64> {
    (elements.array()? == 1).then_some(())?;
    (elements.array()? == 2).then_some(())?;
    elements.text()?;
    elements.array()
}

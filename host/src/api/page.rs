//! Lists in pages: newest first, and a cursor that says where the next page begins.
//!
//! A cursor is opaque: a kind, an id and a check, in hexadecimal. The check is no secret; it makes a
//! cursor that was cut, edited or taken from another list an error and not a wrong page.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::store::Page;

use super::query::Query;

pub(super) const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;
const CHECK_BYTES: usize = 4;

/// Which list a cursor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Withdrawals,
    Events,
}

impl List {
    const fn tag(self) -> u8 {
        match self {
            Self::Withdrawals => 1,
            Self::Events => 2,
        }
    }

    /// Reads `cursor` and `limit`. The page asks for one row more than it shows, so that it is
    /// known whether another page follows.
    pub(super) fn read_page(self, query: &mut Query) -> Page {
        let limit = query.text("limit").map_or(LIMIT_DEFAULT, |text| match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => limit,
            Ok(_) | Err(_) => {
                query.error("limit", "invalid", "needs a whole number from 1 to 200");
                LIMIT_DEFAULT
            }
        });
        let before = query.text("cursor").and_then(|text| {
            let id = self.decode(&text);
            if id.is_none() {
                query.error("cursor", "invalid", "needs a next_cursor that this list answered");
            }
            id
        });
        Page { before, limit: limit + 1 }
    }

    /// Cuts the extra row off and turns it into the cursor of the next page.
    pub(super) fn view<R, V>(
        self,
        page: Page,
        mut rows: Vec<R>,
        id: impl Fn(&R) -> Uuid,
        view: impl Fn(R) -> V,
    ) -> PageView<V> {
        let shown = usize::try_from(page.limit - 1).unwrap_or(usize::MAX);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next_cursor = rows.last().filter(|_| more).map(|row| self.encode(id(row)));
        PageView { items: rows.into_iter().map(view).collect(), next_cursor }
    }

    fn encode(self, id: Uuid) -> String {
        let check = self.check(id);
        let bytes = [&[self.tag()], id.as_bytes().as_slice(), &check].concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decode(self, text: &str) -> Option<Uuid> {
        let id = text.get(2..34).and_then(|hex| Uuid::try_parse(hex).ok())?;
        (self.encode(id) == text).then_some(id)
    }

    fn check(self, id: Uuid) -> [u8; CHECK_BYTES] {
        let digest =
            Sha256::new().chain_update([self.tag()]).chain_update(id.as_bytes()).finalize();
        std::array::from_fn(|i| digest[i])
    }
}

#[derive(Debug, Serialize)]
pub(super) struct PageView<V> {
    items: Vec<V>,
    /// None on the last page.
    next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list_and_is_not_edited() {
        let id = Uuid::now_v7();
        let cursor = List::Events.encode(id);
        assert_eq!(List::Events.decode(&cursor), Some(id));
        assert_eq!(List::Withdrawals.decode(&cursor), None);
        let edited =
            cursor.replacen(&cursor[5..6], if &cursor[5..6] == "0" { "1" } else { "0" }, 1);
        let upper = cursor.to_uppercase();
        for bad in ["", "02", &cursor[..40], &edited, &id.to_string(), "ä", &"é".repeat(21), &upper]
        {
            assert!(List::Events.decode(bad).is_none() || bad == cursor, "{bad}");
        }
    }

    #[test]
    fn the_extra_row_only_says_that_there_is_more() {
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
        let page = Page { before: None, limit: 3 };
        let full = List::Events.view(page, ids.clone(), |id| *id, |id| id);
        assert_eq!(full.items, ids[..2]);
        assert_eq!(full.next_cursor, Some(List::Events.encode(ids[1])));
        let last = List::Events.view(page, ids[..2].to_vec(), |id| *id, |id| id);
        assert_eq!(last.next_cursor, None);
    }
}

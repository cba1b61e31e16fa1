//! Which documents there are: the files of the configured folders and of all folders within, or all that is shared with
//! the account.
//!
//! What must hold: the walk ends, whatever the folders contain: each folder is opened once, and pages are bounded.

use std::collections::HashSet;

use super::client::Client;
use super::error::DriveError;
use super::file::{File, GOOGLE_DOC};

const FOLDER: &str = "application/vnd.google-apps.folder";
/// What is read: Google's own documents as plain text, and these as they are.
const TEXTS: [&str; 3] = [GOOGLE_DOC, "text/plain", "text/markdown"];
/// Folders that one query asks for.
const FOLDERS_AT_ONCE: usize = 20;
/// Most pages of lists that one walk reads.
const MOST_PAGES: usize = 500;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files, each once, those changed last first.
    pub(super) files: Vec<File>,
    /// Whether there was more than one walk reads.
    pub(super) is_cut: bool,
}

/// Walks through the folders, or lists everything where none is named.
pub(super) async fn walk(client: &Client, folders: &[String]) -> Result<Listing, DriveError> {
    let mut seen: HashSet<String> = folders.iter().cloned().collect();
    let mut waiting: Vec<String> = folders.to_vec();
    let (mut found, mut listing, mut pages) = (HashSet::new(), Listing::default(), 0);
    loop {
        let parents: Vec<_> = waiting.drain(..waiting.len().min(FOLDERS_AT_ONCE)).collect();
        let query = query(&parents);
        let mut page = None;
        loop {
            if pages == MOST_PAGES {
                listing.is_cut = true;
                break;
            }
            pages += 1;
            let read = client.list(&query, page.as_deref()).await?;
            for file in read.files {
                if file.mime_type == FOLDER {
                    if seen.insert(file.id.clone()) {
                        waiting.push(file.id);
                    }
                } else if TEXTS.contains(&file.mime_type.as_str()) && found.insert(file.id.clone()) {
                    listing.files.push(file);
                }
            }
            page = read.next_page_token;
            if page.is_none() {
                break;
            }
        }
        if waiting.is_empty() || listing.is_cut {
            break;
        }
    }
    listing.files.sort_by(|a, b| b.modified_time.cmp(&a.modified_time).then_with(|| a.id.cmp(&b.id)));
    Ok(listing)
}

/// What Drive is asked for: documents, and where folders are named what they contain, folders too.
fn query(parents: &[String]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let any = |conditions: Vec<String>| format!("({})", conditions.join(" or "));
    let is_text = |kind: &&str| format!("mimeType = {}", quoted(kind));
    let mut kinds: Vec<_> = TEXTS.iter().map(is_text).collect();
    if parents.is_empty() {
        return format!("trashed = false and {}", any(kinds));
    }
    kinds.push(is_text(&FOLDER));
    let within = parents.iter().map(|parent| format!("{} in parents", quoted(parent))).collect();
    format!("trashed = false and {} and {}", any(kinds), any(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_kinds_and_folders_and_nothing_in_a_name_can_change_it() {
        assert_eq!(
            query(&[]),
            "trashed = false and (mimeType = 'application/vnd.google-apps.document' or mimeType = 'text/plain' \
             or mimeType = 'text/markdown')"
        );
        let query = query(&["a".to_owned(), "b' or '1".to_owned()]);
        assert!(query.contains("mimeType = 'application/vnd.google-apps.folder'"), "{query}");
        assert!(query.ends_with(" and ('a' in parents or 'b\\' or \\'1' in parents)"), "{query}");
    }
}

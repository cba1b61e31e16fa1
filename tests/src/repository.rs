//! The repository that the tests read: its sources and its documents.

use std::path::{Path, PathBuf};

/// Its root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of a file, by its path from the root.
///
/// # Panics
/// When it cannot be read.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files under `folder` (from the root) whose name ends with `.<extension>`, as paths from the root, sorted.
/// Build output, running servers' data and hidden folders are passed over.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = ["target", "run", "node_modules"].contains(&name.as_str());
            if path.is_dir() {
                if !skipped && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Puts `text` into a document (by its path from the root), between `<!-- NAME … -->` and `<!-- end of NAME -->`.
///
/// # Panics
/// When the document cannot be read or written, or has no such place.
pub fn put_between(document: &str, name: &str, text: &str) {
    let page = read(document);
    let (begin, end) = (format!("<!-- {name}:"), format!("<!-- end of {name} -->"));
    let place = page.find(&begin).zip(page.find(&end));
    let (start, end) = place.unwrap_or_else(|| panic!("{document} has no place for {name}"));
    let start = start + page[start..end].find("-->\n").expect("the mark ends its line") + "-->\n".len();
    std::fs::write(root().join(document), format!("{}{text}{}", &page[..start], &page[end..])).unwrap();
}

//! The committed dashboards are what the data says.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_committed_dashboards_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut files = BTreeSet::new();
    for dashboard in techsapo_grafana::dashboards() {
        let path = folder.join(dashboard.file());
        let text = format!("{:#}\n", dashboard.json());
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{} is not what its data says; UPDATE_GENERATED=1 cargo test -p techsapo-grafana writes it",
            path.display()
        );
        files.insert(dashboard.file());
    }
    let mut found = BTreeSet::new();
    for name in techsapo_grafana::Folder::ALL.map(techsapo_grafana::Folder::name) {
        let entries = std::fs::read_dir(folder.join(name)).unwrap();
        found.extend(entries.map(|entry| format!("{name}/{}", entry.unwrap().file_name().to_string_lossy())));
    }
    assert_eq!(found, files, "files on the left, dashboards on the right");
}

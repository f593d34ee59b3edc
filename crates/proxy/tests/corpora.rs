//! The properties of the readers of foreign bytes, held against the corpora of the fuzz targets: what
//! is kept there of our own writing, and the smallest input of each fault that was found.

#[path = "../../../fuzz/src/lib.rs"]
mod properties;

use std::fs;
use std::path::Path;

#[test]
fn every_input_of_the_corpora_has_its_property() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, property) in properties::ALL {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora.join(name)).expect(name) {
            let path = entry.expect(name).path();
            println!("{}", path.display());
            property(&fs::read(&path).expect(name));
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no inputs");
    }
}

/// A corpus of a target that is no more would be run by nothing.
#[test]
fn every_corpus_belongs_to_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut names: Vec<_> = properties::ALL
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    names.sort();
    for (directory, extension) in [("corpus", ""), ("fuzz_targets", ".rs")] {
        let entries = fs::read_dir(fuzz.join(directory)).expect(directory);
        let mut found: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect(directory)
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .map(|name| {
                name.strip_suffix(extension)
                    .map(str::to_owned)
                    .unwrap_or(name)
            })
            .collect();
        found.sort();
        assert_eq!(found, names, "{directory}");
    }
}

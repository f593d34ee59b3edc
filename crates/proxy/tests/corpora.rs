//! The properties of the readers of foreign bytes, checked on the corpora of the fuzz targets: inputs
//! of our own, and the smallest input of each fault that was found. Then checked on random changes of
//! these, as by a fuzzer that does not see the code that it runs, and works in any build. `MUTATIONS`
//! says how many inputs are made for each target.

#[path = "../../../fuzz/src/lib.rs"]
mod properties;
#[path = "../../hawk/tests/seed/mod.rs"]
mod seed;

use std::path::Path;
use std::{env, fs, thread};

use fastrand::Rng;

/// Inputs for each target in `cargo test`: some seconds for all.
const MUTATIONS: usize = 20_000;

/// Bytes that a reader may take for the end of something, and bytes that no text has.
const BYTES: &[u8] = b"\0\t\n\r \"#%&*+,-./0123459:;=?@AFZ[\\]_afxz{}~\x7f\x80\xc3\xff";

/// The most changes of an input.
const CHANGES: usize = 5;

/// The bytes of which each file of a corpus consists, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = fs::read_dir(corpora.join(name)).expect(name);
    let mut paths: Vec<_> = entries.map(|entry| entry.expect(name).path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{name} has no inputs");
    let read = |path: &_| fs::read(path).expect(name);
    paths.iter().map(read).collect()
}

/// Tells of the input that is being tried when its property does not hold.
struct Tried<'a>(&'a str, &'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}: b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

/// A parser that refuses everything would have most properties, so it has to accept a part of each
/// corpus.
#[test]
fn every_input_of_the_corpora_has_its_property() {
    for (name, property) in properties::ALL {
        let mut accepted = 0;
        for input in corpus(name) {
            let _tried = Tried(name, &input);
            accepted += usize::from(property(&input));
        }
        assert!(accepted > 0, "{name} accepts nothing of its corpus");
    }
}

#[test]
fn what_is_made_of_them_by_chance_has_it_too() {
    let count = env::var("MUTATIONS").map_or(MUTATIONS, |count| {
        count.parse().expect("MUTATIONS is a whole number")
    });
    let mut rng = seed::rng();
    for (name, property) in properties::ALL {
        let corpus = corpus(name);
        for _ in 0..count {
            let input = mutated(&mut rng, &corpus);
            let _tried = Tried(name, &input);
            property(&input);
        }
    }
}

/// One of the inputs with a few changes.
fn mutated(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..=CHANGES) {
        let at = rng.usize(..=input.len());
        let byte = rng.choice(BYTES).copied().unwrap_or_default();
        match rng.u8(..7) {
            0 => input.insert(at, byte),
            1 => input.truncate(at),
            2 => drop(input.drain(part(rng, &input))),
            3 => {
                let again = input[part(rng, &input)].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let other = rng.choice(corpus).map_or(&[][..], Vec::as_slice);
                input.splice(at..at, other[part(rng, other)].iter().copied());
            }
            change => {
                if let Some(place) = input.get_mut(at) {
                    *place = if change == 5 {
                        byte
                    } else {
                        *place ^ 1 << rng.u8(..8)
                    };
                }
            }
        }
    }
    input
}

/// A part of `bytes`, more often a short one.
fn part(rng: &mut Rng, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = rng.usize(..=bytes.len());
    let most = bytes.len() - start;
    let most = if rng.bool() { most.min(8) } else { most };
    start..start + rng.usize(..=most)
}

/// Nothing would run a corpus without a target.
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

//! Changes that a seed decides, and what they leave.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use andiron_store::disk::{BIG_VALUE, Change, Disk, DiskError, Durability, Loaded, Record, Sqlite};
use andiron_store::{Codec, KeyRef};
use fastrand::Rng;
use tempfile::TempDir;

/// Names that are no good as names of files, SQL or text of any kind.
const AUTHORS: [&str; 4] = ["", "default", "a/b~'\"\0", "ünïcode"];
const NAMES: [&str; 12] =
    ["", "a", "b", "..", "/", "~", "@bulk", "';--", "\0", "\0\0", "a\0", "\u{1f525}\u{10ffff}"];

/// A record of its own.
#[derive(Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) version: u64,
    pub(crate) timestamp: f64,
    pub(crate) codec: u8,
    pub(crate) expires_at: Option<u64>,
    pub(crate) value: Vec<u8>,
}

impl Kept {
    pub(crate) fn record<'a>(&'a self, author: &'a str, name: &'a str) -> Record<'a> {
        let Kept { version, timestamp, codec, expires_at, ref value } = *self;
        let key = KeyRef::new(author, name);
        Record { key, version, timestamp, codec: Codec(codec), expires_at, value }
    }
}

impl From<Record<'_>> for Kept {
    fn from(record: Record<'_>) -> Self {
        let Record { version, timestamp, codec: Codec(codec), expires_at, value, .. } = record;
        Kept { version, timestamp, codec, expires_at, value: value.to_vec() }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Kept { version, codec, expires_at, value, .. } = self;
        write!(f, "v{version} codec {codec} until {expires_at:?}: {} bytes", value.len())
    }
}

pub(crate) enum Step {
    Put(&'static str, &'static str, Kept),
    Delete(&'static str, &'static str),
    Clear(Option<&'static str>),
}

/// What a disk has to have.
pub(crate) type Model = BTreeMap<(String, String), Kept>;

/// What commits are like.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    /// Of a thousand values so many are big.
    pub(crate) big: u32,
    /// So many authors, with so many names each.
    pub(crate) authors: usize,
    pub(crate) names: usize,
}

pub(crate) const MANY: Mix = Mix { big: 5, authors: AUTHORS.len(), names: NAMES.len() };
pub(crate) const BIG: Mix = Mix { big: 300, authors: 2, names: 2 };

/// The commit of this number: the same for the same seed.
pub(crate) fn batch(seed: u64, number: u64, mix: Mix) -> (Vec<Step>, Durability) {
    let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let length = if rng.u8(..10) == 0 { rng.usize(..60) } else { rng.usize(1..4) };
    let steps = (0..length).map(|_| {
        let (author, name) = (AUTHORS[rng.usize(..mix.authors)], NAMES[rng.usize(..mix.names)]);
        match rng.u32(..1000) {
            0..700 => Step::Put(author, name, kept(&mut rng, number + 1, mix.big)),
            700..980 => Step::Delete(author, name),
            980..995 => Step::Clear(Some(author)),
            _ => Step::Clear(None),
        }
    });
    let steps = steps.collect();
    (steps, if rng.u8(..3) == 0 { Durability::Sync } else { Durability::Relaxed })
}

fn kept(rng: &mut Rng, version: u64, big: u32) -> Kept {
    let length = match rng.u32(..1000) {
        kind if kind < big => BIG_VALUE + rng.usize(..5000),
        900.. => rng.usize(..20_000),
        _ => rng.usize(..200),
    };
    let mut value = vec![rng.u8(..); length];
    let changed = length.min(64);
    rng.fill(&mut value[..changed]);
    let expires_at = rng.bool().then(|| rng.u64(..));
    Kept { version, timestamp: rng.f64() * 1e9, codec: rng.u8(..), expires_at, value }
}

pub(crate) fn apply(model: &mut Model, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(author, name, kept) => {
                model.insert((author.to_string(), name.to_string()), kept.clone());
            }
            Step::Delete(author, name) => {
                model.remove(&(author.to_string(), name.to_string()));
            }
            Step::Clear(author) => model.retain(|key, _| author.is_some_and(|author| author != key.0)),
        }
    }
}

pub(crate) fn changes(steps: &[Step]) -> Vec<Change<'_>> {
    steps
        .iter()
        .map(|step| match step {
            Step::Put(author, name, kept) => Change::Put(kept.record(author, name)),
            Step::Delete(author, name) => Change::Delete(KeyRef::new(author, name)),
            Step::Clear(author) => Change::Clear(*author),
        })
        .collect()
}

/// All that is on the disk, each of it readable.
pub(crate) fn state(disk: &mut Sqlite) -> Result<Model, DiskError> {
    let (model, loaded) = loaded(disk)?;
    assert_eq!(loaded.unreadable, []);
    assert_eq!(loaded.records, model.len() as u64);
    Ok(model)
}

pub(crate) fn loaded(disk: &mut Sqlite) -> Result<(Model, Loaded), DiskError> {
    let mut model = Model::new();
    let loaded = disk.load(&mut |record| {
        let KeyRef { author, name } = record.key;
        let old = model.insert((author.to_owned(), name.to_owned()), record.into());
        assert_eq!(old, None, "a record was given twice");
    })?;
    Ok((model, loaded))
}

/// A number from the environment.
pub(crate) fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("it is a number"))
}

pub(crate) const RELAXED: Durability = Durability::Relaxed;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn record<'a>(name: &'a str, version: u64, value: &'a [u8]) -> Record<'a> {
    let key = KeyRef::new("author", name);
    Record { key, version, timestamp: 1.5, codec: Codec(1), expires_at: None, value }
}

pub(crate) fn put(disk: &mut Sqlite, name: &str, value: &[u8]) -> Result<(), DiskError> {
    disk.commit(&[Change::Put(record(name, 1, value))], 1, RELAXED)
}

pub(crate) fn names(disk: &mut Sqlite) -> Vec<String> {
    let mut names = Vec::new();
    disk.load(&mut |record| names.push(record.key.name.to_owned())).unwrap();
    names
}

pub(crate) fn files_of_values(store: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(store.join("values")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Commits of every kind, and what they leave.
pub(crate) fn filled(disk: &mut Sqlite, seed: u64, commits: u64) -> Model {
    let (mut model, mix) = (Model::new(), Mix { big: 30, ..MANY });
    for number in 0..commits {
        let (steps, _) = batch(seed, number, mix);
        disk.commit(&changes(&steps), number + 1, RELAXED).unwrap();
        apply(&mut model, &steps);
    }
    assert!(model.len() > 5, "too little is left to see anything");
    model
}

//! The commands about snapshots and backups.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use andiron::{Snapshot, Store};

use crate::address::Chosen;
use crate::arguments::SnapshotCommand;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::text;

pub(crate) fn snapshots(
    server: &Chosen,
    command: Option<SnapshotCommand>,
    author: Option<&str>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let store = server.connect()?.store();
    let of_author = author.map_or_else(|| store.clone(), |author| store.author(author));
    match command {
        None => list(&store, author, json, out),
        Some(SnapshotCommand::Save { snapshot }) => Ok(of_author.save(&snapshot).map(drop)?),
        Some(SnapshotCommand::Load { snapshot }) => Ok(of_author.load(&snapshot).map(drop)?),
        Some(SnapshotCommand::Delete { snapshot }) => Ok(of_author.delete_snapshot(&snapshot)?),
    }
}

fn list(store: &Store, author: Option<&str>, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let snapshots = match author {
        Some(author) => store.author(author).snapshots()?,
        None => store.all_snapshots()?,
    };
    if json {
        return text::array(snapshots.into_iter().map(Ok), out);
    }
    if !snapshots.is_empty() {
        writeln!(out, "{:>10} {:>10} {:>5}  {:<10}  NAME", "ENTRIES", "SIZE", "AGE", "AUTHOR")?;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for Snapshot { author, name, timestamp, entries, bytes } in snapshots {
        let saved = Duration::try_from_secs_f64(timestamp).unwrap_or_default();
        let age = text::age(now.saturating_sub(saved));
        let (author, name) = (text::one_line(&author), text::one_line(&name));
        writeln!(out, "{entries:>10} {bytes:>10} {age:>5}  {author:<10}  {name}")?;
    }
    Ok(())
}

/// Written beside the file and then put in its place, so that a backup that fails does not cost an earlier one. What is no file, like a pipe, is written as it is, and a
/// link is followed. `-` is the standard output.
pub(crate) fn backup(server: &Chosen, file: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let store = server.connect()?.store();
    let failed = |error: io::Error| cannot("write", file, &error);
    if file == Path::new("-") {
        return send(&store, out);
    }
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        let mut writer = fs::OpenOptions::new().write(true).open(&target).map_err(failed)?;
        return send(&store, &mut writer);
    }
    let unfinished = Unfinished::beside(&target)?;
    let mut writer = unfinished.create().map_err(failed)?;
    send(&store, &mut writer)?;
    writer.sync_all().and_then(|()| unfinished.finish(&target)).map_err(failed)
}

fn send(store: &Store, out: &mut impl Write) -> Result<(), Failure> {
    let progress = Progress::of("writing");
    Ok(store.backup(&mut progress.writing(out)).map(drop)?)
}

pub(crate) fn restore(server: &Chosen, file: &Path) -> Result<(), Failure> {
    let store = server.connect()?.store();
    let reader: Box<dyn Read + Send> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| cannot("read", file, &error))?)
    };
    let progress = Arc::new(Progress::of("sending"));
    let restored = store.restore(Counting { from: reader, progress: progress.clone() });
    drop(progress);
    Ok(restored.map(drop)?)
}

/// A stream whose bytes count as they are sent, on whatever thread that is.
struct Counting {
    from: Box<dyn Read + Send>,
    progress: Arc<Progress>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.reading(&mut self.from).read(buffer)
    }
}

/// A file under another name, which goes when it was not finished.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn beside(file: &Path) -> Result<Unfinished, Failure> {
        let Some(name) = file.file_name() else {
            return Err(Failure::Usage(format!("{} is no name of a file", file.display())));
        };
        let mut name = name.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        Ok(Unfinished { path: file.with_file_name(name) })
    }

    fn create(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)
    }

    fn finish(mut self, file: &Path) -> io::Result<()> {
        fs::rename(&self.path, file)?;
        self.path = PathBuf::new();
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // of none where it was finished
    }
}

fn cannot(doing: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::Error(format!("cannot {doing} {}: {error}", file.display()))
}

//! A disk that is full: what is to be kept is refused with a word of what to do, all else goes on, and nothing that was acknowledged is lost.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use andiron::{Durability, ErrorKind, Put, Store};

use crate::common::{Home, Process, skipped};
use crate::model::BIG;

/// A home whose daemon keeps its state in a file system of a few megabytes.
pub(crate) struct Scene {
    pub(crate) home: Home,
    disk: PathBuf,
}

impl Scene {
    /// `None` where this process may not mount one.
    pub(crate) fn new() -> Option<Scene> {
        let home = Home::new();
        let disk = home.folder.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&disk);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            skipped("this process may not mount a file system in memory");
            return None;
        }
        Some(Scene { home, disk })
    }

    pub(crate) fn serve(&self) -> Process {
        self.home.serve_with(&["--state", self.state().to_str().unwrap()])
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.disk.join("state")
    }

    pub(crate) fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.disk).output();
        assert!(done.unwrap().status.success(), "{how}");
    }

    /// Takes the room that is left, but for so many bytes.
    fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(&self.disk).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        fs::write(self.ballast(), vec![1; free.saturating_sub(left) as usize]).unwrap();
    }

    /// Takes what room there is, to the last byte.
    fn fill_up(&self) {
        let mut ballast = fs::OpenOptions::new().append(true).open(self.ballast()).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.disk.join("ballast")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Also where a daemon still has files open there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.disk).output();
    }
}

/// Writes until that is refused, and gives what was acknowledged.
fn write_until_full(store: &Store, length: usize, durability: Durability) -> (Vec<String>, andiron::Error) {
    let mut names = Vec::new();
    loop {
        let name = format!("{length}-{}", names.len());
        let put = Put::bytes(&name, value_of(&name), 3).persist().durability(durability);
        match store.set_with(put) {
            Ok(_) => names.push(name),
            Err(error) => return (names, error),
        }
    }
}

fn value_of(name: &str) -> Vec<u8> {
    let length = name.split('-').next().unwrap().parse().unwrap();
    name.bytes().cycle().take(length).collect()
}

#[track_caller]
fn have_all(store: &Store, names: &[String]) {
    for name in names {
        let entry = store.entry(name).unwrap().unwrap_or_else(|| panic!("{name} is gone"));
        assert!(*entry.bytes == *value_of(name), "{name} is another one");
    }
    assert_eq!(store.list().filter(|listed| listed.as_ref().unwrap().persistent).count(), names.len());
}

#[test]
fn a_full_disk_refuses_what_is_to_be_kept_and_nothing_else_and_loses_nothing() {
    for (length, durability) in
        [(300, Durability::Relaxed), (9000, Durability::Sync), (BIG, Durability::Relaxed)]
    {
        let Some(scene) = Scene::new() else { return };
        let mut daemon = scene.serve();
        let mut store = scene.home.hub().store();
        scene.fill(3 << 20);
        let (mut names, full) = write_until_full(&store, length, durability);
        assert_eq!(full.kind(), ErrorKind::Quota, "{full}");
        let disk = scene.disk.to_str().unwrap();
        assert!(full.message().contains(disk) && full.message().contains("make room"), "{full}");
        let refused = scene.home.run_with(&["set", "--persist", "refused", "-"], &vec![1; length + 100_000]);
        assert!(refused.failed(1).contains("make room"), "{refused:?}");
        assert_eq!(scene.home.run(&["get", "refused"]).code, Some(3));

        // What needs no disk goes on.
        for number in 0..100 {
            store.set("plain", &number).unwrap();
            assert_eq!(scene.home.hub().store().get("plain").unwrap(), Some(number));
        }
        have_all(&store, &names);

        // Ended and started again, however often, while not a byte is left, it has the same. Where it cannot even note which versions it is about to give out, it gives none.
        for round in 0..3 {
            scene.fill_up();
            match round {
                1 => assert!(daemon.terminate().success()),
                _ => daemon.kill(),
            }
            scene.fill_up();
            daemon = scene.serve();
            store = scene.home.hub().store();
            have_all(&store, &names);
            if let Err(error) = store.set("plain", &0) {
                assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
                assert!(error.message().contains("make room"), "{error}");
            }
        }
        let put = Put::bytes("refused", vec![1; length + 100_000], 3).persist();
        assert_eq!(store.set_with(put.clone()).unwrap_err().kind(), ErrorKind::Quota);

        // With room it takes writes again, and is the same daemon.
        scene.make_room();
        store.set_with(put).unwrap();
        store.delete("refused").unwrap().unwrap();
        let name = format!("{length}-{}", names.len());
        store.set_with(Put::bytes(&name, value_of(&name), 3).persist().durability(durability)).unwrap();
        names.push(name);
        have_all(&store, &names);
        daemon.kill();
        let _daemon = scene.serve();
        have_all(&scene.home.hub().store(), &names);
    }
}

//! Reads the facts that `facts` put into the store, asks its object a question, and is called back when something changes.
//!
//! Usage: `facts-watch [CHANGES]`, the number of changes after which it ends, 3 by default.

use std::sync::mpsc;

use andiron::Result;
use andiron_examples::proc::Memory;
use andiron_examples::{AUTHOR, FactsProxy, Watcher};

fn main() -> Result<()> {
    let changes = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(3);
    let hub = andiron::connect()?;

    let store = hub.store().author(AUTHOR);
    if let Some(memory) = store.get::<Memory>("memory")? {
        println!("{} of {} MiB of memory are free", memory.available_kib >> 10, memory.total_kib >> 10);
    }

    let facts: FactsProxy = hub.object("facts")?;
    for process in facts.largest(3)? {
        println!("process {} `{}` uses {} MiB", process.pid, process.name, process.resident_kib >> 10);
    }

    let (sender, changed) = mpsc::channel();
    facts.watch(Watcher(Box::new(move |subject| drop(sender.send(subject)))).into())?;
    let mut seen = 0;
    while seen < changes {
        hub.poll(std::time::Duration::from_secs(60))?;
        for subject in changed.try_iter().take(changes - seen) {
            seen += 1;
            if let Some(entry) = store.entry(&subject)? {
                println!("{subject} changed: version {} with {} bytes", entry.version, entry.bytes.len());
            }
        }
    }
    Ok(())
}

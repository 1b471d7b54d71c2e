//! iceoryx2's blackboard: values in shared memory, of a length that is fixed when it is made.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;

use andiron_bench::{Client, Workload, say_ready};
use anyhow::{Result, anyhow, ensure};
use iceoryx2::port::reader::{EntryHandle, Reader};
use iceoryx2::prelude::*;

type Value = [u64; 3];
const KEYS: u64 = 100;

pub fn serve(socket: &Path) -> Result<()> {
    set_log_level(LogLevel::Error);
    let node = node()?;
    let mut creator = node.service_builder(&name(socket)?).blackboard_creator::<u64>();
    for key in 0..KEYS {
        creator = creator.add::<Value>(key, [7; 3]);
    }
    let _service = creator.create().map_err(|error| anyhow!("{error:?}"))?;
    say_ready()?;
    std::io::stdin().read_to_end(&mut Vec::new())?; // until the harness is gone
    Ok(())
}

pub struct Blackboard {
    workload: Workload,
    handle: EntryHandle<ipc::Service, u64, Value>,
    _reader: Reader<ipc::Service, u64>,
}

impl Blackboard {
    pub fn connect(socket: &Path, workload: Workload) -> Result<Blackboard> {
        set_log_level(LogLevel::Error);
        let opener = node()?.service_builder(&name(socket)?).blackboard_opener::<u64>();
        let service = opener.open().map_err(|error| anyhow!("{error:?}"))?;
        let reader = service.reader_builder().create().map_err(|error| anyhow!("{error:?}"))?;
        let handle = reader.entry::<Value>(&1).map_err(|error| anyhow!("{error:?}"))?;
        Ok(Blackboard { workload, handle, _reader: reader })
    }
}

impl Client for Blackboard {
    fn looped(&mut self, calls: usize) -> Result<()> {
        if self.workload == Workload::Check {
            let (value, mut current) = (self.handle.get(), true);
            for _ in 0..calls {
                current &= self.handle.is_up_to_date(black_box(&value));
            }
            ensure!(current, "nobody wrote");
        } else {
            for _ in 0..calls {
                black_box(*self.handle.get());
            }
        }
        Ok(())
    }
}

fn node() -> Result<Node<ipc::Service>> {
    NodeBuilder::new().create::<ipc::Service>().map_err(|error| anyhow!("{error:?}"))
}

/// The socket's folder is of this run alone.
fn name(socket: &Path) -> Result<ServiceName> {
    ServiceName::new(&socket.display().to_string()).map_err(|error| anyhow!("{error:?}"))
}

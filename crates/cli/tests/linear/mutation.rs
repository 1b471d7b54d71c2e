//! That the checker finds what is wrong where a store is written or read in the wrong order, and nothing where it is not.
//!
//! Engine, board, connections and clients are the real ones. Only who calls the engine is not the daemon but [`Keeper`], which can take the
//! daemon's steps in another order, and lets others in between two of them: so what can go wrong goes wrong every time, and not where the
//! machine happens to be slow.

use std::os::fd::AsFd as _;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use andiron::{Changed, Entry, Hosting, Hub, PassedDescriptor, Server, Store, StoreCell, Value};
use andiron_store::{Codec, Effects, KeyRef, Now, Op as StoreOp, Put, Reply, Store as Engine, StoreStart};
use andiron_sys::board::{Board, Slot};

use crate::checker::check;
use crate::history::{Answer, End, Event, Op, now};

const INCARNATION: [u8; 16] = *b"one of the store";

/// The order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// A write bumps, then publishes, then answers. A read takes value and stamp at once.
    Right,
    /// The write bumps when others can see its value already.
    BumpBehindPublish,
    /// The write bumps when it was answered already.
    BumpBehindAnswer,
    /// The read takes the stamp when others can write already.
    StampBehindValue,
}

#[test]
fn where_the_bump_comes_first_nothing_is_found() {
    for _ in 0..20 {
        check(&play(Order::Right)).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn where_the_bump_comes_behind_the_publish_a_value_is_found_that_was_read_behind_a_newer_one() {
    finds_an_old_value(Order::BumpBehindPublish, 0);
}

#[test]
fn where_the_bump_comes_behind_the_answer_a_stale_read_is_found() {
    finds_an_old_value(Order::BumpBehindAnswer, 0);
}

#[test]
fn where_the_stamp_comes_behind_the_value_a_value_is_found_that_is_taken_for_current_for_ever() {
    finds_an_old_value(Order::StampBehindValue, 1);
}

/// The first answer that is wrong is that of somebody who remembers this value.
fn finds_an_old_value(order: Order, old: i64) {
    let wrong = check(&play(order)).expect_err("nothing was found").wrong;
    let End::Answered { answer: Answer::Found { value, .. }, .. } = wrong.end else { panic!("{wrong}") };
    assert_eq!((wrong.op, value), (Op::Get, old));
}

/// Sets some values. Where a write may be overtaken, somebody asks, and then read who remember; where a read may be, somebody writes.
fn play(order: Order) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    let keeper = Arc::new(Keeper::new(order));
    let hosting = Hosting { store: Some(INCARNATION), ..Hosting::default() };
    let server = Server::host(&address, hosting).unwrap().object("store", Kept(keeper.clone())).unwrap();
    let _running = server.start().unwrap();

    let clients = [How::Asking, How::ByName, How::ByCell].map(|how| Client::new(how, &address, &keeper));
    keeper.write(0);
    for (value, how) in [(1, How::ByName), (3, How::ByCell), (5, How::ByName)] {
        clients.iter().for_each(|client| client.read());
        keeper.at_the_gap(clients.iter().map(|client| {
            let client = client.clone();
            Box::new(move || client.read()) as Act
        }));
        keeper.write(value);
        keeper.all_are_done();

        let newcomer = Client::new(how, &address, &keeper);
        let writes = keeper.clone();
        keeper.at_the_gap([Box::new(move || writes.write(value + 1)) as Act]);
        newcomer.read();
        keeper.all_are_done();
        clients.iter().chain([&newcomer]).for_each(|client| client.read());
    }
    keeper.history.lock().unwrap().clone()
}

/// What somebody else does.
type Act = Box<dyn FnOnce() + Send>;

/// Keeps the store as a daemon does.
struct Keeper {
    order: Order,
    engine: Mutex<Engine>,
    board: Board,
    slot: Slot,
    history: Mutex<Vec<Event>>,
    /// What happens in the next gap.
    acts: Mutex<Vec<Act>>,
    /// Who is told when somebody waits for the engine.
    teller: Mutex<Option<Sender<()>>>,
    under_way: Mutex<Vec<JoinHandle<()>>>,
}

impl Keeper {
    fn new(order: Order) -> Keeper {
        Keeper {
            order,
            engine: Mutex::new(Engine::new(StoreStart { incarnation: INCARNATION, ..StoreStart::default() })),
            board: Board::new(INCARNATION).unwrap(),
            slot: Slot::of_hash(7),
            history: Mutex::default(),
            acts: Mutex::default(),
            teller: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    fn at_the_gap(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    /// Between two steps: others do something, one after the other, each until it is done or waits for the engine.
    fn gap(&self) {
        let acts = std::mem::take(&mut *self.acts.lock().unwrap());
        for act in acts {
            let (teller, told) = channel();
            *self.teller.lock().unwrap() = Some(teller.clone());
            let acting = thread::spawn(move || {
                act();
                let _ = teller.send(()); // of no interest where it had waited
            });
            told.recv().unwrap();
            *self.teller.lock().unwrap() = None;
            self.under_way.lock().unwrap().push(acting);
        }
    }

    fn all_are_done(&self) {
        let under_way = std::mem::take(&mut *self.under_way.lock().unwrap());
        under_way.into_iter().for_each(|act| act.join().unwrap());
        assert!(self.acts.lock().unwrap().is_empty(), "there was no gap");
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.try_lock().unwrap_or_else(|_| {
            if let Some(teller) = self.teller.lock().unwrap().take() {
                teller.send(()).unwrap();
            }
            self.engine.lock().unwrap()
        })
    }

    /// Sets the value, which in the native codec is one byte.
    fn write(&self, value: u8) {
        let begun = now();
        let op = StoreOp::Set(Put::new(KeyRef::named("x"), Codec(1), vec![value].into()));
        let mut engine = self.engine();
        let reply = match self.order {
            Order::Right | Order::StampBehindValue => engine.apply(op, Now::default(), &mut Bumps(self)),
            Order::BumpBehindPublish | Order::BumpBehindAnswer => engine.apply(op, Now::default(), &mut ()),
        };
        drop(engine);
        let Ok(Reply::Set { version, .. }) = reply else { panic!("{reply:?}") };
        if self.order == Order::BumpBehindPublish {
            self.gap();
            self.board.bump(self.slot, version);
        }
        self.note(Op::Set { value: value.into() }, begun, Answer::Written { version });
        if self.order == Order::BumpBehindAnswer {
            self.gap();
            self.board.bump(self.slot, version);
        }
    }

    fn note(&self, op: Op, begun: u64, answer: Answer) {
        let end = End::Answered { at: now(), answer };
        self.history.lock().unwrap().push(Event { by: (0, 0), key: 0, op, begun, end });
    }
}

/// The bump of a write, where it belongs.
struct Bumps<'k>(&'k Keeper);

impl<V> Effects<V> for Bumps<'_> {
    fn change(&mut self, _key: KeyRef<'_>, version: u64) {
        self.0.board.bump(self.0.slot, version);
        self.0.gap();
    }
}

/// The store as clients read it.
struct Kept(Arc<Keeper>);

#[andiron::expose]
impl Kept {
    fn get(&self, name: &str, known: Option<u64>, author: Option<&str>, hits: Option<u64>) -> Value {
        let keeper = &*self.0;
        let (author, hits) = (author.unwrap_or("default"), hits.unwrap_or(0));
        let get =
            StoreOp::Get { key: KeyRef::new(author, name), known: known.filter(|known| *known != 0), hits };
        let mut engine = keeper.engine();
        let reply = engine.apply(get, Now::default(), &mut ());
        let lock = (keeper.order != Order::StampBehindValue).then_some(engine);
        keeper.gap();
        let (slot, stamp) = (keeper.slot.index().into(), keeper.board.stamp(keeper.slot).into());
        drop(lock);
        Value::Array(match reply {
            Ok(Reply::NotModified { version, .. }) => {
                vec![2.into(), version.into(), slot, stamp, 0.into()]
            }
            Ok(Reply::Found(entry)) => {
                let value = Value::Bytes(entry.value.to_vec());
                vec![1.into(), entry.version.into(), slot, stamp, 0.into(), 0.0.into(), 1.into(), value]
            }
            other => panic!("{other:?}"),
        })
    }

    fn board(&self) -> PassedDescriptor {
        PassedDescriptor(Arc::new(self.0.board.as_fd().try_clone_to_owned().unwrap()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Asking,
    ByName,
    ByCell,
}

/// Reads always in the same way.
struct Client {
    how: How,
    store: Store,
    cell: Mutex<StoreCell>,
    keeper: Arc<Keeper>,
}

impl Client {
    fn new(how: How, address: &str, keeper: &Arc<Keeper>) -> Arc<Client> {
        let store = Hub::connect(address).unwrap().store();
        let cell = Mutex::new(store.cell("x"));
        Arc::new(Client { how, store, cell, keeper: keeper.clone() })
    }

    fn read(&self) {
        let begun = now();
        let entry: Entry = match self.how {
            How::Asking => match self.store.get_if_changed("x", 0).unwrap() {
                Changed::Yes(entry) => entry,
                other => panic!("{other:?}"),
            },
            How::ByName => self.store.entry("x").unwrap().unwrap(),
            How::ByCell => self.cell.lock().unwrap().entry().unwrap().unwrap().clone(),
        };
        let op = if self.how == How::Asking { Op::Ask } else { Op::Get };
        let answer = Answer::Found { value: entry.value().unwrap(), version: entry.version };
        self.keeper.note(op, begun, answer);
    }
}

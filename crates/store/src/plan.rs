//! Writes that a disk has to know of before anybody sees them.
//!
//! Such a write is planned: what it will do is decided, room is kept for it, and it has its version. Then whoever owns the store makes the plan durable, which
//! may take its time, and publishes it, or abandons it where that failed. Meanwhile the store goes on; only what concerns the same keys has to wait,
//! and its owner sees to that.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::effects::Effects;
use crate::entry::{Entry, Written};
use crate::error::StoreError;
use crate::expiry::nanos;
use crate::key::{Key, KeyRef};
use crate::limits::Room;
use crate::op::{Codec, Now, Op, Put, Reply};
use crate::store::Store;
use crate::value::Value;

/// Entries that are looked at to find out whether a disk has the one that comes first.
const LOOKED_AT: usize = 64;

/// A write that is decided and not done. No other takes out what it changes meanwhile, for its room or its time. Neither publishing nor abandoning it leaves the room kept that it needs.
#[derive(Debug)]
pub struct Plan<V> {
    what: What<V>,
    reply: Reply<V>,
    version: u64,
    /// Room that is kept for it.
    reserved: Vec<(Arc<str>, Room)>,
}

#[derive(Debug)]
enum What<V> {
    Nothing,
    /// With whether a disk has an entry of that key now.
    Put(Vec<(Key, Written<V>, bool)>),
    /// The same, and these are taken out.
    Replace(Vec<(Key, Written<V>, bool)>, Vec<Key>),
    Remove(Key, bool),
    Clear(Option<Arc<str>>),
    Persist(Key, bool),
}

/// What a disk has to do for a plan.
#[derive(Debug, PartialEq)]
pub enum ToDisk<'p, V> {
    /// Keep this entry.
    Keep {
        /// Where.
        key: KeyRef<'p>,
        /// The version of the write that set it.
        version: u64,
        /// Time of that write, seconds since the Unix epoch.
        timestamp: f64,
        /// How the value is encoded.
        codec: Codec,
        /// What is left of its time; `None`: it stays.
        ttl_left: Option<Duration>,
        /// The value.
        value: V,
    },
    /// Forget this entry.
    Forget(KeyRef<'p>),
    /// Forget all entries of this author, or all.
    ForgetAll(Option<&'p str>),
}

impl<V: Value> Plan<V> {
    /// The answer to the operation once it is published, where nothing has to be done for it.
    fn done(reply: Reply<V>) -> Plan<V> {
        Plan { what: What::Nothing, reply, version: 0, reserved: Vec::new() }
    }

    /// The keys that nothing else is to take out meanwhile.
    fn keys(&self) -> Vec<KeyRef<'_>> {
        match &self.what {
            What::Nothing | What::Clear(_) => Vec::new(),
            What::Put(puts) | What::Replace(puts, _) => puts.iter().map(|(key, ..)| key.into()).collect(),
            What::Remove(key, _) | What::Persist(key, _) => vec![key.into()],
        }
    }

    /// The version that it takes; `None`: it writes nothing.
    pub fn version(&self) -> Option<u64> {
        (self.version > 0).then_some(self.version)
    }
}

impl<V: Value> Store<V> {
    /// Whether an operation is to be planned: a disk has an entry that it changes, or is to have it.
    pub fn concerns_disk(&self, op: &Op<'_, V>) -> bool {
        let is_kept = |key: KeyRef<'_>| self.stored(key).is_some_and(|stored| stored.persistent);
        match op {
            Op::Set(put) => put.persist || self.persistent > 0 && is_kept(put.key),
            Op::SetMany(puts) => {
                puts.iter().any(|put| put.persist || self.persistent > 0 && is_kept(put.key))
            }
            Op::Increment { key, .. } | Op::Delete { key, .. } | Op::Replace(Put { key, .. }) => {
                self.persistent > 0 && is_kept(*key)
            }
            Op::DeleteFirst { author } => self.persistent > 0 && self.first_may_be_kept(author),
            Op::Clear { .. } => self.persistent > 0,
            Op::Persist { .. } | Op::ExpireOne { .. } | Op::Restore { .. } => true,
            Op::Get { .. } | Op::List { .. } | Op::Expire { .. } => false,
        }
    }

    /// Whether a disk may have the entry that comes first when that is asked for, by which time others may be over.
    fn first_may_be_kept(&self, author: &str) -> bool {
        let Some(shelf) = self.shelves.get(author) else { return false };
        let mut first = shelf.stored_after(None).take(LOOKED_AT);
        let decides = first.find(|stored| stored.persistent || stored.expiry.is_none());
        decides.map_or(shelf.len() > 0, |stored| stored.persistent)
    }

    /// The version that the next plan is to take, so that the writes that are made until it is published have smaller ones.
    pub fn version_for_plan(&self, room: u64) -> u64 {
        self.version.saturating_add(room)
    }

    /// Until this is called again, only plans take versions from `ceiling` on; `None`: there is no such limit. A write that would have to is refused with
    /// [`StoreError::VersionsHeld`].
    pub fn hold_versions(&mut self, ceiling: Option<u64>) {
        self.ceiling = ceiling;
    }

    /// Decides a write and keeps room for it, which may be made by what expired or is [evicted](crate::Evict::Oldest) now. Until the plan is published or abandoned no
    /// other operation may change its keys; of plans that are under way together those with smaller versions are published first.
    ///
    /// # Errors
    /// As for [`apply`](Store::apply).
    pub fn plan(
        &mut self,
        op: Op<'_, V>,
        now: Now,
        version: u64,
        effects: &mut impl Effects<V>,
    ) -> Result<Plan<V>, StoreError> {
        self.steady = self.steady.max(nanos(now.steady));
        let plan = self.decide(op, now, version, effects)?;
        self.pin_all(&plan, true);
        Ok(plan)
    }

    fn decide(
        &mut self,
        op: Op<'_, V>,
        now: Now,
        version: u64,
        effects: &mut impl Effects<V>,
    ) -> Result<Plan<V>, StoreError> {
        match op {
            Op::Set(put) => self.plan_set(vec![put], now.wall, version, effects),
            Op::SetMany(puts) => self.plan_set(puts, now.wall, version, effects),
            Op::Restore { entries, all } => self.plan_restore(entries, all, now.wall, version, effects),
            Op::Increment { key, by } => {
                let (put, value) = self.incremented(key, by)?;
                let plan = self.plan_set(vec![put], now.wall, version, effects)?;
                let timestamp = now.wall.as_secs_f64();
                Ok(Plan { reply: Reply::Counted { version, timestamp, value }, ..plan })
            }
            Op::Replace(put) => {
                let put = self.replacing(put)?;
                self.plan_set(vec![put], now.wall, version, effects)
            }
            Op::DeleteFirst { author } => {
                let Some(stored) = self.first(author) else {
                    return Ok(Plan::done(Reply::DeletedFirst(None)));
                };
                let (key, kept) = (Key::from(KeyRef::new(author, stored.name)), stored.persistent);
                let reply = Reply::DeletedFirst(Some((key.clone(), stored.entry(self.steady))));
                Ok(Plan { what: What::Remove(key, kept), reply, version, reserved: Vec::new() })
            }
            Op::Delete { key, if_version } => {
                self.check_version(key, if_version)?;
                // One whose time is over is missing, and still has to go.
                let Some(stored) = self.stored(key) else { return Ok(Plan::done(Reply::Deleted(None))) };
                let (kept, due) = (stored.persistent, stored.is_due(self.steady));
                let reply = Reply::Deleted((!due).then(|| stored.entry(self.steady)));
                Ok(Plan { what: What::Remove(key.into(), kept), reply, version, reserved: Vec::new() })
            }
            Op::Clear { author } => {
                let count = self.held_by(author).0 - self.due_of(author, self.steady);
                let what = What::Clear(author.map(Arc::from));
                Ok(Plan { what, reply: Reply::Cleared { count }, version, reserved: Vec::new() })
            }
            Op::Persist { key, persist } => match self.live(key) {
                Some(stored) if stored.persistent == persist => Ok(Plan::done(Reply::Kept(true))),
                None => Ok(Plan::done(Reply::Kept(false))),
                Some(_) => {
                    let what = What::Persist(key.into(), persist);
                    Ok(Plan { what, reply: Reply::Kept(true), version: 0, reserved: Vec::new() })
                }
            },
            Op::ExpireOne { key } => match self.stored(key).filter(|stored| stored.is_due(self.steady)) {
                None => Ok(Plan::done(Reply::Expired { count: 0 })),
                Some(stored) => {
                    let what = What::Remove(key.into(), stored.persistent);
                    Ok(Plan { what, reply: Reply::Expired { count: 1 }, version, reserved: Vec::new() })
                }
            },
            op @ (Op::Get { .. } | Op::List { .. } | Op::Expire { .. }) => {
                self.apply(op, now, effects).map(Plan::done)
            }
        }
    }

    fn plan_set(
        &mut self,
        puts: Vec<Put<'_, V>>,
        wall: Duration,
        version: u64,
        effects: &mut impl Effects<V>,
    ) -> Result<Plan<V>, StoreError> {
        self.admit_with_room(&puts, true, effects)?;
        let timestamp = wall.as_secs_f64();
        let reserved = self.reserve(&puts)?;
        let written = puts.into_iter().map(|Put { key, codec, value, ttl, persist, .. }| {
            let expiry = ttl.map(|ttl| self.steady.saturating_add(nanos(ttl)));
            let kept = self.stored(key).is_some_and(|stored| stored.persistent);
            (Key::from(key), Written { version, timestamp, codec, expiry, persistent: persist, value }, kept)
        });
        let what = What::Put(written.collect());
        Ok(Plan { what, reply: Reply::Set { version, timestamp }, version, reserved })
    }

    fn plan_restore(
        &mut self,
        entries: &[(Key, Entry<V>)],
        all: bool,
        wall: Duration,
        version: u64,
        effects: &mut impl Effects<V>,
    ) -> Result<Plan<V>, StoreError> {
        let puts = entries.iter().map(|(key, entry)| {
            let Entry { value, codec, ttl_left, persistent, .. } = entry;
            let (value, codec, ttl) = (value.clone(), *codec, *ttl_left);
            Put { key: key.into(), codec, value, ttl, if_version: None, persist: *persistent }
        });
        let mut plan = self.plan_set(puts.collect(), wall, version, effects)?;
        let What::Put(mut puts) = plan.what else { return Ok(plan) };
        puts.iter_mut().zip(entries).for_each(|((_, put, _), (_, entry))| put.timestamp = entry.timestamp);
        plan.what = if all {
            let stay: HashSet<KeyRef<'_>> = entries.iter().map(|(key, _)| key.into()).collect();
            let kept = self.stored_after(None, None).filter(|(_, stored)| stored.persistent);
            let keys = kept.map(|(author, stored)| KeyRef::new(author, stored.name));
            let gone = keys.filter(|key| !stay.contains(key)).map(Key::from).collect();
            What::Replace(puts, gone)
        } else {
            What::Put(puts)
        };
        Ok(plan)
    }

    /// Puts an entry that a disk gave back, before anything else is done, in any order; the disk has it, whatever [`Entry::persistent`] says. Versions go on above
    /// that of the entry. No limit refuses it: what was acknowledged is there, also where limits are smaller now. Then writes find no room until there is some.
    pub fn load(&mut self, key: KeyRef<'_>, entry: Entry<V>, now: Now) {
        self.steady = self.steady.max(nanos(now.steady));
        self.version = self.version.max(entry.version);
        let Entry { value, codec, version, timestamp, ttl_left, .. } = entry;
        let expiry = ttl_left.map(|left| self.steady.saturating_add(nanos(left)));
        self.put(key, Written { version, timestamp, codec, expiry, persistent: true, value }, &mut ());
    }

    /// What a disk has to do before the plan is published, in this order.
    pub fn to_disk<'p>(&self, plan: &'p Plan<V>) -> Vec<ToDisk<'p, V>> {
        match &plan.what {
            What::Nothing => Vec::new(),
            What::Replace(puts, _) => {
                let forget = std::iter::once(ToDisk::ForgetAll(None));
                forget.chain(puts.iter().filter_map(|put| self.put_on_disk(put, false))).collect()
            }
            What::Put(puts) => puts.iter().filter_map(|put| self.put_on_disk(put, put.2)).collect(),
            What::Remove(key, kept) => kept.then(|| ToDisk::Forget(key.into())).into_iter().collect(),
            What::Clear(author) => vec![ToDisk::ForgetAll(author.as_deref())],
            What::Persist(key, false) => vec![ToDisk::Forget(key.into())],
            What::Persist(key, true) => {
                let key = KeyRef::from(key);
                let keep = self.stored(key).map(|stored| {
                    let entry = stored.entry(self.steady);
                    let (version, timestamp, codec) = (entry.version, entry.timestamp, entry.codec);
                    ToDisk::Keep {
                        key,
                        version,
                        timestamp,
                        codec,
                        ttl_left: entry.ttl_left,
                        value: entry.value,
                    }
                });
                keep.into_iter().collect()
            }
        }
    }

    /// What a disk has to do for an entry that is set. `forget`: it has one that is to go where it is not to have this one.
    fn put_on_disk<'p>(
        &self,
        (key, written, _): &'p (Key, Written<V>, bool),
        forget: bool,
    ) -> Option<ToDisk<'p, V>> {
        let key = KeyRef::from(key);
        let Written { version, timestamp, codec, expiry, persistent, value } = written;
        if !persistent {
            return forget.then_some(ToDisk::Forget(key));
        }
        let ttl_left = expiry.map(|expiry| Duration::from_nanos(expiry.saturating_sub(self.steady)));
        let (version, timestamp, codec) = (*version, *timestamp, *codec);
        Some(ToDisk::Keep { key, version, timestamp, codec, ttl_left, value: value.clone() })
    }

    /// So many of the entries that a disk has and whose time is over: [`Op::ExpireOne`] is to be planned for each.
    pub fn due_on_disk(&self, limit: usize) -> Vec<Key> {
        let due = self.expiries.due_on_disk(self.steady).take(limit);
        due.map(|expiring| KeyRef::new(&expiring.author, &expiring.name).into()).collect()
    }

    /// Does what was planned. It cannot fail.
    pub fn publish(&mut self, plan: Plan<V>, effects: &mut impl Effects<V>) -> Reply<V> {
        let Plan { what, reply, version, reserved } = plan;
        self.give_back(&reserved);
        match what {
            What::Nothing => {}
            What::Replace(puts, gone) => {
                let changed = gone.iter().chain(puts.iter().map(|(key, ..)| key));
                changed.for_each(|key| effects.change(key.into(), version));
                self.version = self.version.max(version);
                gone.iter().for_each(|key| self.remove(key.into(), effects));
                for (key, written, _) in puts {
                    self.put((&key).into(), written, effects);
                }
            }
            What::Put(puts) => {
                puts.iter().for_each(|(key, ..)| effects.change(key.into(), version));
                self.version = self.version.max(version);
                for (key, written, _) in puts {
                    self.put((&key).into(), written, effects);
                }
            }
            What::Remove(key, _) => {
                effects.change((&key).into(), version);
                self.version = self.version.max(version);
                self.remove((&key).into(), effects);
            }
            What::Clear(author) => self.clear_at(author.as_deref(), version.max(self.version), effects),
            What::Persist(key, persist) => self.mark((&key).into(), persist, false),
        }
        reply
    }

    /// Gives up what was planned: it did not happen.
    pub fn abandon(&mut self, plan: Plan<V>) {
        self.give_back(&plan.reserved);
        self.pin_all(&plan, false);
    }

    fn pin_all(&mut self, plan: &Plan<V>, planned: bool) {
        for key in plan.keys() {
            self.pin(key, planned);
        }
    }

    /// Has an entry stay where it is until the plan for it is done, or not any more. False if it is not there, or was so before.
    pub(crate) fn pin(&mut self, key: KeyRef<'_>, planned: bool) -> bool {
        let Some(stored) = self.stored(key).filter(|stored| stored.planned != planned) else { return false };
        let persistent = stored.persistent;
        self.mark(key, persistent, planned);
        true
    }

    fn mark(&mut self, key: KeyRef<'_>, persistent: bool, planned: bool) {
        let Some(stored) = self.stored(key) else { return };
        let was_persistent = stored.persistent;
        self.forget(key);
        if let Some(shelf) = self.shelves.get_mut(key.author) {
            shelf.mark(key.name, persistent, planned);
        }
        self.remember(key);
        self.persistent = self.persistent - usize::from(was_persistent) + usize::from(persistent);
    }
}

//! The object that every end answers to from the start: it knows the names of the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use crate::link::Link;
use crate::object::{Exposed, Object};
use crate::sync::lock;
use crate::target::Target;
use crate::{Error, ErrorKind, Proxy, Result};

/// The names of objects, shared by all connections of a server.
#[derive(Default)]
pub(crate) struct Directory {
    names: Mutex<BTreeMap<String, Named>>,
    /// How the server is reached.
    addresses: Mutex<Vec<String>>,
    /// True where peers may register objects of theirs.
    open: bool,
}

struct Named {
    target: Target,
    /// The connection that registered it, by its place in memory while it is open.
    owner: Option<usize>,
}

impl Directory {
    pub(crate) fn new(open: bool) -> Arc<Directory> {
        Arc::new(Directory { open, ..Directory::default() })
    }

    /// Gives an object of this process a name.
    pub(crate) fn add(&self, name: &str, object: Arc<dyn Object>) -> Result<()> {
        self.insert(name, Named { target: Target::Local(object), owner: None })
    }

    fn insert(&self, name: &str, named: Named) -> Result<()> {
        if name.is_empty() || name.len() > 1024 {
            return Err(Error::new(ErrorKind::BadArguments, "an object's name has 1 to 1024 bytes"));
        }
        let mut names = lock(&self.names);
        if names.contains_key(name) {
            let text = format!("the name '{name}' is taken; choose another, or end the process that has it");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        names.insert(name.to_owned(), named);
        Ok(())
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Target> {
        lock(&self.names).get(name).map(|named| named.target.clone())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.names).keys().cloned().collect()
    }

    /// Tells one more address of this server.
    pub(crate) fn advertise(&self, address: String) {
        lock(&self.addresses).push(address);
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        lock(&self.addresses).clone()
    }

    /// Nobody finds anything any more.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *lock(&self.names));
        drop(gone); // without the lock: it may be the last handle of anything
    }

    /// A connection has ended: the names that it brought are gone.
    fn forget(&self, owner: usize) {
        let mut gone = Vec::new();
        lock(&self.names).retain(|_, named| {
            let keep = named.owner != Some(owner);
            if !keep {
                gone.push(named.target.clone());
            }
            keep
        });
        drop(gone); // without the lock: it may be the last handle of a connection
    }

    fn remove(&self, name: &str, owner: usize) -> Result<()> {
        let mut names = lock(&self.names);
        if names.get(name).is_none_or(|named| named.owner != Some(owner)) {
            return Err(Error::new(
                ErrorKind::NoObject,
                format!("this connection registered no object '{name}'"),
            ));
        }
        let removed = names.remove(name);
        drop(names);
        drop(removed);
        Ok(())
    }
}

/// The root object of one connection.
pub(crate) struct Root {
    directory: Arc<Directory>,
    link: Weak<Link>,
}

impl Root {
    /// Gives a connection its root.
    pub(crate) fn install(directory: &Arc<Directory>, link: &Arc<Link>) {
        let root = Root { directory: directory.clone(), link: Arc::downgrade(link) };
        link.set_root(Arc::new(Exposed::new(root, true)));
        if directory.open {
            let (directory, owner) = (directory.clone(), Arc::as_ptr(link) as usize);
            link.on_close(move |_| directory.forget(owner));
        }
    }

    fn owner(&self) -> usize {
        self.link.as_ptr() as usize
    }

    /// True where the peer may find the object of this name. A connection that is gone may find nothing.
    fn shows(&self, name: &str) -> bool {
        self.link.upgrade().is_some_and(|link| link.rights().is_none_or(|rights| rights.may_call(name)))
    }
}

#[crate::expose]
impl Root {
    /// The object of this name.
    fn lookup(&self, name: &str) -> Result<Proxy> {
        if !self.shows(name) {
            let text = format!(
                "the secret of this connection gives no right to call '{name}'; the words behind it in the server's file say \
                 what it may call"
            );
            return Err(Error::new(ErrorKind::Denied, text));
        }
        let target = self.directory.lookup(name);
        let missing = || {
            let text = format!("no object is named '{name}'; `andiron describe` lists those that are");
            Error::new(ErrorKind::NoObject, text)
        };
        target.map(Proxy::of).ok_or_else(missing)
    }

    /// The names of all objects, sorted; where the caller's rights are limited, of those that it may call.
    fn names(&self) -> Vec<String> {
        let mut names = self.directory.names();
        names.retain(|name| self.shows(name));
        names
    }

    /// The addresses by which this server is reached, the best ones first.
    fn addresses(&self) -> Vec<String> {
        self.directory.addresses()
    }

    /// Gives an object a name until it is unregistered or the connection ends.
    fn register(&self, name: &str, object: Proxy) -> Result<()> {
        if !self.directory.open {
            let text = "this server takes no objects of others; register them at a daemon (`andiron serve`)";
            return Err(Error::new(ErrorKind::Denied, text));
        }
        let link = self.link.upgrade();
        if link.as_ref().and_then(|link| link.rights()).is_some_and(|rights| rights.objects.is_some()) {
            let text = "the secret of this connection gives the right to call some objects, and not to register others";
            return Err(Error::new(ErrorKind::Denied, text));
        }
        self.directory.insert(name, Named { target: object.target().clone(), owner: Some(self.owner()) })?;
        if link.is_none_or(|link| link.ended().is_some()) {
            self.directory.forget(self.owner()); // it ended meanwhile, and what forgets its names may have run before
        }
        Ok(())
    }

    /// Takes the name back.
    fn unregister(&self, name: &str) -> Result<()> {
        self.directory.remove(name, self.owner())
    }
}

//! What Andiron needs of the operating system, and nothing else: the one room with system calls.
//!
//! | Module | What for |
//! | --- | --- |
//! | [`runtime`] | the private folder where servers of this user are found, and the rule for their names |
//! | [`names`] | claiming a name: one server a name, found by its socket, freed by the kernel when it dies |
//! | [`socket`] | stream sockets, Unix ones with descriptor passing and peer credentials |
//! | [`tcp`] | connecting and listening by TCP |
//! | [`inherit`] | listening sockets handed over by systemd or the parent process |
//! | [`poll`] | waiting for one descriptor |
//! | [`epoll`] | waiting for many, from many threads |
//! | [`interrupt`] | waits that a signal ends |
//! | [`memory`] | big values by reference: memory that is frozen and passed as a descriptor |
//! | [`board`] | the version board: whether what was read is still current, told without a message |
//! | [`clock`] | the clock that times of life are counted by |
//! | [`fork`] | noticing that this process is a forked copy |
//! | [`random`], [`limits`] | random bytes; the limit of open descriptors |
//!
//! Everything here is blocking or non-blocking as its name says, keeps no threads (but one for each [`board::Board`]), and hands out owned
//! descriptors ([`std::os::fd::OwnedFd`]) that close on exec. Written for and tested on Linux.

pub mod board;
pub mod clock;
pub mod epoll;
pub mod fork;
pub mod inherit;
pub mod interrupt;
pub mod limits;
mod mapping;
pub mod memory;
pub mod names;
pub mod pages;
pub mod poll;
pub mod random;
pub mod runtime;
pub mod socket;
pub mod tcp;

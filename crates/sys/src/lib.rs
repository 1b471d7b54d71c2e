//! What Andiron needs of the operating system.

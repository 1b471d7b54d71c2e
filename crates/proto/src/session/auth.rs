//! Who is there: what the ends of a session show each other before it opens (`spec/PROTOCOL.md`, section 2).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Role;

/// How an end knows who is at the other one. Each end knows one way, so nobody can be talked into a weaker one.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// The operating system vouches, as for a Unix socket.
    #[default]
    User,
    /// The certificates of the TLS connection vouch.
    Certificate,
    /// Both ends prove that they hold the same secret, over what was said on this channel.
    Secret {
        /// What an initiator proves to have is the first; an acceptor takes any, and answers with the same.
        keys: Arc<[Key]>,
        /// Those that an acceptor takes no more, each with what both ends are told where somebody proves to have it.
        ended: Arc<[(Key, String)]>,
        /// Random bytes that no other session uses.
        nonce: [u8; 32],
    },
}

impl Auth {
    /// Its name in a `HELLO`.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Auth::User => "user",
            Auth::Certificate => "certificate",
            Auth::Secret { .. } => "secret",
        }
    }

    pub(super) fn nonce(&self) -> Option<[u8; 32]> {
        match self {
            Auth::Secret { nonce, .. } => Some(*nonce),
            _ => None,
        }
    }

    /// What an acceptor that knows only this way says to one who offers others.
    pub(super) fn wanted(&self, offered: &[String]) -> String {
        let what = match self {
            Auth::User => "takes processes of its own user, and no secret or certificate",
            Auth::Certificate => {
                "asks for certificates: connect by `tls://` with an authority to trust, and without a secret"
            }
            Auth::Secret { .. } => {
                "asks for a secret: give the client the one that the server has, for instance in the file that \
                 ANDIRON_SECRET_FILE names"
            }
        };
        format!("this server {what} (offered: {})", offered.join(", "))
    }
}

/// What both ends hold, 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What was said on the channel so far, which the proofs are over.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) own: Vec<u8>,
    pub(super) peer: Vec<u8>,
    pub(super) binding: Vec<u8>,
}

const INITIATOR: &[u8] = b"andiron proof of the initiator\0";
const ACCEPTOR: &[u8] = b"andiron proof of the acceptor\0";

impl Transcript {
    /// The proof of the end in `role`, which this one is where `own`.
    fn mac(&self, key: &Key, of: Role, own: Role) -> Hmac<Sha256> {
        let (initiator, acceptor) = match own {
            Role::Initiator => (&self.own, &self.peer),
            Role::Acceptor => (&self.peer, &self.own),
        };
        let mut hash = Sha256::new();
        for said in [initiator, acceptor] {
            hash.update((said.len() as u64).to_be_bytes());
            hash.update(said);
        }
        hash.update(&self.binding);
        let mut mac = Hmac::new_from_slice(&key.0).expect("HMAC takes keys of any length");
        mac.update(match of {
            Role::Initiator => INITIATOR,
            Role::Acceptor => ACCEPTOR,
        });
        mac.update(&hash.finalize());
        mac
    }

    /// What this end proves.
    pub(super) fn prove(&self, key: &Key, own: Role) -> [u8; 32] {
        self.mac(key, own, own).finalize().into_bytes().into()
    }

    /// True where the peer of this end proved to have the key. Takes the same time for all wrong proofs.
    pub(super) fn verify(&self, key: &Key, own: Role, proof: &[u8]) -> bool {
        let peer = match own {
            Role::Initiator => Role::Acceptor,
            Role::Acceptor => Role::Initiator,
        };
        self.mac(key, peer, own).verify_slice(proof).is_ok()
    }
}

/// What ties a proof to the channel that it is sent on, so that it is of no use on another one.
pub mod binding {
    use super::{Digest, Sha256, SocketAddr};

    /// TLS: the acceptor's certificate in DER, as this end knows it.
    pub fn tls(certificate: &[u8]) -> Vec<u8> {
        let mut binding = b"tls\0".to_vec();
        binding.extend_from_slice(&Sha256::digest(certificate));
        binding
    }

    /// TCP on the loopback interface: both addresses as this end sees them.
    pub fn loopback(initiator: SocketAddr, acceptor: SocketAddr) -> Vec<u8> {
        let mut binding = b"tcp\0".to_vec();
        for address in [initiator, acceptor] {
            // An IPv4 address is the same one where a socket of IPv6 took it.
            let text = SocketAddr::new(address.ip().to_canonical(), address.port()).to_string();
            binding.extend_from_slice(&(text.len() as u16).to_be_bytes());
            binding.extend_from_slice(text.as_bytes());
        }
        binding
    }

    /// TCP without TLS over a network: nothing, since addresses may be translated on the way.
    pub fn plain() -> Vec<u8> {
        b"tcp\0".to_vec()
    }

    /// A Unix socket.
    pub fn unix() -> Vec<u8> {
        b"unx\0".to_vec()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|index| u8::from_str_radix(&text[index..index + 2], 16).unwrap())
            .collect()
    }

    fn address(text: &Value) -> SocketAddr {
        text.as_str().unwrap().parse().unwrap()
    }

    #[test]
    fn proofs_and_bindings_are_those_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/proofs.json");
        let vectors: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for vector in &vectors {
            let bytes = |name: &str| unhex(vector[name].as_str().unwrap());
            let channel = &vector["channel"];
            let binding = if let Some(certificate) = channel["certificate"].as_str() {
                binding::tls(&unhex(certificate))
            } else if channel["loopback"].is_array() {
                binding::loopback(address(&channel["loopback"][0]), address(&channel["loopback"][1]))
            } else if channel["plain"] == true {
                binding::plain()
            } else {
                binding::unix()
            };
            assert_eq!(binding, bytes("binding"), "{}", vector["name"]);
            let key = Key::new(bytes("key").try_into().unwrap());
            let ends =
                [(Role::Initiator, "initiator", "acceptor"), (Role::Acceptor, "acceptor", "initiator")];
            for (role, own, peer) in ends {
                let said = Transcript { own: bytes(own), peer: bytes(peer), binding: binding.clone() };
                let (proof, answer) = (bytes(&format!("proof_of_{own}")), bytes(&format!("proof_of_{peer}")));
                assert_eq!(said.prove(&key, role)[..], proof, "{}", vector["name"]);
                assert!(said.verify(&key, role, &answer), "{}", vector["name"]);
                assert!(!said.verify(&key, role, &proof) && !said.verify(&key, role, &answer[..31]));
            }
        }
    }
}

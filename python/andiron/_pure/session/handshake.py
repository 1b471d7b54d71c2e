"""From the first byte to the open session (``spec/PROTOCOL.md``, sections 1 and 2)."""

from __future__ import annotations

from andiron._pure.failure import Failure
from andiron._pure.session.hello import Hello
from andiron._pure.session.promises import Promising
from andiron._pure.session.state import fresh_nonce
from andiron._pure.session.wire import (
    AUTHENTICATION,
    HEADER,
    HELLO,
    MAGIC,
    PREFACE,
    PROOF,
    VERSIONS,
    Violation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_WANTED = {
    "user": "takes processes of its own user, and no secret or certificate",
    "certificate": "asks for certificates: connect by `tls://` with an authority to trust, and without a secret",
    "secret": "asks for a secret: give the client the one that the server has, for instance in the file that ANDIRON_SECRET_FILE names",
}
_WRONG_PROOF = "the proof of the secret is wrong: this end has another secret than the other one, or somebody stands between the two"


class Handshaking(Promising):
    """The part of a session that begins it."""

    __slots__ = ()

    def bind(self, binding: bytes) -> None:
        """Ties the proof of a secret to the channel. To be called before any byte is received; without it no proof is made or believed."""
        if self.transcript is not None:
            self.transcript.binding = binding

    def proved_with(self) -> int | None:
        """Which of the keys the peer proved to have, counted from 0."""
        return self.proved

    def turn_away(self, reason: int, told: str, failure: Failure) -> bool:
        """An acceptor that waits for a peer to say who it is can take nobody any more: tells it when it does. False where it is too late."""
        early = not self.initiator and self.stage in ("preface", "hello")
        if early:
            self.config.refuse = reason, told, failure
        return early

    def send_preface(self, versions: tuple[int, int]) -> None:
        """The first bytes of this end."""
        preface = PREFACE.pack(MAGIC, *versions)
        self.outbox.put(preface)
        if self.transcript is not None:
            self.transcript.own += preface

    def send_hello(self) -> None:
        """Says who this end is."""
        config = self.config
        nonce = None
        if self.transcript is not None:
            nonce = config.nonce or fresh_nonce()
        hello = Hello(config.agent, [config.method], config.features, config.limits, config.store, nonce)
        payload = hello.written()
        frame = HEADER.pack(len(payload), HELLO, 0, 0, 0) + payload
        self.outbox.put(frame)
        if self.transcript is not None:
            self.transcript.own += frame

    def on_preface(self, preface: bytes) -> None:
        """The first bytes of the other end, which are as many as they should be."""
        magic, lowest, highest = PREFACE.unpack(preface)
        if magic != MAGIC or not 1 <= lowest <= highest:
            raise Violation("this is not an Andiron stream: its versions make no sense")
        if self.transcript is not None:
            self.transcript.peer += preface
        common = min(highest, VERSIONS[1])
        if common >= max(lowest, VERSIONS[0]) and (not self.initiator or lowest == highest):
            self.stage = "hello"
            if not self.initiator:
                self.send_preface((common, common))
            return
        if not self.initiator:
            self.send_preface(VERSIONS)
        text = (
            f"no common protocol version: the other end speaks {lowest} to {highest}, this program {VERSIONS[0]} to {VERSIONS[1]}; "
            "update the older one"
        )
        self.close(Failure("unsupported", text))

    def on_hello(self, id_: int, payload: bytes) -> None:
        """The other end says who it is. The proofs are over all that it sent, so over the id that says nothing."""
        if self.stage != "hello":
            raise Violation("a second HELLO")
        hello = Hello.read(payload)
        refuse = self.config.refuse
        if refuse is not None:
            reason, told, failure = refuse
            self.say_goodbye(reason, told)
            self.close(failure)
            return
        unsuitable = self._unsuitable(hello.auth)
        if unsuitable is None and self.transcript is not None:
            unsuitable = self._cannot_prove()
        if unsuitable is not None:
            self._refuse_peer(unsuitable)
            return
        if self.transcript is None:
            if not self.initiator:
                self.send_hello()
            self.opened(hello)
            return
        if hello.nonce is None:
            raise Violation("a HELLO for a secret has a nonce of 32 bytes")
        self.transcript.peer += HEADER.pack(len(payload), HELLO, 0, 0, id_) + payload
        self.said = hello
        self.stage = "proof"
        if self.initiator:
            self._send_proof(0)
        else:
            self.send_hello()

    def _unsuitable(self, methods: Sequence[str]) -> str | None:
        """Why a peer with these methods cannot be taken."""
        method = self.config.method
        if self.initiator:
            if list(methods) == [method]:
                return None
            chosen = ", ".join(methods)
            return f'the server chose the authentication method "{chosen}", and only "{method}" was offered'
        if method in methods:
            return None
        return f"this server {_WANTED[method]} (offered: {', '.join(methods)})"

    def _keys(self) -> Sequence[bytes]:
        auth = self.config.auth
        return () if isinstance(auth, str) else auth

    def _cannot_prove(self) -> str | None:
        """Why this end can neither prove a secret nor check a proof, if so."""
        if not self._keys():
            return "this end is to know the other one by a secret, and has none"
        if self.transcript is None or not self.transcript.binding:
            return "this end does not know by what channel it is connected, so a proof would be good for any"
        return None

    def _send_proof(self, index: int) -> None:
        """Proves to have this key."""
        if self.transcript is not None:
            self.outbox.frame(PROOF, 0, 0, self.transcript.prove(self._keys()[index]))

    def on_proof(self, proof: bytes) -> None:
        """The other end proves who it is."""
        transcript, hello = self.transcript, self.said
        if self.stage != "proof" or len(proof) != 32 or transcript is None or hello is None:
            raise Violation("a PROOF that was not asked for")
        # An initiator has proved to have the first, and is to be answered with that.
        keys = self._keys()[:1] if self.initiator else self._keys()
        found = [index for index, key in enumerate(keys) if transcript.verify(key, proof)]
        if not found:
            # It is safe to say that a key is taken no more: nobody hears it who has not the key.
            ended = [text for key, text in self.config.ended if transcript.verify(key, proof)]
            self._refuse_peer(ended[0] if ended else _WRONG_PROOF)
            return
        self.proved = found[0]
        if not self.initiator:
            self._send_proof(found[0])
        self.transcript = None
        self.opened(hello)

    def _refuse_peer(self, text: str) -> None:
        """Sends a peer away who is not who it should be."""
        self.say_goodbye(AUTHENTICATION, text)
        self.close(Failure("authentication", text))

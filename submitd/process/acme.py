"""One errand: get a new certificate, where one is due.

``python -m submitd.process.acme`` is started by a supervisor, speaks over its
pipe, and ends: what the libraries of ACME take of memory is given back.
Everything here blocks.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Literal

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from submitd.dns.update import UpdateRefused, UpdateServer
from submitd.process.order import Order, ensure_certificate
from submitd.process.program import FROM_CHILD
from submitd.spool.files import replace_durably, write_durably
from submitd.tls.authority import Authority, ExternalAccount, NotIssued, Proof
from submitd.tls.making import (
    ServerKey,
    is_temporary,
    key_as_pem,
    make_key,
    make_proof,
    names_of,
)

_ACCOUNT_KEY: Final = "account.pem"
_ASK_AGAIN: Final = 6 * 3600.0
"""Seconds after which the authority is asked once more whether it is time."""

_SOONEST: Final = 10.0
_PAUSE: Final = 3600.0
"""Seconds from one certificate to the next order, where its life is not short."""

_SHOWN_WITHIN: Final = 60.0
"""Seconds that a name server may take to show what it has taken."""


@frozen
class Outcome:
    """How an errand ended."""

    did: Literal["issued", "kept", "failed"]
    again_in: float = 0.0
    """Seconds until the next one is sensible; after a failure who sent us decides."""

    ends: str = ""
    """Of the certificate that is there now."""

    problem: str = ""
    """Why there is none, or what went wrong besides."""


def is_due(order: Order, leaf: x509.Certificate, now: datetime) -> bool:
    """Whether the certificate is not, or not for long, the one that is ordered."""
    kind = rsa.RSAPublicKey if order.key == "rsa" else ec.EllipticCurvePublicKey
    return (
        is_temporary(leaf)
        or set(names_of(leaf)) != set(order.names)
        or not isinstance(leaf.public_key(), kind)
        or now >= _latest(leaf)
    )


def _latest(leaf: x509.Certificate) -> datetime:
    """When a third of its life is left."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return ends - (ends - begins) / 3


class Errand:
    """What is done in this process."""

    def __init__(self, order: Order, supervisor: "Supervisor") -> None:
        self._order = order
        self._supervisor = supervisor
        self._left: list[str] = []
        """Proofs that could not be withdrawn: harmless, but to be told."""

    def run(self, *, force: bool) -> Outcome:
        """Renew, if it is time or ``force``. Never raises for what can go wrong."""
        try:
            return self._run(force=force)
        except (NotIssued, UpdateRefused) as problem:
            return Outcome("failed", problem=str(problem))
        except OSError as problem:
            where = f"{problem.filename}: " if problem.filename else ""
            return Outcome("failed", problem=f"{where}{problem.strerror or problem}")

    def _run(self, *, force: bool) -> Outcome:
        order = self._order
        ensure_certificate(order)
        leaf = _leaf_of(order.file.read_bytes())
        now = datetime.now(UTC)
        if leaf is not None and not (
            force or is_due(order, leaf, now) or self._is_wanted_back(leaf, now)
        ):
            return Outcome("kept", _until_due(leaf), _date(leaf))
        authority = self._authority()
        external = ExternalAccount(order.account_id, order.account_key)
        authority.register(order.contact, external if order.account_id else None)
        key = make_key(order.key)
        with self._presented() as present:
            chain = authority.issue(
                order.names, key, order.challenge, present, order.profile
            )
        leaf = _checked(chain, order.names, key)
        replace_durably(order.file, key_as_pem(key) + chain)
        left = "; ".join(self._left)
        # A clock that is wrong must not order one after the other.
        life = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
        again_in = max(_until_due(leaf), min(life / 3, _PAUSE))
        return Outcome("issued", again_in, _date(leaf), left)

    def _authority(self) -> Authority:
        order = self._order
        trust = Path(order.ca_file) if order.ca_file else None
        return Authority(order.authority, self._account_key(), trust)

    def _is_wanted_back(self, leaf: x509.Certificate, now: datetime) -> bool:
        """Whether the authority wants it renewed before its time."""
        try:
            at = self._authority().renew_at(
                leaf.public_bytes(serialization.Encoding.PEM)
            )
        except NotIssued:
            # It is good for a while yet: that the authority is away is no news.
            return False
        return at is not None and at <= now

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        file = Path(self._order.folder) / _ACCOUNT_KEY
        if not file.exists():
            fresh = make_key("ecdsa")
            write_durably(file, key_as_pem(fresh))
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), None)
        except (ValueError, TypeError) as problem:
            raise NotIssued(f"{file}: holds no usable private key") from problem
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise NotIssued(f"{file}: holds a key of another kind")
        return key

    @contextmanager
    def _presented(self) -> Iterator[Any]:
        """The way to show proofs; they are withdrawn when the block ends."""
        order = self._order
        undo: list[Callable[[], object]] = []
        try:
            if order.dns is not None:
                server = UpdateServer(**order.dns)
                yield lambda proofs: self._in_dns(server, proofs, undo)
            elif order.webroot:
                yield lambda proofs: _in_webroot(Path(order.webroot), proofs, undo)
            else:
                yield self._by_supervisor
        finally:
            for one in undo:
                try:
                    one()
                except (UpdateRefused, OSError) as problem:
                    self._left.append(f"a proof is left behind: {problem}")

    def _in_dns(
        self,
        server: UpdateServer,
        proofs: Sequence[Proof],
        undo: list[Callable[[], object]],
    ) -> None:
        for proof in proofs:
            name, text = f"_acme-challenge.{proof.name}.", proof.dns_text
            server.put_text(name, text)
            undo.append(partial(server.remove_text, name, text))
            server.wait_for_text(name, text, _SHOWN_WITHIN)
        time.sleep(self._order.settle)  # noqa: TID251 - no event loop here

    def _by_supervisor(self, proofs: Sequence[Proof]) -> None:
        for proof in proofs:
            facts = {"token": proof.token, "authorization": proof.authorization}
            if proof.kind == "tls-alpn-01":
                key = make_key("ecdsa")
                certificate = make_proof(proof.name, proof.digest, key)
                facts = {
                    "name": proof.name,
                    "certificate": certificate.decode("ascii"),
                    "key": key_as_pem(key).decode("ascii"),
                }
            self._supervisor.ask(f"show-{proof.kind}", **facts)


class Supervisor:
    """The other end of the pipe: `process.pipe`, without an event loop."""

    def __init__(self, hear: IO[bytes], speak: IO[bytes]) -> None:
        self._hear = hear
        self._speak = speak

    def wait_for_errand(self) -> tuple[Order, bool]:
        """What to do, and whether in any case.

        Raises:
            EOFError: it is gone.
        """
        if not (line := self._hear.readline()):
            raise EOFError
        _, facts = json.loads(line)
        order = facts["order"] | {"names": tuple(facts["order"]["names"])}
        return Order(**order), bool(facts["force"])

    def ask(self, name: str, /, **facts: object) -> None:
        """Have it do something, and wait until it is done.

        Raises:
            NotIssued: it is gone, or could not.
        """
        self._send([name, facts, 1])
        line = self._hear.readline()
        answer = json.loads(line)[1] if line else {"error": "the supervisor is gone"}
        if problem := answer.get("error"):
            raise NotIssued(str(problem))

    def tell(self, outcome: Outcome) -> None:
        """How it ended."""
        facts = {
            "did": outcome.did,
            "again_in": outcome.again_in,
            "ends": outcome.ends,
            "problem": outcome.problem,
        }
        self._send(["done", facts])

    def _send(self, message: list[object]) -> None:
        self._speak.write(json.dumps(message).encode("ascii") + b"\n")
        self._speak.flush()


def _in_webroot(
    root: Path, proofs: Sequence[Proof], undo: list[Callable[[], object]]
) -> None:
    folder = root
    for name in (".well-known", "acme-challenge"):
        folder /= name
        if not folder.exists():
            folder.mkdir()
            # The web server reads it as another user; our umask is for secrets.
            folder.chmod(0o755)
    for proof in proofs:
        file = folder / proof.token
        # An errand that was killed may have left it.
        replace_durably(file, proof.authorization.encode("ascii"), 0o644)
        undo.append(file.unlink)


def _leaf_of(chain: bytes) -> x509.Certificate | None:
    """The first certificate; None where there is none to be read."""
    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        return None


def _checked(chain: bytes, names: Sequence[str], key: ServerKey) -> x509.Certificate:
    """The first of the chain, if clients will be content with it."""
    if (leaf := _leaf_of(chain)) is None:
        raise NotIssued("the authority sent no certificate")
    if leaf.public_key() != key.public_key() or not set(names) <= set(names_of(leaf)):
        raise NotIssued("the authority sent a certificate for another key or name")
    return leaf


def _until_due(leaf: x509.Certificate) -> float:
    left = (_latest(leaf) - datetime.now(UTC)).total_seconds()
    return min(max(left, _SOONEST), _ASK_AGAIN)


def _date(leaf: x509.Certificate) -> str:
    return f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    """Do what the supervisor says, and say how it went."""
    supervisor = Supervisor(sys.stdin.buffer, os.fdopen(FROM_CHILD, "wb"))
    try:
        order, force = supervisor.wait_for_errand()
    except EOFError:
        return
    try:
        outcome = Errand(order, supervisor).run(force=force)
    except Exception as fault:
        problem = f"an error that nobody foresaw: {fault!r}"
        supervisor.tell(Outcome("failed", problem=problem))
        raise
    supervisor.tell(outcome)


if __name__ == "__main__":
    main()

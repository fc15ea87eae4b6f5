"""The directory: ldaptor's LDAP server, with the people of an LDIF file.

It is as strict as a real one in what matters to a mail server: passwords are
taken under TLS only, and shown to nobody.
"""

import argparse
import itertools
from io import BytesIO
from pathlib import Path
from typing import Any

from ldaptor.inmemory import fromLDIFFile
from ldaptor.interfaces import IConnectedLDAPEntry
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap.ldaperrors import (
    LDAPConfidentialityRequired,
    LDAPOperationsError,
    Success,
)
from ldaptor.protocols.ldap.ldapserver import LDAPServer
from ldaptor.protocols.ldap.ldifprotocol import LDIFParseError
from twisted.internet.protocol import ServerFactory

from demo.serving import serve, tls_of
from demo.settings import HOST, Unusable
from submitd.tls.server import ServerTls

_SECRET = b"userpassword"


class DirectoryServer(LDAPServer):  # type: ignore[misc]
    """ldaptor's server with StartTLS (RFC 4511 section 4.14)."""

    _is_under_tls = False

    def extendedRequest_StartTLS(self, _: object, reply: Any) -> None:  # noqa: ANN401, N802
        """Called by ldaptor, by the object identifier below."""
        if self._is_under_tls:
            raise LDAPOperationsError("TLS is in use")
        reply(pureldap.LDAPStartTLSResponse(resultCode=Success.resultCode))
        self._is_under_tls = True
        self.transport.startTLS(self.factory.tls)

    extendedRequest_StartTLS.oid = pureldap.LDAPStartTLSRequest.oid  # type: ignore[attr-defined]

    def handle_LDAPBindRequest(  # noqa: N802
        self,
        request: Any,  # noqa: ANN401
        controls: Any,  # noqa: ANN401
        reply: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """No password in clear text."""
        if request.dn and not self._is_under_tls:
            raise LDAPConfidentialityRequired("passwords need StartTLS")
        return super().handle_LDAPBindRequest(request, controls, reply)

    def queue(self, id: int, op: Any) -> None:  # noqa: A002, ANN401 - ldaptor's names
        """No password leaves."""
        if isinstance(op, pureldap.LDAPSearchResultEntry):
            op.attributes = [
                (name, values)
                for name, values in op.attributes
                if _octets(name).lower() != _SECRET
            ]
        super().queue(id, op)


def _octets(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


class DirectoryFactory(ServerFactory):
    """Connections to one tree."""

    protocol = DirectoryServer

    def __init__(self, tree: Any, tls: ServerTls) -> None:  # noqa: ANN401
        self._tree = tree
        self.tls = tls

    def __conform__(self, interface: object) -> Any:  # noqa: ANN401
        """How zope.interface adapts: the factory stands for its tree."""
        return self._tree if interface is IConnectedLDAPEntry else None


def read_people(file: Path) -> Any:  # noqa: ANN401
    """The tree in an LDIF file. Raises Unusable."""
    trees: list[Any] = []
    problems: list[str] = []
    try:
        # ldaptor wants no empty line before the first entry, and one after the last.
        lines = file.read_bytes().splitlines(keepends=True)
        entries = itertools.dropwhile(lambda one: one.strip()[:1] in b"#", lines)
        content = b"".join(entries)
        if not content:
            raise Unusable(f"{file} holds nobody")
        fromLDIFFile(BytesIO(content + b"\n\n")).addCallbacks(
            trees.append, lambda failure: problems.append(failure.getErrorMessage())
        )
    except OSError as problem:
        raise Unusable(f"{file} cannot be read: {problem.strerror}") from problem
    except LDIFParseError as problem:
        raise Unusable(f"{file} is no LDIF: {problem}") from problem
    if not trees:
        raise Unusable(f"{file} cannot be used: {'; '.join(problems)}")
    return trees[0]


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    options = parser.parse_args()

    def listen(reactor: Any) -> int:  # noqa: ANN401
        factory = DirectoryFactory(
            read_people(options.people), tls_of(options.certificate, options.key)
        )
        port = reactor.listenTCP(options.port, factory, interface=HOST)
        return int(port.getHost().port)

    serve(listen)


if __name__ == "__main__":
    main()

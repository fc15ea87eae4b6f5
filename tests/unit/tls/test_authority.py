"""An authority that is odd: what it says is told, and nothing is taken for more."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from submitd.tls.authority import Authority, NotIssued, terms_of
from tests.support.certificates import make_certificate

NOW = datetime.now(UTC)


@contextmanager
def web_server(folder: Path, pages: dict[str, Any]) -> Iterator[str]:
    """Over TLS; gives its address. ``pages``: JSON, or a text that is none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.rpartition("/")[0] or self.path)
            octets = page if isinstance(page, bytes) else json.dumps(page).encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: object) -> None:
            pass

    make_certificate(folder, "web.pem", "web.key", ["localhost"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "web.pem", folder / "web.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def authority(url: str, folder: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(f"{url}/dir", key, folder / "web.pem")


def certificate() -> bytes:
    """Good for a month yet, and with the key identifier that RFC 9773 wants."""
    key = ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(NOW - timedelta(days=60))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(
            x509.AuthorityKeyIdentifier(b"\x01\x02", None, None), critical=False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


@pytest.mark.rfc("9773", "4.2")
def test_an_authority_can_want_it_renewed_early(tmp_path: Path) -> None:
    pages: dict[str, Any] = {}
    with web_server(tmp_path, pages) as url:
        pages["/dir"] = {"newNonce": "n", "renewalInfo": f"{url}/info"}
        start, end = NOW - timedelta(days=2), NOW - timedelta(days=1)
        window = {"start": start.isoformat(), "end": end.isoformat()}
        pages["/info"] = {"suggestedWindow": window}

        at = authority(url, tmp_path).renew_at(certificate())

        assert at is not None
        assert start <= at <= end


def test_an_authority_need_not_say_when(tmp_path: Path) -> None:
    with web_server(tmp_path, {"/dir": {"newNonce": "n"}}) as url:
        assert authority(url, tmp_path).renew_at(certificate()) is None


@pytest.mark.parametrize("info", [None, b"<html>", {"suggestedWindow": 3}, []])
def test_what_it_says_of_renewal_may_be_nonsense(tmp_path: Path, info: object) -> None:
    pages: dict[str, Any] = {"/info": info}
    with web_server(tmp_path, pages) as url:
        pages["/dir"] = {"newNonce": "n", "renewalInfo": f"{url}/info"}

        with pytest.raises(NotIssued):
            authority(url, tmp_path).renew_at(certificate())


@pytest.mark.parametrize("page", [None, b"<html>", [], 3, {"meta": 3}])
def test_what_is_no_authority_is_told(tmp_path: Path, page: object) -> None:
    with web_server(tmp_path, {"/dir": page}) as url:
        with pytest.raises(NotIssued) as told:
            terms_of(f"{url}/dir", tmp_path / "web.pem")

        assert str(told.value).startswith(f"{url}/dir")


def test_a_directory_without_terms_has_none(tmp_path: Path) -> None:
    with web_server(tmp_path, {"/dir": {"newNonce": "n"}}) as url:
        assert terms_of(f"{url}/dir", tmp_path / "web.pem") == ""


def test_a_web_server_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with web_server(tmp_path, {"/dir": {"newNonce": "n"}}) as url:
        make_certificate(other, "web.pem", "web.key", ["localhost"])

        with pytest.raises(NotIssued, match="certificate verify failed"):
            terms_of(f"{url}/dir", other / "web.pem")

"""An issuer of tokens: a JWK set and an introspection end point, over HTTPS."""

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey
from OpenSSL import SSL
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.support.certificates import make_certificate

AUDIENCE: Final = "submit.example.org"


class _Answer(Resource):
    isLeaf = True

    def __init__(self, issuer: "Issuer") -> None:
        super().__init__()
        self._issuer = issuer

    def render(self, request: Request) -> bytes | int:
        issuer = self._issuer
        issuer.asked.append(request.path.decode())
        if issuer.is_silent:
            return NOT_DONE_YET
        request.setHeader(b"Content-Type", b"application/json")
        if issuer.fault:
            request.setResponseCode(issuer.fault)
            request.setHeader(b"Location", f"{issuer.url}/elsewhere".encode())
            return b"{}"
        if request.path == b"/keys":
            return issuer.answer or json.dumps(issuer.key_set()).encode()
        if request.getHeader(b"Authorization") != issuer.authorization:
            request.setResponseCode(401)
            return b"{}"
        token = request.args[b"token"][0].decode()
        return json.dumps(issuer.known.get(token, {"active": False})).encode()


class Issuer:
    """``known``: what it says of tokens; ``fault``: an HTTP status instead;
    ``is_silent``: it says nothing.
    """

    def __init__(self, reactor: Any, folder: Path) -> None:  # noqa: ANN401
        self.ca = make_certificate(
            folder, "issuer.pem", "issuer-key.pem", ["localhost"]
        )
        factory = DefaultOpenSSLContextFactory(
            str(folder / "issuer-key.pem"), str(self.ca), SSL.TLS_SERVER_METHOD
        )
        self.keys = {"first": ECKey.generate_key("P-256", {"kid": "first"})}
        self.asked: list[str] = []
        self.known: dict[str, dict[str, object]] = {}
        self.answer = b""
        self.fault = 0
        self.is_silent = False
        self.authorization = b"Basic " + b64encode(b"submitd:secret+word")
        self._port: IListeningPort = reactor.listenSSL(
            0, Site(_Answer(self)), factory, interface="127.0.0.1"
        )
        where: Any = self._port.getHost()
        self.url = f"https://localhost:{where.port}"

    def key_set(self) -> dict[str, object]:
        """What everybody may know of its keys."""
        return {"keys": [one.as_dict(private=False) for one in self.keys.values()]}

    def token(self, kid: str = "first", **claims: object) -> str:
        """A signed one for alice, but for what is given; None: without that claim."""
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "exp": int(time.time()) + 600,
            "preferred_username": "alice",
            **claims,
        }
        return jwt.encode(
            {"alg": "ES256", "kid": kid},
            {name: one for name, one in said.items() if one is not None},
            self.keys[kid],
        )

    def settings(self, way: str = "keys_url") -> str:
        """``[log_in.oauth]`` for it."""
        where = {"keys_url": "keys", "introspection_url": "introspect"}[way]
        return f"""
[log_in.oauth]
issuer = "{self.url}"
audience = ["{AUDIENCE}"]
{way} = "{self.url}/{where}"
ca_file = "{self.ca}"
"""

    async def close(self) -> None:
        """Listen no more."""
        stopping = self._port.stopListening()
        if stopping is not None:
            await stopping

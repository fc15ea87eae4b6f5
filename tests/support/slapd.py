"""A real directory: OpenLDAP's slapd with people as userdir-ldap keeps them.

A person has a password for mail of its own beside that of the account, and is
locked by any of several attributes; a role address belongs to a group.
"""

import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from attrs import define, field

from tests.support.certificates import make_certificate

SCHEMA: Final = """\
attributetype ( 1.3.6.1.4.1.32473.1.1 NAME 'mailPassword'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributetype ( 1.3.6.1.4.1.32473.1.2 NAME 'accountStatus'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.32473.1.3 NAME 'mailDisableMessage'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.32473.2.1 NAME 'mailPerson' SUP top AUXILIARY
  MAY ( mailPassword $ accountStatus $ mailDisableMessage $ shadowExpire ) )
objectclass ( 1.3.6.1.4.1.32473.2.2 NAME 'roleAddress' SUP top AUXILIARY
  MAY ( mail $ memberUid ) )
"""

# Passwords are told by those who keep them alone; everything is under TLS.
_SETTINGS: Final = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
include {folder}/userdir.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
security tls=1
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw administrator
directory {folder}/data
access to attrs=userPassword,mailPassword,shadowExpire
  by dn.exact="cn=submitd,ou=services,dc=example,dc=org" read
  by anonymous auth
access to * by * read
"""

_TREE: Final = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=users,dc=example,dc=org
objectClass: organizationalUnit
ou: users

dn: ou=roles,dc=example,dc=org
objectClass: organizationalUnit
ou: roles

dn: ou=services,dc=example,dc=org
objectClass: organizationalUnit
ou: services

dn: cn=submitd,ou=services,dc=example,dc=org
objectClass: person
objectClass: simpleSecurityObject
cn: submitd
sn: submitd
userPassword: reader
"""


def person(uid: str, **attributes: str) -> str:
    """LDIF of a person."""
    lines = [
        f"dn: uid={uid},ou=users,dc=example,dc=org",
        "objectClass: inetOrgPerson",
        "objectClass: mailPerson",
        f"uid: {uid}",
        f"cn: {uid}",
        f"sn: {uid}",
        *(f"{name}: {value}" for name, value in attributes.items()),
    ]
    return "\n".join(lines) + "\n"


def role(name: str, kind: str, *lines: str) -> str:
    """LDIF of a role address; ``kind`` is its structural class."""
    return "\n".join(
        (
            f"dn: cn={name},ou=roles,dc=example,dc=org",
            f"objectClass: {kind}",
            "objectClass: roleAddress",
            f"cn: {name}",
            *lines,
            "",
        )
    )


@define
class Slapd:
    """One directory server on loopback. Everything blocks."""

    program: Path
    folder: Path
    port: int
    entries: tuple[str, ...] = ()
    scheme: str = "ldap"
    name: str = "localhost"
    """What its certificate is for."""

    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def prepare(self) -> Path:
        """Certificate and data; gives the certificate, which vouches for itself."""
        (self.folder / "data").mkdir(parents=True)
        ca = make_certificate(self.folder, "cert.pem", "key.pem", [self.name])
        (self.folder / "userdir.schema").write_text(SCHEMA)
        (self.folder / "slapd.conf").write_text(_SETTINGS.format(folder=self.folder))
        people = self.folder / "people.ldif"
        people.write_text("\n".join((_TREE, *self.entries)))
        subprocess.run(
            [self.program, "-T", "add", *self._configured, "-l", people],
            check=True,
            timeout=30,
        )
        return ca

    @property
    def _configured(self) -> tuple[str, str]:
        return "-f", str(self.folder / "slapd.conf")

    @property
    def url(self) -> str:
        """Where submitd finds it."""
        return f"{self.scheme}://localhost:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # 256: a line for each operation.
                    *(self.program, "-d", "256", *self._configured),
                    *("-h", f"{self.scheme}://127.0.0.1:{self.port}"),
                ],
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)  # noqa: TID251 - another process opens it
            else:
                return

    def stop(self) -> None:
        """Stop it; connections break."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def _log(self) -> Path:
        return self.folder / "slapd.log"

    def binds(self) -> int:
        """How often somebody has tried to bind as a person."""
        return len(re.findall(r'BIND dn="uid=[^"]*" method', self._log.read_text()))

    def operations(self) -> int:
        """How many binds and searches there were."""
        return len(re.findall(" BIND dn=| SRCH base=", self._log.read_text()))

    def change(self, ldif: str) -> None:
        """Change entries as their administrator."""
        self.stop()
        subprocess.run(
            [self.program, "-T", "modify", *self._configured],
            input=ldif.encode(),
            check=True,
            timeout=30,
        )
        self.start()

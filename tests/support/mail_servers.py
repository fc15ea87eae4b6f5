"""Postfix, Exim and OpenSMTPD on hosts of a test: as receivers and satellites.

Each takes mail for DOMAIN: for alice, with later@ put off as long as a file
says so, and for nobody else. What came lies in Maildir form.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.hosts import Host, listens, until

_NOBODY: Final = "65534"


@frozen
class Mailboxes:
    """What a receiving server has delivered."""

    folder: Path

    def messages(self, user: str = "alice") -> list[bytes]:
        """The messages of a user, oldest first."""
        found = sorted(
            (self.folder / user / "new").glob("*"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        return [path.read_bytes() for path in found]


def certify(folder: Path, name: str) -> None:
    """An RSA key and certificate; OpenSMTPD's key process knows no other."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext"),
            f"subjectAltName=DNS:{name}",
            *("-keyout", folder / "key", "-out", folder / "cert"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (folder / "key").chmod(0o644)  # each daemon reads it as somebody else


# Postfix

_MASTER: Final = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""

_POSTFIX: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
myhostname = {name}
mydestination =
inet_protocols = all
alias_maps =
alias_database =
local_recipient_maps =
smtp_tls_loglevel = 1
{more}
"""


class Postfix:
    """A Postfix of its own on a host."""

    def __init__(self, host: Host, name: str, more: str, services: str) -> None:
        """``more`` goes into main.cf, ``services`` into master.cf."""
        folder = host.folder
        self.host = host
        self._etc = folder / "etc"
        for part in ("etc", "queue", "data", "log"):
            (folder / part).mkdir()
        shutil.chown(folder / "data", "postfix")
        text = _POSTFIX.format(folder=folder, name=name, more=more)
        (self._etc / "main.cf").write_text(text)
        (self._etc / "master.cf").write_text(services + _MASTER)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.command("postfix", "check")
        self.host.start("/usr/lib/postfix/sbin/master", "-c", self._etc, "-d")
        until(lambda: listens(self.host, 25), "Postfix")

    def command(self, program: str, *words: object, text: str | None = None) -> str:
        """One of its commands on its host."""
        return self.host.run(program, "-c", self._etc, *words, text=text)

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.host.folder / "log" / "maillog").read_text()


def postfix_receiver(host: Host, domain: str, *more_domains: str) -> Postfix:
    """It offers TLS, SIZE up to 200 kB, and takes mail in both address families."""
    certify(host.folder, f"mx.{domain}")
    boxes = host.folder / "boxes"
    boxes.mkdir()
    shutil.chown(boxes, "nobody")
    put_off(host, True)
    domains = (domain, *more_domains)
    maps = " ".join(
        f"{{{user}@{one}={user}/}}" for one in domains for user in ("alice", "later")
    )
    return Postfix(
        host,
        f"mx.{domain}",
        f"""\
inet_interfaces = {host.address}, {host.address_ipv6}
mynetworks =
message_size_limit = 200000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = {" ".join(domains)}
virtual_mailbox_maps = inline:{{ {maps} }}
virtual_mailbox_base = {boxes}
virtual_uid_maps = static:{_NOBODY}
virtual_gid_maps = static:{_NOBODY}
virtual_minimum_uid = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {host.folder}/cert
smtpd_tls_key_file = {host.folder}/key
smtpd_recipient_restrictions =
  check_recipient_access texthash:{host.folder}/later
  reject_unauth_destination
smtpd_tls_received_header = yes
enable_long_queue_ids = yes
""",
        "smtp inet n - n - - smtpd\n",
    )


def put_off(host: Host, holds: bool) -> None:
    """Whether Postfix on that host puts mail for later@ off."""
    text = "later@ 450 4.7.1 Come back later\n" if holds else ""
    (host.folder / "later").write_text(text)


# Exim

_EXIM_BASE: Final = """\
exim_path = {program}
exim_user = Debian-exim
exim_group = Debian-exim
primary_hostname = {name}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
local_interfaces = {address}
daemon_smtp_ports = 25
never_users = root
host_lookup =
rfc1413_query_timeout = 0s
queue_run_in_order
"""

_EXIM_RECEIVER: Final = """\
tls_advertise_hosts = *
tls_certificate = {folder}/cert
tls_privatekey = {folder}/key
smtputf8_advertise_hosts = *
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
begin acl
acl_rcpt:
  deny message = 5.7.0 Not in clear text
       !encrypted = *
  deny message = 5.1.1 No such person here
       !local_parts = alice
  accept domains = {domain}
acl_data:
  deny message = 5.6.0 We want no such thing
       condition = ${{if eq{{$h_subject:}}{{unwanted}}}}
  accept
begin routers
here:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/boxes/alice
  maildir_format
  create_directory
  user = Debian-exim
"""


class Exim:
    """An Exim of its own on a host."""

    def __init__(self, host: Host, program: Path, name: str, more: str) -> None:
        """``more`` is put behind the main options."""
        self.host = host
        self._program = program
        folder = host.folder
        for part in ("etc", "spool", "log", "boxes"):
            (folder / part).mkdir()
            shutil.chown(folder / part, "Debian-exim", "Debian-exim")
        base = _EXIM_BASE.format(
            program=program, name=name, folder=folder, address=host.address
        )
        # Nobody but its owner may be able to write it, or Exim drops privileges.
        (folder / "etc" / "exim4.conf").write_text(base + more)
        (folder / "etc" / "exim4.conf").chmod(0o644)
        Path("/etc/exim4").mkdir(exist_ok=True)

    @property
    def _binds(self) -> Sequence[tuple[Path, str]]:
        # The place of its configuration is compiled in.
        return ((self.host.folder / "etc", "/etc/exim4"),)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.host.start(self._program, "-bdf", "-q1s", binds=self._binds)
        until(lambda: listens(self.host, 25), "Exim")

    def command(self, *words: object, text: str | None = None) -> str:
        """``exim4 …`` on its host."""
        return self.host.run(self._program, *words, text=text, binds=self._binds)

    @property
    def log(self) -> str:
        """What it has logged."""
        return "".join(
            path.read_text() for path in sorted((self.host.folder / "log").glob("*log"))
        )


def exim_receiver(host: Host, program: Path, domain: str) -> Exim:
    """It takes nothing in clear text, and refuses a subject after the dot."""
    certify(host.folder, f"mx.{domain}")
    more = _EXIM_RECEIVER.format(folder=host.folder, domain=domain)
    return Exim(host, program, f"mx.{domain}", more)


# OpenSMTPD

_OPENSMTPD: Final = """\
pki own cert "{folder}/cert"
pki own key "{folder}/own-key"
table people {{ "alice" = "{nobody}:{nobody}:{folder}/boxes/alice" }}
table names {{ "alice" = "alice" }}
listen on {address} port 25 tls pki own hostname mx.{domain}
action "in" maildir "{folder}/boxes/alice" userbase <people> virtual <names>
match from any for domain "{domain}" action "in"
"""


def start_opensmtpd(host: Host, program: Path, domain: str) -> None:
    """A receiver; what it offers as TLS in Debian 12 fails at the handshake."""
    folder = host.folder
    root = program.parents[1]
    certify(folder, f"mx.{domain}")
    shutil.copy(folder / "key", folder / "own-key")
    (folder / "own-key").chmod(0o600)
    (folder / "boxes" / "alice").mkdir(parents=True)
    shutil.chown(folder / "boxes" / "alice", "nobody")
    for part, mode in (("spool", 0o711), ("empty", 0o755), ("run", 0o755)):
        (folder / part).mkdir()
        (folder / part).chmod(mode)
    for place in (
        "/var/spool/smtpd",
        "/var/lib/opensmtpd/empty",
        "/usr/libexec/opensmtpd",
    ):
        Path(place).mkdir(parents=True, exist_ok=True)
    configuration = folder / "smtpd.conf"
    configuration.write_text(
        _OPENSMTPD.format(
            folder=folder, nobody=_NOBODY, address=host.address, domain=domain
        )
    )
    configuration.chmod(0o644)
    host.start(
        *(program, "-d", "-f", configuration),
        binds=(
            (folder / "spool", "/var/spool/smtpd"),
            (folder / "empty", "/var/lib/opensmtpd/empty"),
            (root / "libexec" / "opensmtpd", "/usr/libexec/opensmtpd"),
            (folder / "run", "/run"),
        ),
    )
    until(lambda: listens(host, 25), "OpenSMTPD")

"""``make run``: start everything, send one mail, stay up until Ctrl-C."""

import errno
import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from demo import first_mail
from demo.certificates import Certificates, ensure_certificates, write_secret
from demo.children import Child, EmbeddedServer, interruption, no_interruption, twistd
from demo.settings import (
    FROM,
    HOST,
    PASSWORD,
    PEOPLE,
    RECIPIENT,
    RECIPIENT_DOMAIN,
    SENDER_DOMAIN,
    USER,
    Settings,
    Unusable,
    World,
    configuration,
    environment_text,
)
from demo.story import Story
from submitd.dkim.key import (
    Algorithm,
    PrivateKey,
    UnusableKey,
    record_name,
    record_value,
)

_START_TIME: Final = 60.0
_LOOK: Final = 0.25
_ALGORITHMS: Final = {
    "demo-rsa": Algorithm.RSA_SHA256,
    "demo-ed25519": Algorithm.ED25519_SHA256,
}
"""By selector: each message gets both signatures."""


def main() -> int:
    """Exit status: 0 after Ctrl-C, 1 with a sentence on standard error."""
    interruption()
    children: list[Child] = []
    try:
        settings = Settings.read(os.environ)
        with _alone(settings.directory):
            try:
                _demonstrate(settings, children)
            finally:
                no_interruption()
                # Its settings are good while it is up, and never before.
                settings.environment_file.unlink(missing_ok=True)
                _stop(children)
    except (Unusable, OSError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
    return 0


def _demonstrate(settings: Settings, children: list[Child]) -> None:
    """Returns never; ends by KeyboardInterrupt or Unusable."""
    settings.environment_file.unlink(missing_ok=True)
    settings.log.unlink(missing_ok=True)
    command = twistd(sys.executable)
    _check_ports(settings.fixed_ports)
    certificates = ensure_certificates(settings.directory / "tls")
    keys = _signing_keys(settings.directory / "dkim")
    _say("starting the directory, the name server, the receiving server and submitd …")
    world = _start_world(settings, certificates, keys, children)
    settings.config.write_text(configuration(settings, world))
    submitd = Child(
        "submitd",
        (str(command), "-n", "--pidfile=", "submitd", "--config", str(settings.config)),
        settings.directory / "twistd.log",
    )
    children.append(submitd)
    _wait_open(settings.submit_port, submitd)
    _send_first_mail(settings, world)
    _write_environment(settings, world.ca_file)
    _show_settings(settings, world)
    _watch(children, Story(settings.log))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two demonstrations in one directory would undo each other."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        raise Unusable(f"{directory} cannot be used: {problem.strerror}") from problem
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        os.close(lock)
        raise Unusable(f"a demonstration runs in {directory} already") from problem
    try:
        yield
    finally:
        os.close(lock)


def _check_ports(ports: Mapping[str, int]) -> None:
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as problem:
                why = (
                    "is in use; end what listens there"
                    if problem.errno == errno.EADDRINUSE
                    else f"cannot be had ({problem.strerror})"
                )
                raise Unusable(
                    f"port {port} of {HOST} {why}, or choose another:"
                    f" {name}={port + 1000 if port < 64000 else 2587} make run"
                ) from problem


def _signing_keys(directory: Path) -> dict[str, Path]:
    """Files by selector; those of an earlier run are used again."""
    directory.mkdir(exist_ok=True)
    files = {selector: directory / f"{selector}.pem" for selector in _ALGORITHMS}
    for selector, file in files.items():
        try:
            PrivateKey.load(file.read_bytes())
        except (FileNotFoundError, UnusableKey):
            write_secret(file, PrivateKey.generate(_ALGORITHMS[selector]).pem())
    return files


def _start_world(
    settings: Settings,
    certificates: Certificates,
    keys: dict[str, Path],
    children: list[Child],
) -> World:
    tls = (
        "--certificate",
        str(certificates.certificate),
        "--key",
        str(certificates.key),
    )

    def start(name: str, module: str, port: int, *arguments: str) -> EmbeddedServer:
        server = EmbeddedServer(
            name,
            (sys.executable, "-m", f"demo.{module}", "--port", str(port), *arguments),
            settings.directory / f"{module}.log",
        )
        children.append(server)
        return server

    texts: list[str] = []
    for selector, file in keys.items():
        value = record_value(PrivateKey.load(file.read_bytes()))
        texts += ["--text", record_name(selector, SENDER_DOMAIN), value]
    directory = start(
        "the directory", "directory", settings.ldap_port, "--people", str(PEOPLE), *tls
    )
    names = start("the name server", "names", settings.dns_port, *texts)
    receiver = start(
        "the receiving server",
        "receiver",
        settings.smtp_port,
        "--mail",
        str(settings.mail),
        *tls,
    )
    return World(
        ldap_port=directory.wait_ready(),
        dns_port=names.wait_ready(),
        smtp_port=receiver.wait_ready(),
        ca_file=certificates.ca,
        certificate=certificates.certificate,
        key=certificates.key,
        dkim=keys,
    )


def _wait_open(port: int, submitd: Child) -> None:
    """Until a client would be greeted."""
    ends_at = time.monotonic() + _START_TIME
    while time.monotonic() < ends_at:
        if submitd.has_ended:
            raise Unusable(submitd.obituary())
        try:
            with socket.create_connection((HOST, port), timeout=2) as probe:
                if probe.recv(3) == b"220":
                    return
        except OSError:
            pass  # not yet
        threading.Event().wait(0.1)
    raise Unusable(f"submitd did not greet on port {port} within {_START_TIME:.0f} s")


def _send_first_mail(settings: Settings, world: World) -> None:
    sent = first_mail.submit(settings.submit_port, world.ca_file)
    _say("")
    _say(f"TLS        {sent.tls}, certificate of {HOST} verified")
    _say(f"log-in     {USER}, checked by the directory: {sent.login_reply}")
    _say(f"submitted  {FROM} -> {RECIPIENT}: {sent.accepted_reply}")
    _say(f"queue id   {sent.queue_id}")
    arrived = first_mail.wait_for(sent.message_id, settings.mail)
    _say(f"delivered  by the MX of {RECIPIENT_DOMAIN}: {arrived.way}")
    _say(f"arrived    {arrived.path}")
    verdicts = list(first_mail.verify(arrived.octets, world.dns_port))
    for one in verdicts:
        result = "verified" if one.is_good else "NOT VERIFIED"
        _say(f"DKIM       {one.algorithm}, {one.selector}.{SENDER_DOMAIN}: {result}")
    if not verdicts or not all(one.is_good for one in verdicts):
        raise Unusable("the message arrived, but its signatures do not verify")


def _write_environment(settings: Settings, ca_file: Path) -> None:
    write_secret(
        settings.environment_file, environment_text(settings, ca_file).encode()
    )


def _show_settings(settings: Settings, world: World) -> None:
    submitctl = f"{Path(sys.executable).parent / 'submitctl'} -c {settings.config}"
    ports = f"{world.ldap_port}, {world.dns_port} and {world.smtp_port}"
    _say(f"""
For your mail program (also in {settings.environment_file}):
  server     {HOST}
  port       {settings.submit_port} with STARTTLS, {settings.submits_port} with TLS
  log-in     {USER}, password {PASSWORD} (or bob, buildings)
  trust      {world.ca_file}
  from       {FROM}; alice may write as press@{SENDER_DOMAIN}, too
  to         anybody@{RECIPIENT_DOMAIN}: arrives in {settings.mail}
             bounce@ does not exist, greylist@ is put off once, slow@ never answers

Look around:
  {submitctl} queue list
  {submitctl} whoami alice
  log        {settings.log}
  metrics    http://{HOST}:{settings.metrics_port}/metrics
  LDAP, DNS and receiving SMTP on ports {ports} of {HOST}

Ctrl-C ends it all.
""")


def _watch(children: list[Child], story: Story) -> None:
    tellers: list[EmbeddedServer | Story] = [
        one for one in children if isinstance(one, EmbeddedServer)
    ]
    tellers.append(story)
    for teller in tellers:
        teller.more()  # of the first mail, which has been shown
    while True:
        for line in chain.from_iterable(teller.more() for teller in tellers):
            _say(line)
        for child in children:
            if child.has_ended:
                raise Unusable(child.obituary())
        threading.Event().wait(_LOOK)


def _stop(children: list[Child]) -> None:
    """Submitd first, so that it still has its world while it finishes."""
    for child in reversed(children):
        child.stop()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

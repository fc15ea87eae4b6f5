"""A server that is configured, and mail for it."""

from typing import Final

from scripts.trial.system import System

TRIAL: Final = "/etc/submitd/conf.d/50-trial.toml"


CONFIGURATION: Final = """\
[server]
hostname = "submit.example.org"
workers = 2
[tls]
certificate = "/etc/submitd/tls/cert.pem"
key = "/etc/submitd/tls/key.pem"
[listener.submission]
port = 587
[listener.submissions]
port = 465
tls = "implicit"
[password_file]
path = "/etc/submitd/passwords"
[senders.rule.own]
template = "{login}@example.org"
[dkim]
unsigned = "allow"
[route."*"]
host = "127.0.0.1"
port = 2525
[delivery]
allow_loopback = ["127.0.0.0/8"]
[retry]
first = "1s"
longest = "5s"
"""


SEND: Final = """\
import smtplib, ssl, sys
trust = ssl._create_unverified_context()
with smtplib.SMTP("127.0.0.1", 587, timeout=20) as client:
    client.starttls(context=trust)
    client.login("alice", "wonderland")
    for number in range(int(sys.argv[1])):
        header = f"From: alice@example.org\\r\\nSubject: {number}\\r\\n"
        message = header + "\\r\\nhello\\r\\n"
        client.sendmail("alice@example.org", ["bob@example.net"], message)
"""


SINK: Final = """\
import socketserver, sys, threading
subjects = set()
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 sink\\r\\n")
        content = False
        for line in self.rfile:
            if content:
                if line.startswith(b"Subject:"):
                    subjects.add(line)
                content = line != b".\\r\\n"
                if not content:
                    self.wfile.write(b"250 taken\\r\\n")
            elif line[:4].upper() == b"DATA":
                content = True
                self.wfile.write(b"354 go on\\r\\n")
            else:
                self.wfile.write(b"250 ok\\r\\n")
class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
sink = Sink(("127.0.0.1", 2525), Session)
threading.Thread(target=sink.serve_forever, daemon=True).start()
print("listening", flush=True)
sys.stdin.readline()
print(len(subjects))
"""


WATCH: Final = """\
import select, socket, sys, time
# Says how long nobody answered with a greeting, and how many were turned away,
# when it is told to stop.
longest, refused, last = 0.0, 0, time.monotonic()
print("watching", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    try:
        with socket.create_connection(("127.0.0.1", 587), 20) as one:
            one.settimeout(20)
            if not one.recv(3) == b"220":
                continue
    except OSError:
        refused += 1
        continue
    longest, last = max(longest, time.monotonic() - last), time.monotonic()
print(longest, refused)
"""


def configure(system: System) -> None:
    system.run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", "/CN=submit.example.org"),
        *("-keyout", "/etc/submitd/tls/key.pem", "-out", "/etc/submitd/tls/cert.pem"),
    )
    system.run("chgrp", "submitd", "/etc/submitd/tls/key.pem")
    system.run("chmod", "640", "/etc/submitd/tls/key.pem")
    system.write("/etc/submitd/passwords", "alice:{PLAIN}wonderland\n")
    system.write(TRIAL, CONFIGURATION)
    system.run("systemctl", "restart", "submitd")


def queued(system: System) -> int:
    return int(system.run("submitctl", "queue", "count"))


def send(system: System, count: int) -> None:
    system.run("python3", "-c", SEND, count)

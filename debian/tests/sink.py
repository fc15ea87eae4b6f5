"""sink.py PORT FILE: takes mail, and writes what it gets into FILE."""

import socketserver
import sys

PORT, FILE = int(sys.argv[1]), sys.argv[2]


class Session(socketserver.StreamRequestHandler):
    def say(self, *lines):
        self.wfile.write(b"".join(line + b"\r\n" for line in lines))

    def handle(self):
        self.say(b"220 sink")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say(b"250-sink", b"250 8BITMIME")
            elif verb == b"DATA":
                self.say(b"354 go on")
                content = []
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    content.append(part[1:] if part.startswith(b"..") else part)
                with open(FILE, "wb") as out:
                    out.write(b"".join(content))
                self.say(b"250 taken")
            elif verb == b"QUIT":
                self.say(b"221 bye")
                return
            else:
                self.say(b"250 ok")


class Sink(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Sink(("127.0.0.1", PORT), Session).serve_forever()

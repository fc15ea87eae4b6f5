"""verify.py MESSAGE KEY: the signature is right, by Debian's own library."""

import sys

import dkim

message, key = (open(name, "rb").read() for name in sys.argv[1:])
record = b"v=DKIM1; k=rsa; p=" + key
asked = []


def answer(name, timeout=5):
    asked.append(name)
    return record


assert dkim.verify(message, dnsfunc=answer), message.decode()
print("verified with", asked[0].decode())

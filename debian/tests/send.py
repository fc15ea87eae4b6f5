"""send.py CAFILE: what alice's mail program does."""

import smtplib
import ssl
import sys

with smtplib.SMTP("localhost", 587, timeout=20) as client:
    client.starttls(context=ssl.create_default_context(cafile=sys.argv[1]))
    client.login("alice", "wonderland")
    client.sendmail(
        "alice@example.org",
        ["bob@example.net"],
        b"From: alice@example.org\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\n"
        b"A test.\r\n",
    )
    try:
        client.sendmail("mallory@example.org", ["bob@example.net"], b"From: x\r\n\r\n")
    except smtplib.SMTPSenderRefused as refusal:
        print(refusal.smtp_code, refusal.smtp_error.decode())
    else:
        sys.exit("alice may send as mallory")

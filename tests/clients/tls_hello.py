"""TLS whose first message comes in pieces: many records, and byte by byte.

Python's ssl makes the bytes, a socket sends them as they are told to be sent.
Prints "all good" where each connection was served.

    python tls_hello.py HOST PORT TARGET
"""

import socket
import ssl
import sys

HOST, PORT, TARGET = sys.argv[1], int(sys.argv[2]), sys.argv[3]
LIMIT = 30


def records(data, size):
    """The same handshake message, `size` bytes a record."""
    kind, version, length = data[:1], data[1:3], int.from_bytes(data[3:5], "big")
    assert kind == b"\x16" and len(data) == 5 + length, data[:5]
    for at in range(5, len(data), size):
        piece = data[at : at + size]
        yield kind + version + len(piece).to_bytes(2, "big") + piece


def in_records(data):
    return list(records(data, 20))


def in_bytes(data):
    return [data[at : at + 1] for at in range(len(data))]


def check(cut):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = socket.create_connection((HOST, PORT), timeout=LIMIT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, sent, server_hostname="localhost")

    def until(step):
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                done = None
            plain.sendall(sent.read())
            if done is not None:
                return done
            data = plain.recv(65536)
            assert data, "the gateway closed the connection"
            received.write(data)

    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    pieces = cut(sent.read())
    assert len(pieces) > 5, len(pieces)
    for piece in pieces:
        plain.sendall(piece)
    until(lambda: tls.do_handshake() or tls.version())
    request = f"POST {TARGET} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}"
    until(lambda: tls.write(request.encode()))
    answer = until(lambda: tls.read(65536))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    plain.close()


for one in [in_records, in_bytes]:
    check(one)
print("all good")

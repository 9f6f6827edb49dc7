"""WebSocket through the gateway: echo, fragments, ping, close from both sides.

Never hyper: the package websockets. Prints "all good" where it is.

    python ws_checks.py ws[s]://HOST:PORT/TARGET [ROOTS]
"""

import os
import ssl
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

URL = sys.argv[1]
TLS = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None
LIMIT = 20


def dial(query=""):
    return connect(URL + query, ssl=TLS, open_timeout=LIMIT, close_timeout=LIMIT, max_size=None)


def echo():
    with dial() as connection:
        for message in ["", "hello", "ä" * 1000, b"\x00\r\n\r\n\xff", os.urandom(3_000_000)]:
            connection.send(message)
            assert connection.recv(LIMIT) == message, repr(message)[:40]
        assert connection.ping().wait(LIMIT), "no pong"
        answer = connection.response.headers
        assert answer["azureml-model-deployment"] == "blue", answer
        assert answer["x-request-id"], answer


def fragments():
    with dial() as connection:
        for sent in [["a", "bc", "d"], [b"x" * 70_000] * 5]:
            connection.send(sent)
            seen = list(connection.recv_streaming())
            assert [part for part in seen if part] == sent, repr(seen)[:80]


def close_by_the_caller():
    with dial() as connection:
        connection.close(4001, "done")
        assert connection.close_code == 4001, connection.close_code


def close_by_the_model():
    with dial("?close") as connection:
        connection.send("go")
        try:
            connection.recv(LIMIT)
            raise AssertionError("it stayed open")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4002, "enough"), closed


def refused():
    try:
        dial("?refuse")
        raise AssertionError("it was not refused")
    except InvalidStatus as refusal:
        answer = refusal.response
        assert (answer.status_code, answer.body) == (403, b"not here\n"), answer


for check in [echo, fragments, close_by_the_caller, close_by_the_model, refused]:
    check()
print("all good")

"""WebSocket through the gateway: echo, fragments, ping, close from both sides.

Never hyper: the package websockets, in its asyncio form. (Its form with
threads reads and writes one TLS connection in two threads at once, which
OpenSSL does not allow: one connection in a hundred lost its first bytes on a
busy machine, with no gateway in between as well.) Prints "all good" where it is.

    python ws_checks.py ws[s]://HOST:PORT/TARGET [ROOTS]
"""

import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = sys.argv[1]
TLS = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None
LIMIT = 20


def dial(query=""):
    return connect(URL + query, ssl=TLS, open_timeout=LIMIT, close_timeout=LIMIT, max_size=None)


async def echo():
    async with dial() as connection:
        for message in ["", "hello", "ä" * 1000, b"\x00\r\n\r\n\xff", os.urandom(3_000_000)]:
            await connection.send(message)
            assert await connection.recv() == message, repr(message)[:40]
        await (await connection.ping())
        answer = connection.response.headers
        assert answer["azureml-model-deployment"] == "blue", answer
        assert answer["x-request-id"], answer


async def fragments():
    async with dial() as connection:
        for sent in [["a", "bc", "d"], [b"x" * 70_000] * 5]:
            await connection.send(sent)
            seen = [part async for part in connection.recv_streaming()]
            assert [part for part in seen if part] == sent, repr(seen)[:80]


async def close_by_the_caller():
    async with dial() as connection:
        await connection.close(4001, "done")
        assert connection.close_code == 4001, connection.close_code


async def close_by_the_model():
    async with dial("?close") as connection:
        await connection.send("go")
        try:
            await connection.recv()
            raise AssertionError("it stayed open")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4002, "enough"), closed


async def refused():
    try:
        await dial("?refuse")
        raise AssertionError("it was not refused")
    except InvalidStatus as refusal:
        answer = refusal.response
        assert (answer.status_code, answer.body) == (403, b"not here\n"), answer


async def main():
    for check in [echo, fragments, close_by_the_caller, close_by_the_model, refused]:
        await asyncio.wait_for(check(), LIMIT)


asyncio.run(main())
print("all good")

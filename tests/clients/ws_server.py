"""A WebSocket server that echoes: the package websockets, nothing of ours.

Prints its port. By the query of a request it refuses (`refuse`), closes with
4002 after the first message (`close`), or says nothing (`silent`); else it
echoes each message, in the fragments it came in. With a certificate and its
key: over TLS, which is why it is the asyncio form (see ws_checks.py).

    python ws_server.py [CERTIFICATE KEY]
"""

import asyncio
import logging
import ssl
import sys

from websockets.asyncio.server import serve

logging.getLogger("websockets").setLevel(logging.CRITICAL)


def query(connection):
    return connection.request.path.partition("?")[2]


def refuse(connection, request):
    if "refuse" in request.path:
        return connection.respond(403, "not here\n")
    return None


async def handle(connection):
    what = query(connection)
    while what == "silent":
        await connection.recv()
    if what == "close":
        await connection.recv()
        await connection.close(4002, "enough")
        return
    while True:
        parts = [part async for part in connection.recv_streaming()]
        await connection.send(parts if len(parts) > 1 else parts[0])


async def main(certificate=None, key=None):
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
    server = serve(handle, "127.0.0.1", 0, process_request=refuse, ssl=tls, max_size=None)
    async with server as running:
        print(running.sockets[0].getsockname()[1], flush=True)
        await running.serve_forever()


asyncio.run(main(*sys.argv[1:]))

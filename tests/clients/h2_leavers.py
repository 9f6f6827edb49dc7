"""Callers over HTTP/2 of whom a third go away: streams are reset at random.

Never `hyper`: Python's ssl and the package h2. Four connections of up to six
streams each; prints what it saw.

    python h2_leavers.py https://127.0.0.1:PORT TARGET REQUESTS
"""

import random
import sys
import threading
import time
from collections import Counter

from h2_connection import Connection

STREAMS = 6
CONNECTIONS = 4


def caller(number, url, target, requests, seen):
    chance = random.Random(number)
    connection = Connection(url)
    open_streams, sent, leave_at = set(), 0, {}
    while sent < requests or open_streams:
        while sent < requests and len(open_streams) < STREAMS:
            stream = connection.request("POST", f"{target}?sleep={chance.randint(5, 40)}", b"{}")
            open_streams.add(stream)
            if chance.random() < 1 / 3:
                leave_at[stream] = time.monotonic() + chance.random() * 0.03
            sent += 1
        for stream, when in list(leave_at.items()):
            if stream in open_streams and time.monotonic() >= when:
                connection.reset(stream)
                open_streams.discard(stream)
                leave_at.pop(stream)
                seen["left"] += 1
        for answer in connection.receive(0.005):
            if answer.stream in open_streams:
                open_streams.discard(answer.stream)
                leave_at.pop(answer.stream, None)
                seen[answer.status] += 1
                if answer.status != "200":
                    raise SystemExit(f"{answer.status}: {answer.body[:200]}")
    connection.close()


def main():
    url, target, requests = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seen = Counter()
    each = max(requests // CONNECTIONS, 6)
    callers = [
        threading.Thread(target=caller, args=(number, url, target, each, seen))
        for number in range(CONNECTIONS)
    ]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    print(dict(seen))
    if seen["200"] == 0 or sum(seen.values()) != each * CONNECTIONS:
        raise SystemExit("not every stream ended")


if __name__ == "__main__":
    main()

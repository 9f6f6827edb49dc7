"""HTTP/2 through the gateway, seen by the package h2: answers, trailers, resets.

    python h2_checks.py https://127.0.0.1:PORT TARGET
"""

import json
import sys

from h2_connection import Connection


def check(name, good, seen):
    if not good:
        raise SystemExit(f"{name}: {seen}")
    print(f"{name}: good")


def main():
    url, target = sys.argv[1], sys.argv[2]
    connection = Connection(url)

    streams = [connection.request("POST", f"{target}?sleep=20", b"{}") for _ in range(8)]
    answers = {}
    while len(answers) < len(streams):
        for answer in connection.receive(10):
            answers[answer.stream] = answer
    check("eight streams at once", {a.status for a in answers.values()} == {"200"}, answers)

    stream = connection.request("POST", f"{target}?trailers", b"hello")
    answer = connection.answer(stream)
    check("trailers of the model", "x-checksum" in answer.trailers, answer)

    named = [("trailer", "x-sent")]
    stream = connection.request("POST", target, b"hello", named, trailers=[("x-sent", "yes")])
    answer = connection.answer(stream)
    check("trailers of the caller", json.loads(answer.body)["trailers"] == 1, answer)

    stream = connection.request("POST", f"{target}?bytes=3000000", b"{}")
    answer = connection.answer(stream)
    check("a large answer", len(answer.body) == 3_000_000 and answer.pieces > 10, answer.status)

    stream = connection.request("POST", f"{target}?sse=3&every=50", b"{}")
    answer = connection.answer(stream)
    check("events", answer.pieces >= 3 and answer.body.count(b"data:") == 3, answer)

    stream = connection.request("POST", f"{target}?cut", b"{}")
    answer = connection.answer(stream)
    check("a cut answer is a reset", answer.reset is not None, answer)

    stream = connection.request("POST", "/api/v1/service/nobody/score", b"{}")
    answer = connection.answer(stream)
    check("an unknown endpoint", answer.status == "404" and b"not-found" in answer.body, answer)

    stream = connection.head("POST", f"{target}?early=413", [("content-length", "1000000")])
    connection.send(stream, b"x" * 1000, end=False)
    answer = connection.answer(stream)
    check("an early answer", answer.status == "413", answer)

    stream = connection.request("POST", target, b"{}")
    check("and the connection goes on", connection.answer(stream).status == "200", "closed")
    connection.close()
    print("all good")


if __name__ == "__main__":
    main()

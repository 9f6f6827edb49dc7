"""An HTTP/2 connection for the test clients: Python's ssl and the package h2."""

import socket
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events


@dataclass
class Answer:
    """An answer, whole or reset."""

    stream: int
    status: str = ""
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    trailers: dict = field(default_factory=dict)
    reset: int | None = None
    pieces: int = 0


class Connection:
    """One connection; streams are opened, and their answers taken as they end."""

    def __init__(self, url):
        parts = urlsplit(url)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection((parts.hostname, parts.port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2", "no h2 by ALPN"
        self.authority = parts.netloc
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers = {}
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def head(self, method, path, headers=(), end=False):
        stream = self.h2.get_next_available_stream_id()
        fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", self.authority),
            (":path", path),
            *headers,
        ]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.answers[stream] = Answer(stream)
        self.flush()
        return stream

    def request(self, method, path, body=b"", headers=(), trailers=()):
        stream = self.head(method, path, headers)
        self.send(stream, body, end=not trailers)
        if trailers:
            self.h2.send_headers(stream, list(trailers), end_stream=True)
            self.flush()
        return stream

    def send(self, stream, body, end):
        """Sends within the flow-control window, waiting for it."""
        while body:
            most = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if most == 0:
                self.receive(30)
                continue
            self.h2.send_data(stream, body[:most])
            body = body[most:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def reset(self, stream):
        self.h2.reset_stream(stream)
        self.flush()

    def receive(self, wait):
        """Answers that ended meanwhile; waits for at most one read."""
        self.socket.settimeout(wait)
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return []
        if not data:
            raise ConnectionError("the gateway closed the connection")
        done = []
        for event in self.h2.receive_data(data):
            answer = self.answers.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.ConnectionTerminated):
                raise ConnectionError(f"GOAWAY {event.error_code}")
            if answer is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                answer.headers = dict(event.headers)
                answer.status = answer.headers[":status"]
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data
                answer.pieces += 1
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                answer.trailers = dict(event.headers)
            elif isinstance(event, h2.events.StreamReset):
                answer.reset = event.error_code
                done.append(answer)
            elif isinstance(event, h2.events.StreamEnded):
                done.append(answer)
        self.flush()
        return done

    def answer(self, stream, limit=60):
        """Waits for the answer of one stream."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            for answer in self.receive(1):
                if answer.stream == stream:
                    return answer
        raise TimeoutError(f"no answer within {limit} s")

    def close(self):
        self.h2.close_connection()
        self.flush()
        self.socket.close()

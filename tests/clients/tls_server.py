"""An HTTP/1.1 server behind TLS: Python's own http.server and ssl.

Prints its port. Answers with the number of the connection and what ALPN agreed
on; `?turn` makes it show the second certificate from then on and closes.

    python tls_server.py CERTIFICATE KEY OTHER_CERTIFICATE OTHER_KEY
"""

import itertools
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CERTIFICATE, KEY, OTHER_CERTIFICATE, OTHER_KEY = sys.argv[1:]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
# A session that is resumed shows no certificate.
TLS.num_tickets = 0
TLS.set_alpn_protocols(["http/1.1"])
TLS.load_cert_chain(CERTIFICATE, KEY)
NUMBERS = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        # Here and not in the listener, so that a handshake that fails or never
        # comes holds up nobody else.
        self.request = TLS.wrap_socket(self.request, server_side=True)
        self.number = next(NUMBERS)
        super().setup()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        agreed = self.connection.selected_alpn_protocol()
        body = json.dumps({"connection": self.number, "alpn": agreed}).encode()
        if "turn" in self.path:
            TLS.load_cert_chain(OTHER_CERTIFICATE, OTHER_KEY)
            self.close_connection = True
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass


SERVER = Server(("127.0.0.1", 0), Handler)
print(SERVER.server_address[1], flush=True)
SERVER.serve_forever()

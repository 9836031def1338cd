"""HarmonicIO's protocol in Python, written from its description: a stream connector, a PE, a master; recorded exchanges."""

import ast
import hashlib
import http.server
import random
import socket
import socketserver
import threading
import time
import urllib.parse
from pathlib import Path

from live import connect

VECTORS = Path(__file__).resolve().parent.parent / "vectors/harmonicio"


# ---- recorded exchanges ----

def segments(name):
    """[(side, bytes)] of one connection, without what has no bytes."""
    result = []
    for line in (VECTORS / f"{name}.hex").read_text().splitlines():
        if line[:1] in "CS":
            side, _, _, size = line.split()
            result.append((side, b""))
        elif line[:1] == " ":
            result[-1] = (result[-1][0], result[-1][1] + bytes.fromhex(line.strip()))
    return [(side, data) for side, data in result if data]


def side(name, which):
    return b"".join(data for who, data in segments(name) if who == which)


def masked(reply):
    """An answer without what may differ: (status line, what the body is, the body)."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in headers)}
    assert int(headers["content-length"]) == len(body), reply
    return status, headers["content-type"].lower(), body


def replay(port, name):
    """Sends the recorded segments of the connecting side, one by one; what comes back."""
    with connect(port) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for who, data in segments(name):
            if who == "C":
                s.sendall(data)
        if b"HTTP/1.1" not in side(name, "C"):
            s.shutdown(socket.SHUT_WR)
        return receive_all(s)


def receive_all(s):
    data = bytearray()
    while chunk := s.recv(1 << 16):
        data += chunk
    return bytes(data)


# ---- ports ----

def free_ports(n):
    """Distinct ones, below those that the system gives to connections that go out."""
    taken = []
    while len(taken) < n:
        s = socket.socket()
        try:
            s.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
            taken.append(s)
        except OSError:
            s.close()
    ports = [s.getsockname()[1] for s in taken]
    [s.close() for s in taken]
    return ports


# ---- a request ----

def ask(port, method, target, body=None):
    """(status, body); raises on an answer that is cut."""
    with connect(port) as s:
        length = f"Content-Length: {len(body)}\r\n" if body is not None else "Content-Length: 0\r\n" if method == "POST" else ""
        s.sendall(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode() + (body or b""))
        return answer_of(receive_all(s))


def answer_of(data):
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        raise ConnectionError("no answer")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    if len(body) != length:
        raise ConnectionError("an answer that was cut")
    return int(head.split()[1]), body


def target_send(name, payload, source="test"):
    name = urllib.parse.quote(name, safe="/:")
    digest = hashlib.md5(payload).hexdigest()
    return f"/streamRequest?token=None&c_name={name}&c_os=ubuntu&priority=0&source={source}&digest={digest}"


def place(port, name, payload):
    """Where the master wants the message: (port, role)."""
    status, body = ask(port, "GET", target_send(name, payload))
    assert status == 200, (status, body)
    found = ast.literal_eval(body.decode())
    assert found["node_addr"] == "127.0.0.1" and found["m_cmd"] == []
    return found["node_port"], found["node_role"]


def bytes_for(role, name, payload):
    encoded = name.encode()
    return payload if role == 2 else b"%03d%s%s" % (len(encoded), encoded, payload)


def send(port, name, payload, wait=False):
    """As a stream connector; the role that it was told."""
    where, role = place(port, name, payload)
    push(where, bytes_for(role, name, payload), wait)
    return role


def push(port, data, wait=False):
    """wait: until the other side has read it, which the original does not."""
    with connect(port) as s:
        s.sendall(data)
        if wait:
            s.shutdown(socket.SHUT_WR)
            receive_all(s)


# ---- a PE ----

class PE(threading.Thread):
    """Polls, listens, works: calls `work` with each message."""

    def __init__(self, master, name, work):
        super().__init__(daemon=True)
        self.master, self.name_, self.work = master, name, work
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = False
        self.start()

    def poll_target(self, status=0):
        name = urllib.parse.quote(self.name_, safe="/:")
        return f"/streamRequest?token=None&batch_addr=127.0.0.1&batch_port={self.port}&batch_status={status}&c_name={name}"

    def run(self):
        while not self.over:
            try:
                status, body = ask(self.master, "POST", self.poll_target())
                if status == 200:
                    s, _ = self.listener.accept()
                    with s:
                        body = receive_all(s)
            except OSError:
                return  # nobody wants it any more
            if self.over:
                return
            if status not in (200, 203):
                time.sleep(0.05)
                continue
            self.work(body)

    def stop(self):
        self.over = True
        self.listener.shutdown(socket.SHUT_RDWR)


# ---- a master ----

class Master:
    """As the original: a list of messages and a list of free PEs for each name."""

    def __init__(self, refuse=None):
        self.lock = threading.Lock()
        self.queues, self.pes, self.fetched = {}, {}, 0
        self.refuse = refuse or (lambda method: None)  # a status to answer instead
        master = self

        class Rest(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer(*master.get(*self.parameters()))

            def do_POST(self):
                self.answer(*master.post(*self.parameters()))

            def parameters(self):
                url = urllib.parse.urlsplit(self.path)
                return url.path, dict(urllib.parse.parse_qsl(url.query))

            def answer(self, status, body):
                status = master.refuse(self.command) or status
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Queue(socketserver.BaseRequestHandler):
            def handle(self):
                data = receive_all(self.request)
                size = int(data[:3])
                with master.lock:
                    master.queues.setdefault(data[3:3 + size].decode(), []).append(data[3 + size:])

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest)
        self.queue = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Queue)
        self.port, self.queue_port = self.rest.server_address[1], self.queue.server_address[1]
        for server in (self.rest, self.queue):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in (self.rest, self.queue):
            server.shutdown()
            server.server_close()

    def get(self, path, p):
        with self.lock:
            if path == "/messagesQuery":
                return 200, str({name: len(q) for name, q in self.queues.items()}).encode()
            free = self.pes.get(p["c_name"])
            host, port, role = (*free.pop(0), 2) if free else ("127.0.0.1", self.queue_port, 4)
        return 200, str({"node_addr": host, "node_port": port, "node_role": role, "m_cmd": []}).encode()

    def post(self, path, p):
        with self.lock:
            queue = self.queues.get(p["c_name"])
            if queue and p["batch_status"] == "0":
                self.fetched += 1
                return 203, queue.pop(0)
            self.pes.setdefault(p["c_name"], []).append((p["batch_addr"], int(p["batch_port"])))
        return 200, b"OK" if queue else b"No item in queue"

    def free(self, name):
        with self.lock:
            return list(self.pes.get(name, []))

    def waiting(self, name):
        with self.lock:
            return len(self.queues.get(name, []))

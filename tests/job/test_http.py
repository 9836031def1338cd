"""http: requests of all kinds, answers, slow and hostile clients, back-pressure; the sink against a server."""

import http.client
import http.server
import json
import signal
import socket
import threading
import time

import pytest

from live import Live, connect, frame, free_port, output, settle, wait_until


def job(port, sink=None, on_bad_record="skip", memory="256MiB", **options):
    return {"source": {"http": {"listen": f"127.0.0.1:{port}", "path": "/in", "ordered": "all", **options}}, "steps": [],
            "sink": sink or {"file": {"path": "out.txt/"}},
            "run": {"parallelism": 2, "memory": memory, "on_bad_record": on_bad_record}}


def post(port, body, path="/in", method="POST", headers=None, timeout=20):
    connect(port).close()  # until it listens
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    r.read()
    c.close()
    return r


def answers(s, n):
    """The status codes of n answers without bodies."""
    data = b""
    while data.count(b"\r\n\r\n") < n:
        chunk = s.recv(65536)
        if not chunk:
            break
        data += chunk
    return [int(part.split()[1]) for part in data.split(b"\r\n\r\n") if part]


@pytest.mark.sanitized
@pytest.mark.threaded
def test_requests_from_many_clients(thalweg):
    port = free_port()
    with Live(thalweg, job(port)) as live:
        connect(port).close()

        def client(n):
            c = http.client.HTTPConnection("127.0.0.1", port)
            for i in range(40):
                c.request("POST", "/in", f"{n} {i} a\n{n} {i} b")
                r = c.getresponse()
                r.read()
                assert r.status == 202
            c.close()
        threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        summary = live.stop()
    assert summary["rows_in"] == summary["rows_out"] == 8 * 40 * 2
    got = output(thalweg, "out.txt").decode().splitlines()
    for n in range(8):
        assert [line for line in got if line.startswith(f"{n} ")] == [f"{n} {i} {x}" for i in range(40) for x in "ab"]


@pytest.mark.sanitized
def test_answers(thalweg):
    port = free_port()
    with Live(thalweg, job(port, max_message="100KB")) as live:
        assert post(port, "one\n").status == 202
        assert post(port, "").status == 202
        assert post(port, "x", path="/other").status == 404
        assert post(port, "two", path="/in?query=1").status == 202
        r = post(port, None, method="GET")
        assert r.status == 405 and r.headers["Allow"] == "POST"
        assert post(port, "x" * 100_001).status == 413
        assert post(port, iter([b"x" * 60_000, b"y" * 60_000])).status == 413, "in chunks, without a length"
        assert post(port, iter([b"thr", b"ee\nfo", b"ur"])).status == 202
        for nonsense in (b"nonsense\r\n\r\n", b"POST /in HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\0" * 100,
                         b"POST /in HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"):
            s = connect(port)
            s.sendall(nonsense)
            assert answers(s, 1) == [400], nonsense
            assert s.recv(1) == b""
        s = connect(port)
        s.sendall(b"POST /in HTTP/1.1\r\n" + b"X: " + b"y" * 100_000)
        assert answers(s, 1)[0] in (400, 431)
        summary = live.stop()
    assert output(thalweg, "out.txt") == b"one\ntwo\nthree\nfour\n"
    assert summary["bad_records"] == 0


@pytest.mark.sanitized
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_pipelined_requests_in_pieces(thalweg, step):
    port = free_port()
    requests = b"".join(b"POST /in HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                        for body in [b"a\nb\n", b"", b"ccc", b"d" * 100 + b"\n"])
    requests += b"POST /in HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\nePOST /in HTTP/1.1\r\n\r\n"
    with Live(thalweg, job(port)) as live:
        s = connect(port)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(requests), step):
            s.sendall(requests[at:at + step])
        assert answers(s, 6) == [202] * 5, "none after the last"
        live.stop()
    assert output(thalweg, "out.txt").decode().split() == ["a", "b", "ccc", "d" * 100, "e"]


@pytest.mark.sanitized
def test_continue_is_said_to_who_waits_for_it(thalweg):
    port = free_port()
    with Live(thalweg, job(port)) as live:
        s = connect(port)
        s.sendall(b"POST /in HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert answers(s, 1) == [100]
        s.sendall(b"body")
        assert answers(s, 1) == [202]
        live.stop()


@pytest.mark.sanitized
def test_formats_and_bad_records(thalweg):
    port = free_port()
    with Live(thalweg, job(port, {"file": {"path": "out.csv/"}}, format="json", columns={"a": "int64"})) as live:
        assert post(port, '{"a": 1}\n{"a": "x"}\nnonsense\n{"a": 2}').status == 202
        summary = live.stop()
    assert output(thalweg, "out.csv") == b"a\n1\n2\n" and summary["bad_records"] == 2


@pytest.mark.parametrize("framing", ["connection", "length"])
def test_binary_bodies(thalweg, framing):
    port, back = free_port(), free_port()
    server = socket.create_server(("127.0.0.1", back))
    source = job(port, {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}}, format="binary",
                 **({"framing": "length"} if framing == "length" else {}))
    messages = [b"\0\n\xff" * 1000, b"x", b"y" * 3_000_000]
    with Live(thalweg, source) as live:
        there = None
        for m in messages if framing == "connection" else [b"".join(map(frame, messages))]:
            assert post(port, m).status == 202
        if framing == "length":
            assert post(port, b"\0\0\0\5ab").status == 400
        there, _ = server.accept()
        data, wanted = b"", b"".join(map(frame, messages))
        while len(data) < len(wanted):
            data += there.recv(1 << 20)
        assert data == wanted
        live.stop()


@pytest.mark.sanitized
def test_csv_bodies_have_their_header(thalweg):
    port = free_port()
    with Live(thalweg, job(port, {"file": {"path": "out.csv/"}}, format="csv", columns={"a": "int64", "b": "string"})) as live:
        assert post(port, "b,a\nx,1\n").status == 202
        assert post(port, "a,b\n2,y\n").status == 202
        assert post(port, "a,c\n2,y\n").status == 400
        summary = live.stop()
    assert output(thalweg, "out.csv") == b"a,b\n1,x\n2,y\n" and summary["bad_records"] == 1


@pytest.mark.sanitized
def test_slow_clients(thalweg):
    port = free_port()
    with Live(thalweg, job(port, timeout="400ms")) as live:
        slow = connect(port)
        slow.sendall(b"POST /in HTTP/1.1\r\nContent-Length: 10\r\n\r\nhal")
        idle = connect(port)
        slower = connect(port)
        assert post(port, "good").status == 202
        begin = time.monotonic()
        slower.settimeout(0.1)
        for c in b"POST /in HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + b"x" * 50:
            try:
                slower.sendall(bytes([c]))
                if slower.recv(100):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - begin < 3, "a request that drips ends too"
        assert answers(slow, 1) == [408] and slow.recv(1) == b""
        assert idle.recv(1) == b""
        live.stop()
    assert output(thalweg, "out.txt") == b"good\n"


@pytest.mark.sanitized
def test_a_sink_that_stops_is_told_by_429(thalweg):
    port, back = free_port(), free_port()
    server = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job(port, {"tcp": {"connect": f"127.0.0.1:{back}"}}, memory="64MiB")) as live:
        connect(port).close()
        there, _ = server.accept()
        results = []

        def client():
            for _ in range(40):
                try:
                    results.append(post(port, "x" * 999_999 + "\n", timeout=4).status)
                except OSError:
                    results.append(0)
                    return
                if results[-1] == 429:
                    return
        threads = [threading.Thread(target=client) for _ in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        waiting = results.count(0)  # those whose requests are with the steps: as many as there are workers, at most
        assert results.count(429) >= 4 and waiting <= 2, results
        if thalweg.build == "release":
            assert live.rss() < 128 << 20
        total, wanted = 0, results.count(202) * 1_000_000
        there.settimeout(5)
        while total < wanted:
            total += len(there.recv(1 << 20))
        there.settimeout(0.5)
        try:
            while chunk := there.recv(1 << 20):
                total += len(chunk)
        except TimeoutError:
            pass
        wait_until(lambda: post(port, "on\n").status == 202)
        live.process.kill()
        live.process.communicate()


def test_sigterm_answers_what_has_come(thalweg):
    port = free_port()
    with Live(thalweg, job(port)) as live:
        s = connect(port)
        s.sendall(b"".join(b"POST /in HTTP/1.1\r\nContent-Length: 3\r\n\r\n%03d" % i for i in range(500)))
        settle(0.1)
        live.process.send_signal(signal.SIGTERM)
        got = answers(s, 500)
        assert live.result()["status"] == "done"
    assert len(output(thalweg, "out.txt").split()) == len(got) == 500


@pytest.mark.parametrize("options, words", [({"path": "in"}, "begin with '/'"), ({"listen": "x"}, "HOST:PORT"),
                                            ({"format": "json"}, "needs `columns`")])
def test_wrong_options(thalweg, options, words):
    result = thalweg.run(job(1, **options))
    assert result.exit == 2 and words in result.stderr, result


# ---- the sink ----


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        answer = self.server.script.pop(0) if self.server.script else 200
        if answer == "drop":
            self.close_connection = True
            return
        if answer < 300:
            self.server.bodies.append((self.path, self.headers["Content-Type"], body))
        self.send_response(answer)
        if answer == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def serve(script=()):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script, server.bodies, server.requests = list(script), [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("script", [[], [429], [503, 500], ["drop"], [200, "drop", 429]], ids=str)
def test_rows_are_posted(thalweg, script):
    server = serve(script)
    rows = [f"row {i}" for i in range(3000)]
    thalweg.write("in.txt", "".join(row + "\n" for row in rows))
    summary = thalweg.ok({"source": {"file": {"path": "in.txt"}},
                          "sink": {"http": {"connect": f"127.0.0.1:{server.server_port}", "path": "/to", "format": "json"}},
                          "run": {"batch_rows": 1000, "parallelism": 2}}, timeout=60)
    server.shutdown()
    assert summary["rows_out"] == 3000
    assert all(path == "/to" and kind == "application/x-ndjson" for path, kind, _ in server.bodies)
    got = [json.loads(line)["line"] for _, _, body in server.bodies for line in body.splitlines()]
    assert got == rows


def test_another_answer_ends_the_run(thalweg):
    server = serve([404])
    thalweg.write("in.txt", "one\n")
    result = thalweg.run({"source": {"file": {"path": "in.txt"}},
                          "sink": {"http": {"connect": f"127.0.0.1:{server.server_port}"}}}, timeout=30)
    server.shutdown()
    assert result.exit == 1 and "the answer is 404 Not Found" in result.stderr


def test_csv_and_binary_requests(thalweg):
    server = serve()
    thalweg.write("in.txt", "one\ntwo\n")
    for name in ("csv", "binary"):
        thalweg.ok({"source": {"file": {"path": "in.txt"}},
                    "sink": {"http": {"connect": f"localhost:{server.server_port}", "format": name}}})
    server.shutdown()
    assert [body for _, _, body in server.bodies] == [b"line\none\ntwo\n", b"one", b"two"]

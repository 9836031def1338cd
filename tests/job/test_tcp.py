"""tcp and unix: framings, formats, clients of all kinds, back-pressure, the end."""

import json
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from live import Live, connect, frame, frames_of, free_port, output, reset, settle, wait_until


def job(source, sink=None, steps=(), **run):
    """In order, so that outputs can be compared; what "none" does is seen in test_handoff.py."""
    source = {kind: {"ordered": "all", **options} if kind in ("tcp", "unix") else options for kind, options in source.items()}
    return {"source": source, "steps": list(steps), "sink": sink or {"file": {"path": "out.txt/"}},
            "run": {"parallelism": 2, "memory": "256MiB", **run}}


def lines(thalweg, name="out.txt"):
    return output(thalweg, name).decode().splitlines()


@pytest.mark.sanitized
@pytest.mark.threaded
def test_lines_of_several_connections(thalweg):
    port = free_port()
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}"}})) as live:
        def client(n):
            s = connect(port)
            for i in range(200):
                s.sendall(f"{n} {i}\n".encode())
            s.sendall(f"{n} last".encode())  # no end, but an orderly one
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1) == b""
        threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        summary = live.stop()
    assert summary["rows_in"] == summary["rows_out"] == 8 * 201 and summary["bad_records"] == 0
    got = lines(thalweg)
    for n in range(8):
        mine = [line for line in got if line.split()[0] == str(n)]
        assert mine == [f"{n} {i}" for i in range(200)] + [f"{n} last"], "each connection in its order"


@pytest.mark.sanitized
@pytest.mark.parametrize("pieces", [1, 3, 7, 4096])
def test_length_frames_in_pieces(thalweg, pieces):
    port = free_port()
    messages = [bytes([i % 256]) * (i * 37 % 300) for i in range(1, 400)]
    data = b"".join(map(frame, messages))
    source = {"tcp": {"listen": f"localhost:{port}", "framing": "length"}}
    with Live(thalweg, job(source, {"tcp": {"connect": f"127.0.0.1:{(back := free_port())}", "framing": "length"}})) as live:
        server = socket.create_server(("127.0.0.1", back))
        s = connect(port)
        there, _ = server.accept()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = pieces if pieces < 100 else 4096
        for at in range(0, len(data) if pieces > 100 else 3000, step):
            s.sendall(data[at:at + step])
        sent = data if pieces > 100 else data[:((3000 + step - 1) // step) * step]
        settle()
        summary = live.stop()
        got = b""
        while chunk := there.recv(65536):
            got += chunk
    whole, at = [], 0
    while at + 4 <= len(sent):
        (size,) = struct.unpack_from(">I", sent, at)
        if at + 4 + size > len(sent):
            break
        whole.append(sent[at + 4:at + 4 + size])
        at += 4 + size
    assert frames_of(got) == whole
    assert summary["rows_in"] == len(whole)


@pytest.mark.sanitized
def test_long_messages_keep_their_bytes(thalweg):
    port, back = free_port(), free_port()
    messages = [bytes((i * 7 + k * 13) % 251 for k in range(997)) * n for i, n in enumerate([70, 200, 1, 3000, 5000, 66, 2, 900])]
    server = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}},
                           {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}})) as live:
        s = connect(port)
        there, _ = server.accept()
        got = []
        reader = threading.Thread(target=lambda: got.extend(iter(lambda: there.recv(1 << 20), b"")))
        reader.start()
        for m in messages:
            s.sendall(frame(m))
        s.close()
        wait_until(lambda: sum(map(len, got)) == sum(len(m) + 4 for m in messages))
        live.stop()
        reader.join()
    assert frames_of(b"".join(got)) == messages


@pytest.mark.sanitized
def test_a_connection_is_a_message(thalweg):
    port = free_port()
    source = {"tcp": {"listen": f"127.0.0.1:{port}", "framing": "connection"}}
    with Live(thalweg, job(source, {"file": {"path": "out.jsonl/"}}, on_bad_record={"dead_letter": "bad.jsonl"})) as live:
        for text in [b"first", b"x" * 300000, b"third\nof two lines"]:
            s = connect(port)
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1) == b"", "the other side closes when it has taken it"
            s.close()
        s = connect(port)
        s.sendall(b"half")
        settle(0.2)
        reset(s)
        settle()
        summary = live.stop()
    assert summary["rows_in"] == 3 and summary["bad_records"] == 1
    assert "broke within a message" in json.loads(thalweg.read("bad.jsonl"))["reason"]


BAD_ENDS = {
    "length-cut": ("length", struct.pack(">I", 10) + b"half", False, "went away within a message"),
    "length-cut-long": ("length", struct.pack(">I", 1 << 20) + b"half", False, "went away within a message"),
    "length-header": ("length", b"\0\0", False, "went away within a message"),
    "length-reset": ("length", struct.pack(">I", 10) + b"half", True, "broke within a message"),
    "line-reset": ("newline", b"half", True, "broke within a message"),
    "huge-prefix": ("length", b"\xff\xff\xff\xff rest", None, "more than max_message"),
    "endless-line": ("newline", b"x" * 3_000_000, None, "more than max_message"),
    "endless-connection": ("connection", b"x" * 3_000_000, None, "more than max_message"),
    "stands-still": ("length", struct.pack(">I", 10) + b"half", None, "stands still"),
}


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("name", BAD_ENDS)
def test_what_is_no_message_is_a_bad_record(thalweg, name):
    framing, data, broken, words = BAD_ENDS[name]
    port = free_port()
    source = {"tcp": {"listen": f"127.0.0.1:{port}", "framing": framing, "max_message": "2MB", "timeout": "300ms"}}
    with Live(thalweg, job(source, {"discard": {}}, on_bad_record={"dead_letter": "bad.jsonl"})) as live:
        s = connect(port)
        try:
            s.sendall(data)
        except OSError:
            assert broken is None
        if broken is None:
            try:
                assert s.recv(1) == b"", "closed by the other side"
            except ConnectionResetError:
                pass
        else:
            settle(0.15)
            reset(s) if broken else s.close()
        settle()
        other = connect(port)  # others are served as before
        other.sendall(frame(b"good") if framing == "length" else b"good\n")
        other.close()
        settle()
        summary = live.stop()
    assert summary["bad_records"] == 1, summary
    assert summary["rows_in"] == 1
    letter = json.loads(thalweg.read("bad.jsonl"))
    assert words in letter["reason"], letter
    assert letter["file"].startswith("tcp 127.0.0.1:")


def test_a_bad_record_fails_the_run_if_it_is_to(thalweg):
    port = free_port()
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}})) as live:
        s = connect(port)
        s.sendall(frame(b"one") + b"\0\0\0\5ha")
        s.close()
        summary = live.result()
    assert live.process.returncode == 1
    assert "within a message" in live.stderr and "record 2" in live.stderr, live.stderr
    assert summary["status"] == "failed"


@pytest.mark.sanitized
@pytest.mark.parametrize("framing", ["newline", "length"])
@pytest.mark.parametrize("name", ["json", "csv", "records", "lines"])
def test_formats(thalweg, framing, name):
    port = free_port()
    options = {"json": {"columns": {"a": "int64", "b": "string"}},
               "csv": {"columns": {"a": "int64", "b": "string"}},
               "records": {"length": 5, "columns": {"a": [0, 2], "b": [2, 3]}},
               "lines": {}}[name]
    source = {"tcp": {"listen": f"127.0.0.1:{port}", "framing": framing, "format": name, **options}}
    if name == "records" and framing == "newline":
        result = thalweg.run(job(source))
        assert result.exit == 2 and "line feeds" in result.stderr
        return
    messages = {"json": [b'{"a": 1, "b": "x"}', b'{"b": "y\\n", "a": 2}', b'{"a": "bad"}', b'{"a": 3}'],
                "csv": [b"b,a", b"x,1", b'"y\n",2', b"z,bad", b",3"],
                "records": [b"01abc02def", b"03gh", b"04xyz"],
                "lines": [b"one", b"two", b"", b"\xff", b"three"]}[name]
    with Live(thalweg, job(source, {"file": {"path": "out.csv/"}}, on_bad_record="skip")) as live:
        s = connect(port)
        for m in messages:
            s.sendall(frame(m) if framing == "length" else m + b"\n")
            time.sleep(0.03 if m in messages[:2] else 0)
        s.close()
        settle()
        summary = live.stop()
    expected = {"json": 'a,b\n1,x\n2,"y\n"\n3,\n', "csv": 'a,b\n1,x\n2,"y\n"\n3,\n',
                "records": "a,b\n01,abc\n02,def\n04,xyz\n", "lines": 'line\none\ntwo\n""\nthree\n'}[name]
    assert output(thalweg, "out.csv").decode() == expected
    assert summary["bad_records"] == 1


def test_live_formats_need_their_columns(thalweg):
    for name in ("json", "csv"):
        result = thalweg.run(job({"tcp": {"listen": "127.0.0.1:9", "format": name}}))
        assert result.exit == 2 and "needs `columns`" in result.stderr, result


@pytest.mark.parametrize("options, words", [
    ({}, "listen"),
    ({"listen": ":1", "connect": ":2"}, "beside listen"),
    ({"listen": "localhost"}, "HOST:PORT"),
    ({"listen": "::1:80"}, "stands in [...]"),
    ({"listen": ":80", "retry": "1s"}, "is for connect"),
    ({"listen": ":80", "format": "binary"}, "line feeds"),
])
def test_wrong_options(thalweg, options, words):
    result = thalweg.run(job({"tcp": options}))
    assert result.exit == 2 and words in result.stderr, result


def test_a_port_that_is_taken(thalweg):
    with socket.create_server(("127.0.0.1", 0)) as s:
        result = thalweg.run(job({"tcp": {"listen": f"127.0.0.1:{s.getsockname()[1]}"}}))
    assert result.exit == 1 and "cannot listen" in result.stderr


def test_without_a_host_it_is_loopback(thalweg):
    port = free_port()
    with Live(thalweg, job({"tcp": {"listen": f":{port}"}})) as live:
        connect(port).close()
        with open("/proc/net/tcp") as table:
            mine = [line.split()[1] for line in table if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
        assert mine == [f"0100007F:{port:04X}"]
        live.stop()


@pytest.mark.sanitized
def test_a_peer_is_called_again(thalweg):
    port = free_port()
    with Live(thalweg, job({"tcp": {"connect": f"127.0.0.1:{port}", "retry": "10s"}})) as live:
        for text in ("one\n", "two\n"):
            settle(0.3)  # nobody listens for a while
            with socket.create_server(("127.0.0.1", port)) as server:
                server.settimeout(20)
                there, _ = server.accept()
                there.sendall(text.encode())
                there.close()
        settle()
        live.stop()
    assert lines(thalweg) == ["one", "two"]


@pytest.mark.parametrize("side", ["source", "sink"])
def test_a_peer_that_does_not_answer_fails_the_run(thalweg, side):
    port = free_port()
    there = {"tcp": {"connect": f"127.0.0.1:{port}", "retry": "300ms"}}
    made = {"generate": {"kind": "text", "bytes": "20MB"}}
    result = thalweg.run(job(there) if side == "source" else job(made, there), timeout=20)
    assert result.exit == 1 and f"no connection to '127.0.0.1:{port}'" in result.stderr, result
    assert "Connection refused" in result.stderr


def test_more_connections_at_once_than_are_accepted_at_once(thalweg):
    """All but the last are silent."""
    port, back = free_port(), free_port()
    there = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job({"tcp": {"listen": str(port)}}, {"tcp": {"connect": f"127.0.0.1:{back}"}})) as live:
        s, _ = there.accept()
        settle()  # nothing goes on any more that would make the source look again
        live.process.send_signal(signal.SIGSTOP)
        crowd = [connect(port) for _ in range(900)]
        crowd[-1].sendall(b"heard\n")
        live.process.send_signal(signal.SIGCONT)
        assert s.recv(100) == b"heard\n"
        live.stop()


@pytest.mark.sanitized
@pytest.mark.threaded
def test_a_thousand_connections(thalweg):
    port, n = free_port(), 1000
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}}, {"discard": {}},
                           memory="64MiB", on_bad_record="skip")) as live:
        clients = [connect(port) for _ in range(n)]
        for turn in range(3):
            for i, s in enumerate(clients):
                s.sendall(frame(b"message %d %d" % (i, turn)) + b"\0\0\0\x08ha")  # and half of one
            for s in clients:
                s.sendall(b"lf one")
        settle(0.5)
        rss = live.rss()
        for s in clients:
            s.close()
        settle(0.5)
        summary = live.stop()
    assert summary["rows_in"] == 6 * n and summary["bad_records"] == 0
    if thalweg.build == "release":
        assert rss < 100 << 20


@pytest.mark.sanitized
def test_who_only_announces_gets_no_memory(thalweg):
    """A hundred clients say that 10 MB are to come, and send a little."""
    port = free_port()
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}}, {"discard": {}},
                           memory="128MiB", on_bad_record="skip")) as live:
        clients = [connect(port) for _ in range(100)]
        for s in clients:
            s.sendall(struct.pack(">I", 10_000_000) + b"x" * 1000)
        settle()
        if thalweg.build == "release":
            assert live.rss() < 100 << 20
        s = connect(port)
        s.sendall(b"".join(frame(b"m%d" % i) for i in range(1000)))
        s.close()
        for s in clients:
            s.close()
        settle()
        summary = live.stop()
    assert summary["rows_in"] == 1000 and summary["bad_records"] == 100


@pytest.mark.sanitized
def test_memory_stays_flat_when_the_sink_stops(thalweg):
    port, back = free_port(), free_port()
    server = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}},
                           {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}}, memory="64MiB")) as live:
        s = connect(port)
        there, _ = server.accept()
        data = b"".join(frame(b"%09d" % i + b"x" * 990) for i in range(1000))
        sent, stopped = 0, []
        s.settimeout(1)
        try:
            for _ in range(400):  # 400 MB do not fit anywhere
                s.sendall(data)
                sent += 1
        except TimeoutError:
            stopped.append(True)
        assert stopped, "the source was not slowed"
        if thalweg.build == "release":
            assert live.rss() < 128 << 20
        got = 0
        there.settimeout(3)
        s.close()
        try:
            while chunk := there.recv(1 << 20):
                got += len(chunk)
        except TimeoutError:
            pass
        assert got >= sent * len(data), "all that was taken comes, once the sink goes on"
        live.process.kill()
        live.process.communicate()


def test_sigterm_drains_what_has_come(thalweg):
    """The sink stands still when the source is told to end; all messages that had come are delivered."""
    port, back = free_port(), free_port()
    server = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}},
                           {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}})) as live:
        s = connect(port)
        there, _ = server.accept()
        n = 40_000
        s.sendall(b"".join(frame(b"%010d" % i) for i in range(n)) + b"\0\0\0\5ha")
        settle()
        live.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        got = b""
        while chunk := there.recv(1 << 20):
            got += chunk
        summary = live.result()
        assert live.process.returncode == 0 and summary["status"] == "done"
    assert frames_of(got) == [b"%010d" % i for i in range(n)]
    assert summary["bad_records"] == 0


def test_a_second_signal_interrupts(thalweg):
    port, back = free_port(), free_port()
    server = socket.create_server(("127.0.0.1", back))
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}"}}, {"tcp": {"connect": f"127.0.0.1:{back}"}})) as live:
        s = connect(port)
        there, _ = server.accept()
        s.settimeout(0.5)
        try:
            while True:
                s.sendall(b"x" * 99 + b"\n")
        except TimeoutError:
            pass
        live.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert live.process.poll() is None, "it waits for the sink"
        live.process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        live.result()
        assert time.monotonic() - sent < 1
        assert live.process.returncode == 130
        there.close()


@pytest.mark.sanitized
@pytest.mark.threaded
def test_a_sink_goes_on_after_its_peer_was_lost(thalweg):
    """What the system had taken may be lost, but no message is cut or comes twice."""
    port, back = free_port(), free_port()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # little is under way
    server.bind(("127.0.0.1", back))
    server.listen()
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}", "framing": "length"}},
                           {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}})) as live:
        s = connect(port)
        s.settimeout(60)
        n, got = 20_000, []
        sender = threading.Thread(target=lambda: [s.sendall(frame(b"%08d" % i + b"y" * 2000)) for i in range(n)])
        sender.start()
        server.settimeout(20)
        for turn in range(4):
            there, _ = server.accept()
            there.settimeout(2)
            data, silent = b"", False
            while not silent:
                try:
                    data += there.recv(100_000)
                except TimeoutError:
                    silent = not sender.is_alive()
                if turn < 3 and len(data) > 700_000:
                    reset(there)
                    break
            at = 0
            while at + 2012 <= len(data):
                assert data[at:at + 4] == struct.pack(">I", 2008), "each connection begins with a whole message"
                got.append(int(data[at + 4:at + 12]))
                at += 2012
        sender.join()
        live.process.send_signal(signal.SIGTERM)
        live.result()
    assert got == sorted(set(got)), "in order, none twice"
    assert got[-1] == n - 1


@pytest.mark.sanitized
def test_everybody_who_connects_gets_all_rows(thalweg):
    port, back = free_port(), free_port()
    with Live(thalweg, job({"tcp": {"listen": f"127.0.0.1:{port}"}},
                           {"tcp": {"listen": f"127.0.0.1:{back}", "format": "csv"}})) as live:
        s = connect(port)
        s.sendall(b"early\n")  # waits for the first who comes
        settle(0.2)
        a, b = connect(back), connect(back)
        settle(0.2)
        s.sendall(b"one\n")
        settle(0.2)
        b.close()
        s.sendall(b"two\n")
        settle(0.2)
        c = connect(back)
        settle(0.2)
        s.sendall(b"three\n")
        settle(0.2)
        live.stop()

        def rest(x):
            data = b""
            while chunk := x.recv(1000):
                data += chunk
            return data.decode()
        assert rest(a) == "line\nearly\none\ntwo\nthree\n"
        assert rest(c) == "line\nthree\n"


@pytest.mark.sanitized
def test_a_connection_for_each_row(thalweg):
    back = free_port()
    server = socket.create_server(("127.0.0.1", back))
    rows = [f"row {i}" for i in range(50)]
    thalweg.write("in.txt", "".join(row + "\n" for row in rows))
    with Live(thalweg, job({"file": {"path": "in.txt"}}, {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "connection"}})) as live:
        got = []
        for _ in rows:
            there, _ = server.accept()
            data = b""
            while chunk := there.recv(1000):
                data += chunk
            got.append(data.decode())
        assert live.result()["status"] == "done"
    assert got == rows


@pytest.mark.sanitized
def test_unix_sockets(thalweg):
    path, out = str(thalweg.folder / "in.sock"), str(thalweg.folder / "out.sock")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()  # leaves its file
    server = socket.socket(socket.AF_UNIX)
    server.bind(out)
    server.listen()
    with Live(thalweg, job({"unix": {"listen": path}}, {"unix": {"connect": out, "format": "json"}})) as live:
        s = connect(path)
        assert (thalweg.folder / "in.sock").stat().st_mode & 0o777 == 0o600
        there, _ = server.accept()
        s.sendall(b"one\ntwo\n")
        s.close()
        settle()
        live.stop()
        assert there.recv(1000) == b'{"line":"one"}\n{"line":"two"}\n'
    assert not (thalweg.folder / "in.sock").exists()


def test_a_socket_in_use_is_left_alone(thalweg):
    path = str(thalweg.folder / "in.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        result = thalweg.run(job({"unix": {"listen": path}}))
        assert result.exit == 1 and "cannot listen" in result.stderr
        connect(path).close()
    thalweg.write("plain", "text")
    result = thalweg.run(job({"unix": {"listen": "plain"}}))
    assert result.exit == 1 and thalweg.read("plain") == b"text"


def test_explain_and_help_name_it(thalweg):
    text = thalweg.command("help", "tcp").stdout
    assert "max_message" in text and "retry" in text
    (thalweg.folder / "job.yaml").write_text(json.dumps(job({"tcp": {"listen": ":7001", "framing": "length"}},
                                                            {"tcp": {"connect": "localhost:7002", "framing": "length"}})))
    text = thalweg.command("explain", "job.yaml").stdout
    assert "listens on :7001, messages by length, endless" in text and "binary by length, to localhost:7002" in text, text


@pytest.mark.parametrize("quiet", [False, True])
def test_an_outage_is_told(thalweg, quiet):
    """A peer that is not there, and then is: a warning and a line on standard error, counted in the summary."""
    port, back = free_port(), free_port()
    flow = job({"tcp": {"connect": f"127.0.0.1:{port}"}}, {"tcp": {"connect": f"127.0.0.1:{back}"}})
    arguments = thalweg.job_arguments(flow, True, {}) + (["--quiet"] if quiet else [])
    process = subprocess.Popen(thalweg.argv(*arguments), cwd=thalweg.folder, env=thalweg.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        lines = []
        while not quiet and sum("is called again" in line for line in lines) < 2:
            lines.append(process.stderr.readline().decode())
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_server(("127.0.0.1", back)) as sink:
            there, out = server.accept()[0], sink.accept()[0]
            there.sendall(b"one\n")
            assert out.recv(100) == b"one\n"
            process.send_signal(signal.SIGTERM)
            stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    said = "".join(lines) + stderr.decode()
    for where in (port, back):
        assert quiet or f"thalweg: warning: tcp: no connection to '127.0.0.1:{where}': Connection refused; it is called again" in said
        assert quiet or f"thalweg: tcp: '127.0.0.1:{where}' is there again" in said
    assert not said if quiet else json.loads(stdout)["warnings"] == 2

"""harmonicio: recorded exchanges, and whole jobs against connectors, PEs and a master written independently of it."""

import base64
import hashlib
import json
import random
import socket
import threading

import pytest

from harmonicio import PE, Master, ask, bytes_for, free_ports, masked, place, push, receive_all, replay, segments, send, side, target_send
from live import Live, connect, output, reset, wait_until

NAME = "haste/bench"


def in_masters_place(ports="rest queue data", on_bad_record="skip", **options):
    """(job, ports): the rows as JSON, contents as base64."""
    at = dict(zip(ports.split(), free_ports(3)))
    job = {"source": {"harmonicio": {"listen": {name: str(port) for name, port in at.items()}, **options}}, "steps": [],
           "sink": {"file": {"path": "out.json/"}}, "run": {"parallelism": 2, "memory": "512MiB", "on_bad_record": on_bad_record}}
    return job, at


def under(master, workers=2, **options):
    return {"source": {"harmonicio": {"master": f"127.0.0.1:{master.port}", "name": NAME, "workers": workers, **options}}, "steps": [],
            "sink": {"file": {"path": "out.json/"}}, "run": {"parallelism": 2, "memory": "512MiB", "on_bad_record": "skip"}}


def sending(thalweg, messages, **options):
    """A job that sends these messages."""
    lines = "".join(json.dumps({"m": base64.b64encode(m).decode()}) + "\n" for m in messages)
    thalweg.write("messages.json", lines)
    return {"source": {"file": {"path": "messages.json", "columns": {"m": "binary"}}}, "steps": [],
            "sink": {"harmonicio": {"name": NAME, **options}}, "run": {"parallelism": 2, "memory": "512MiB", "on_bad_record": "skip"}}


def rows(thalweg):
    lines = [json.loads(line) for line in output(thalweg, "out.json").splitlines()]
    return sorted((row["name"] or "", base64.b64decode(row["content"])) for row in lines)


def payload(size, seed=1):
    return random.Random(seed).randbytes(size)


# ---- recorded exchanges ----

ERRORS = [f"09-master-errors-{i:02}-port8080" for i in range(13)]


def same(reply, name, **ports):
    recorded = side(name, "S")
    for old, new in ports.items():
        recorded = recorded.replace(old.strip("p").encode(), str(new).encode())
    # A port of another length than 4 digits changes the length of the body.
    head, _, body = recorded.partition(b"\r\n\r\n")
    old_length = len(side(name, "S").partition(b"\r\n\r\n")[2])
    head = head.replace(b"ength: %d" % old_length, b"ength: %d" % len(body))
    assert masked(reply) == masked(head + b"\r\n\r\n" + body), name


def test_recorded_connectors_that_queue(thalweg):
    job, at = in_masters_place("rest queue")
    with Live(thalweg, job) as live:
        connect(at["rest"]).close()
        for scene, kinds in (("02-connector-to-queue-{:02}", "mqmq"), ("10-connector-queue-utf8-name-{:02}", "mq")):
            for i, kind in enumerate(kinds):
                name = scene.format(i) + ("-port8080" if kind == "m" else "-port8090")
                reply = replay(at["rest" if kind == "m" else "queue"], name)
                if kind == "m":
                    same(reply, name, p8090=at["queue"])
                else:
                    assert reply == b"", "closed without a word"
        for name in ERRORS:
            same(replay(at["rest"], name), name)
        for name in ("00", "01"):  # a header that is none, a payload that nobody announced
            assert replay(at["queue"], f"11-raw-queue-edge-cases-{name}-port8090") == b""
        for name in ("07", "10"):  # a worker tells of itself
            same(replay(at["rest"], f"01-worker-startup-and-status-{name}-port8080"), f"01-worker-startup-and-status-{name}-port8080")
        summary = live.stop()
    assert rows(thalweg) == [(NAME, b"queued message one"), (NAME, b"queued message two"), ("namn/åäö", b"utf-8 image name")]
    assert summary["bad_records"] == 2


def test_recorded_connectors_that_send_directly(thalweg):
    job, at = in_masters_place("rest data")
    with Live(thalweg, job) as live:
        connect(at["rest"]).close()
        for scene in ("05-connector-direct-to-pe-then-pe-reregisters", "06-connector-direct-5120B-binary"):
            same(replay(at["rest"], f"{scene}-00-port8080"), f"{scene}-00-port8080", p9000=at["data"])
            assert replay(at["data"], f"{scene}-01-port9000") == b""
        live.stop()
    binary = side("06-connector-direct-5120B-binary-01-port9000", "C")
    assert rows(thalweg) == sorted([(NAME, b"direct message"), (NAME, binary)]) and len(binary) == 5120


def test_recorded_pes_that_poll(thalweg):
    """Two rows wait; the queue's length is told, then a PE gets them one by one."""
    port = free_ports(1)[0]
    job = sending(thalweg, [b"queued message one", b"queued message two"], listen={"rest": str(port)})
    with Live(thalweg, job) as live:
        connect(port).close()
        name = "03-query-queue-length-00-port8080"
        wait_until(lambda: ask(port, "GET", "/messagesQuery?token=None&command=queueLength")[1] != b"{'haste/bench': 0}")
        same(replay(port, name), name)
        for name in ERRORS:
            same(replay(port, name), name)
        for i in (1, 2):
            name = f"04-worker-create-pe-which-drains-queue-then-registers-{i:02}-port8080"
            same(replay(port, name), name)
        summary = live.result()
    assert summary["status"] == "done" and summary["rows_out"] == 2


def serve_recorded(listener, name, requests):
    """Answers one request with the recorded segments of the master."""
    s, _ = listener.accept()
    with s:
        request = b""
        while b"\r\n\r\n" not in request:
            request += s.recv(65536)
        requests.append(request.decode())
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for who, data in segments(name):
            if who == "S":
                s.sendall(data)


def test_we_ask_and_send_as_the_recorded_connector(thalweg):
    rest, queue = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    job = sending(thalweg, [b"queued message one"], master=f"127.0.0.1:{rest.getsockname()[1]}")
    requests, got = [], []
    answer = b"{'node_addr': '127.0.0.1', 'node_port': %d, 'node_role': 4, 'm_cmd': []}" % queue.getsockname()[1]

    def serve():
        for _ in range(2):  # the second: whether a PE has become free meanwhile
            s, _ = rest.accept()
            with s:
                requests.append(s.recv(65536).decode())
                s.sendall(b"HTTP/1.0 200 OK\r\ncontent-type: String\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
            if not got:
                s, _ = queue.accept()
                with s:
                    got.append(receive_all(s))
    thread = threading.Thread(target=serve)
    thread.start()
    summary = thalweg.ok(job)
    thread.join()
    assert summary["rows_out"] == 1
    assert got == [side("02-connector-to-queue-01-port8090", "C")], "name and payload as recorded"
    recorded = side("02-connector-to-queue-00-port8080", "C").decode().split("\r\n")[0]
    assert all(r.split("\r\n")[0].replace("source=thalweg", "source=vector-source") == recorded for r in requests)


def test_we_poll_as_the_recorded_pe(thalweg):
    rest = socket.create_server(("127.0.0.1", 0))
    name = "04-worker-create-pe-which-drains-queue-then-registers-{:02}-port8080"
    port, requests = free_ports(1)[0], []
    job = {"source": {"harmonicio": {"master": f"127.0.0.1:{rest.getsockname()[1]}", "name": NAME, "port": port}}, "steps": [],
           "sink": {"file": {"path": "out.json/"}}}
    with Live(thalweg, job) as live:
        for i in (1, 2, 3):
            serve_recorded(rest, name.format(i), requests)
        assert replay(port, "05-connector-direct-to-pe-then-pe-reregisters-01-port9000") == b""
        serve_recorded(rest, name.format(3), requests)
        rest.close()
        live.stop()
    recorded = side(name.format(1), "C").decode().split("\r\n")[0].replace("batch_port=9000", f"batch_port={port}")
    polls = [r.split("\r\n")[0] for r in requests if r.startswith("POST")]
    assert polls == [recorded] * len(polls) and len(polls) >= 3
    assert rows(thalweg) == [(NAME, b"direct message"), (NAME, b"queued message one"), (NAME, b"queued message two")]


# ---- in the master's place ----

SIZES = [0, 1, 11, 12, 13, 100, 4096, 16384, 65537, 1_000_000, 10_000_000]


@pytest.mark.sanitized
@pytest.mark.parametrize("ports", ["rest queue", "rest data"])
def test_sizes(thalweg, ports):
    job, at = in_masters_place(ports)
    messages = [payload(size) for size in SIZES]
    with Live(thalweg, job) as live:
        for m in messages:
            assert send(at["rest"], NAME, m) == (2 if "data" in ports else 4)
        summary = live.stop()
    assert rows(thalweg) == sorted((NAME, m) for m in messages) and summary["bad_records"] == 0


@pytest.mark.sanitized
@pytest.mark.threaded
def test_many_connectors(thalweg):
    """Idle workers are named first, the queue for the rest; each message comes once, under its name."""
    job, at = in_masters_place()
    job["steps"] = [{"busy": {"for": "2ms"}}]
    names = [f"image-{n}" if n % 2 else f"a-registry/of-images/number-{n}:latest" for n in range(8)]
    roles = set()
    with Live(thalweg, job) as live:
        connect(at["rest"]).close()

        def connector(name):
            for i in range(25):
                roles.add(send(at["rest"], name, f"{name} {i}".encode() * 50))
        threads = [threading.Thread(target=connector, args=(name,)) for name in names]
        [t.start() for t in threads]
        [t.join() for t in threads]
        summary = live.stop()
    assert rows(thalweg) == sorted((name, f"{name} {i}".encode() * 50) for name in names for i in range(25))
    assert summary["bad_records"] == 0 and 2 in roles


@pytest.mark.sanitized
@pytest.mark.parametrize("role", ["queue", "data"])
def test_a_part_is_never_the_whole(thalweg, role):
    job, at = in_masters_place(f"rest {role}", on_bad_record={"dead_letter": "bad.json"})
    message = payload(100_000)
    with Live(thalweg, job) as live:
        _, told = place(at["rest"], NAME, message)
        data = bytes_for(told, NAME, message)
        for cut in (len(data) - 1, len(data) // 2, 1):
            push(at[role], data[:cut])  # ended in order
        s = connect(at[role])
        s.sendall(data[:60_000])
        reset(s)
        push(at[role], data + b"x")
        push(at[role], data)  # sent again, whole
        push(at[role], data)  # and once too often
        connect(at[role]).close()  # somebody has only looked
        summary = live.stop()
    assert rows(thalweg) == [(NAME, message)]
    dead = [json.loads(line) for line in thalweg.read("bad.json").splitlines()]
    # What was reset may have been lost on the way whole.
    assert len(dead) == summary["bad_records"] in (5, 6, 7)
    assert all(row["file"].startswith("harmonicio 127.0.0.1:") for row in dead)


@pytest.mark.sanitized
def test_who_stands_still_is_let_go(thalweg):
    job, at = in_masters_place("rest queue data", timeout="300ms")
    with Live(thalweg, job) as live:
        place(at["rest"], NAME, b"a message")
        half = [connect(at["rest"]), connect(at["queue"]), connect(at["data"])]
        half[0].sendall(b"GET /streamRe")
        half[1].sendall(b"011haste/b")
        half[2].sendall(b"a mess")
        silent = [connect(port) for port in at.values()]
        for s in half + silent:
            try:
                assert s.recv(1) == b""
            except ConnectionResetError:
                pass
        push(at["data"], b"a message")
        summary = live.stop()
    assert rows(thalweg) == [(NAME, b"a message")] and summary["bad_records"] == 2


@pytest.mark.sanitized
def test_without_verifying(thalweg):
    job, at = in_masters_place(verify=False)
    with Live(thalweg, job) as live:
        assert replay(at["queue"], "11-raw-queue-edge-cases-01-port8090") == b""
        push(at["data"], b"whoever this is")
        push(at["queue"], b"abcname")
        summary = live.stop()
    assert rows(thalweg) == [("", b"whoever this is"), ("abc", b"")] and summary["bad_records"] == 1


@pytest.mark.sanitized
def test_hostile_clients(thalweg):
    job, at = in_masters_place("rest queue data", max_message="100KB")
    with Live(thalweg, job) as live:
        connect(at["rest"]).close()
        for request, code in ((b"nonsense\r\n\r\n", 400), (b"\0" * 64, 400), (b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 10_000), 414),
                              (b"GET /streamRequest?token=None&c_name=" + b"x" * 1000 + b"&c_os=a&source=b&digest=" + b"0" * 32
                               + b" HTTP/1.1\r\n\r\n", 406),
                              (b"GET /streamRequest?token=None&c_name=%ff&c_os=a&source=b&digest=" + b"0" * 32 + b" HTTP/1.1\r\n\r\n", 406),
                              (b"GET /streamRequest?token=None&c_name=a&c_os=a&source=b&digest=none HTTP/1.1\r\n\r\n", 401),
                              (b"PUT /status?token=None HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 2_000_000, 413),
                              (b"DELETE /status?token=None HTTP/1.1\r\n\r\n", 405),
                              (b"POST /streamRequest?token=None&batch_addr=a&batch_port=1&batch_status=0&c_name=a HTTP/1.1\r\n\r\n", 406)):
            s = connect(at["rest"])
            try:
                s.sendall(request)
            except OSError:
                continue  # answered, and not read on for ever
            try:
                assert int(receive_all(s).split()[1]) == code, request[:60]
            except ConnectionResetError:
                assert code == 413
        crowd = [connect(port) for port in (at["rest"], at["data"]) for _ in range(200)]
        place(at["rest"], NAME, b"x" * 100_001)
        for port in (at["queue"], at["data"]):
            s = connect(port)
            try:
                s.sendall((b"011haste/bench" if port == at["queue"] else b"") + b"x" * 100_001)
                s.shutdown(socket.SHUT_WR)
                receive_all(s)
            except OSError:
                pass
        push(at["queue"], b"999" + b"x" * 998)
        push(at["queue"], b"003\xff\xfe\xfdxyz")
        send(at["rest"], NAME, b"well")
        summary = live.stop()
        [s.close() for s in crowd]
    assert rows(thalweg) == [(NAME, b"well")] and summary["bad_records"] == 4


# ---- as PEs under a master ----

@pytest.mark.sanitized
@pytest.mark.threaded
def test_a_pool_under_a_master(thalweg):
    messages = [payload(size, seed) for seed, size in enumerate([1, 12, 13, 5000, 70_000, 10_000_000] + [100] * 30)]
    with Master() as master:
        for m in messages[:10]:
            assert send(master.port, NAME, m, wait=True) == 4, "nobody is there"
        with Live(thalweg, under(master)) as live:
            wait_until(lambda: len(master.free(NAME)) == 2)
            roles = {send(master.port, NAME, m, wait=True) for m in messages[10:]}
            wait_until(lambda: len(master.free(NAME)) == 2 and not master.waiting(NAME))
            summary = live.stop()
        assert roles >= {2} and not master.free(NAME), "they take themselves back"
    assert rows(thalweg) == sorted((NAME, m) for m in messages) and summary["bad_records"] == 0


@pytest.mark.sanitized
def test_a_lost_wake_up_is_found(thalweg):
    """A sender is told to queue, the PEs register, the message comes: they fetch it."""
    with Master() as master:
        where, role = place(master.port, NAME, b"late")
        with Live(thalweg, under(master)) as live:
            wait_until(lambda: len(master.free(NAME)) == 2)
            push(where, bytes_for(role, NAME, b"late"))
            wait_until(lambda: master.fetched)
            live.stop()
    assert rows(thalweg) == [(NAME, b"late")]


@pytest.mark.sanitized
def test_a_message_before_the_answer(thalweg):
    """The master names a PE to a sender before the PE has heard that it is registered: it is free again afterwards."""
    with Master() as master:
        original, polls = master.post, []

        def post(path, p):
            answer = original(path, p)
            if not polls:
                with connect(master.free(NAME).pop()[1]) as s:
                    with master.lock:
                        master.pes[NAME].clear()
                    s.sendall(b"early")
                    s.shutdown(socket.SHUT_WR)
                    receive_all(s)
            polls.append(p)
            return answer
        master.post = post
        with Live(thalweg, under(master, workers=1)) as live:
            wait_until(lambda: len(polls) == 2 and len(master.free(NAME)) == 1)
            live.stop()
        assert not master.free(NAME)
    assert rows(thalweg) == [(NAME, b"early")]


@pytest.mark.sanitized
def test_pes_of_others_are_given_back(thalweg):
    with Master() as master:
        master.pes[NAME] = [("127.0.0.1", 1), ("127.0.0.1", 2)]
        with Live(thalweg, under(master, workers=3)) as live:
            wait_until(lambda: len(master.free(NAME)) == 5)
            live.stop()
        assert sorted(master.free(NAME)) == [("127.0.0.1", 1), ("127.0.0.1", 2)]


@pytest.mark.sanitized
def test_half_messages_to_a_pool(thalweg):
    with Master() as master, Live(thalweg, under(master, workers=1)) as live:
        for i in range(3):
            wait_until(lambda: len(master.free(NAME)) == 1)
            where, role = place(master.port, NAME, b"half")
            assert role == 2
            s = connect(where)
            if i:
                s.sendall(b"half a mess")
            reset(s) if i else s.close()
        wait_until(lambda: len(master.free(NAME)) == 1)
        assert send(master.port, NAME, b"whole") == 2
        wait_until(lambda: len(master.free(NAME)) == 1)
        summary = live.stop()
    assert rows(thalweg) == [(NAME, b"whole")] and summary["bad_records"] <= 2


@pytest.mark.sanitized
def test_a_cut_answer_of_the_master(thalweg):
    rest = socket.create_server(("127.0.0.1", 0))
    job = {"source": {"harmonicio": {"master": f"127.0.0.1:{rest.getsockname()[1]}", "name": NAME}}, "steps": [],
           "sink": {"file": {"path": "out.json/"}}, "run": {"on_bad_record": "skip"}}
    answers = [b"HTTP/1.0 203 OK\r\ncontent-length: 100\r\n\r\nonly this", b"HTTP/1.0 203 OK\r\ncontent-length: 100\r\n\r\n",
               b"HTTP/1.0 203 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.0 203 OK\r\ncontent-length: 5\r\n\r\nwhole", b"HTTP/1.0 203 OK\r\n\r\nsome",
               b"", b"nonsense\r\n\r\n", b"HTTP/1.0 203 OK\r\ncontent-length: 3\r\n\r\nend"]
    with Live(thalweg, job) as live:
        for a in answers:
            s, _ = rest.accept()
            with s:
                s.recv(65536)
                s.sendall(a)
                s.shutdown(socket.SHUT_WR)
                receive_all(s)
        rest.accept()[0].close()  # it comes again when it is through
        rest.close()
        summary = live.stop()
    assert rows(thalweg) == [(NAME, b""), (NAME, b"end"), (NAME, b"whole")] and summary["bad_records"] == 3


def test_a_master_that_is_not_there(thalweg):
    port = free_ports(1)[0]
    job = {"source": {"harmonicio": {"master": f"127.0.0.1:{port}", "name": NAME, "retry": "200ms"}}, "steps": [], "sink": {"discard": {}}}
    result = thalweg.run(job)
    assert result.exit == 1 and f"no connection to '127.0.0.1:{port}'" in result.stderr
    result = thalweg.run(sending(thalweg, [b"m"], master=f"127.0.0.1:{port}", retry="200ms"))
    assert result.exit == 1 and f"no connection to '127.0.0.1:{port}'" in result.stderr


# ---- as a stream connector ----

@pytest.mark.sanitized
@pytest.mark.threaded
def test_a_connector_to_pes_and_queue(thalweg):
    messages = [payload(size, seed) for seed, size in enumerate([1, 2000, 10_000_000] + [50] * 60)]
    got, lock = [], threading.Lock()

    def work(message):
        with lock:
            got.append(message)
    with Master() as master:
        summary = thalweg.ok(sending(thalweg, messages[:20], master=f"127.0.0.1:{master.port}"))
        assert summary["rows_out"] == 20 == master.waiting(NAME), "nobody is there: all are queued"
        pes = [PE(master.port, NAME, work) for _ in range(2)]
        wait_until(lambda: len(got) == 20)
        thalweg.ok(sending(thalweg, messages[20:], master=f"127.0.0.1:{master.port}"))
        wait_until(lambda: len(got) == len(messages))
        [p.stop() for p in pes]
    assert sorted(got) == sorted(messages)


@pytest.mark.sanitized
def test_a_pe_that_becomes_free_while_we_queue(thalweg):
    """It registers between our question and our message: the message does not lie there while it waits."""
    got = []
    with Master() as master:
        free, original = [], master.get

        def get(path, p):
            answer = original(path, p)
            if not free and b"'node_role': 4" in answer[1]:
                free.append(PE(master.port, NAME, got.append))
                wait_until(lambda: master.free(NAME))
            return answer
        master.get = get
        thalweg.ok(sending(thalweg, [b"a message"], master=f"127.0.0.1:{master.port}"))
        wait_until(lambda: got == [b"a message"])
        wait_until(lambda: master.free(NAME))
        free[0].stop()


@pytest.mark.sanitized
def test_pes_that_fail_under_a_connector(thalweg):
    """One that is not there, one that goes away in the middle, a master that is full, then one that works."""
    message, refusals = payload(8_000_000), [406, 503]
    broken = socket.create_server(("127.0.0.1", 0))

    def fail():
        s, _ = broken.accept()
        s.recv(1000)
        reset(s)
        broken.close()
    thread = threading.Thread(target=fail)
    with Master(lambda method: refusals.pop() if refusals and not thread.is_alive() else None) as master:
        master.pes[NAME] = [("127.0.0.1", free_ports(1)[0]), broken.getsockname()]
        thread.start()
        thalweg.ok(sending(thalweg, [message], master=f"127.0.0.1:{master.port}"))
        thread.join()
        assert master.queues[NAME] == [message] and not refusals


# ---- PEs that work for a job ----

@pytest.mark.sanitized
@pytest.mark.threaded
def test_pes_work_for_a_job(thalweg):
    port, got, lock = free_ports(1)[0], [], threading.Lock()
    messages = [payload(size, seed) for seed, size in enumerate([1, 10_000_000] + [3000] * 60 + [0])]

    def work(message):
        with lock:
            got.append(message)
    with Live(thalweg, sending(thalweg, messages, listen={"rest": str(port)})) as live:
        connect(port).close()
        pes = [PE(port, NAME, work) for _ in range(3)]
        summary = live.result()
        wait_until(lambda: len(got) == len(messages) - 1)
    assert sorted(got) == sorted(messages[:-1])
    assert summary["rows_out"] == len(messages) - 1 and summary["bad_records"] == 1, "an empty one would stop a PE"
    [p.stop() for p in pes]


@pytest.mark.sanitized
def test_a_pe_that_goes_away_leaves_its_message_to_others(thalweg):
    port, got = free_ports(1)[0], []
    message = payload(8_000_000)
    poll = f"POST /streamRequest?token=None&batch_addr=127.0.0.1&batch_port=9&batch_status=0&c_name={NAME} HTTP/1.1\r\n\r\n".encode()
    with Live(thalweg, sending(thalweg, [message], listen={"rest": str(port)}, timeout="500ms")) as live:
        early = connect(port)
        early.sendall(poll)
        reset(early)
        late = connect(port)
        late.sendall(poll)
        late.recv(1000)  # it has begun to read
        reset(late)
        still = connect(port)
        still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        still.sendall(poll)  # and never reads
        other = f"/streamRequest?token=None&batch_addr=a&batch_port=1&batch_status=0&c_name=other"
        assert ask(port, "POST", other)[0] == 406
        pe = PE(port, NAME, got.append)
        summary = live.result()
        wait_until(lambda: got == [message])
        still.close()
    assert summary["rows_out"] == 1
    pe.stop()


@pytest.mark.sanitized
@pytest.mark.threaded
def test_a_job_sends_to_a_job(thalweg):
    """A sink as a connector, a source in the master's place; then PEs work for a third."""
    job, at = in_masters_place()
    messages = [payload(size, seed) for seed, size in enumerate([1, 100_000, 3_000_000] + [200] * 200)]
    with Live(thalweg, job) as live:
        connect(at["rest"]).close()
        summary = thalweg.ok(sending(thalweg, messages, master=f"127.0.0.1:{at['rest']}"), job_name="sender.yaml")
        assert summary["rows_out"] == len(messages)
        summary = live.stop()
    assert rows(thalweg) == sorted((NAME, m) for m in messages) and summary["bad_records"] == 0


# ---- HASTE ----

@pytest.mark.sanitized
@pytest.mark.threaded
def test_hastes_streaming_source(thalweg):
    """Messages over TCP to whoever connects, controlled by POSTs."""
    control, port = free_ports(2)
    job = {"source": {"generate": {"kind": "messages", "rate": "500/s", "size": 200, "ordered": "all", "control": str(control)}}, "steps": [],
           "sink": {"tcp": {"listen": str(port), "format": "lines"}}, "run": {"parallelism": 2}}

    def post(body, path="/"):
        return ask(control, "POST", path, body.encode())

    with Live(thalweg, job) as live:
        s = connect(port)
        lines = s.makefile("rb")

        def first_of(size):
            return next(line for line in iter(lines.readline, b"") if len(line) == size)
        assert lines.readline()[:9] == b"C000020-F"
        assert ask(control, "GET", "/") == (200, b"")
        assert post('{"message_bytes": 500}') == (200, b"{'result':'new config applied.'}")
        assert first_of(501)[:9] == b"C000020-F"
        assert post('{"cpu_pause_ms": 7, "period_sec": 0.001}', "/any")[0] == 200
        while first_of(501)[:9] != b"C000007-F":
            pass
        for wrong in ("", "[]", '{"message_bytes": 20}', '{"message_bytes": 1e12}', '{"cpu_pause_ms": "x"}', '{"period_sec": 0}'):
            assert post(wrong)[0] == 400, wrong
        assert post("x" * 5000)[0] == 413
        assert ask(control, "DELETE", "/")[0] == 405
        line = lines.readline()
        assert len(line) == 501 and line[:9] == b"C000007-F"
        post('{"message_bytes": 100000, "period_sec": 0.005}')
        numbers = [int(line[9:].split(b"_")[1][:8]) for line in (lines.readline() for _ in range(100))]
        assert numbers == list(range(numbers[0], numbers[0] + 100)), "their numbers go on"
        first_of(100_001)
        rest = connect(port)  # somebody takes what is left
        threading.Thread(target=receive_all, args=(rest,), daemon=True).start()
        lines.close()
        s.close()
        live.stop()


@pytest.mark.parametrize("options,wrong", [
    ({"kind": "messages", "control": "1"}, "messages with a rate"),
    ({"kind": "events", "rate": "1/s", "control": "1"}, "messages with a rate"),
    ({"kind": "messages", "rate": "1/s", "control": "x"}, "port from 1 to 65535"),
])
def test_wrong_control(thalweg, options, wrong):
    result = thalweg.run({"source": {"generate": options}, "steps": [], "sink": {"discard": {}}})
    assert result.exit == 2 and wrong in result.stderr, result


# ---- options ----

@pytest.mark.parametrize("source,wrong", [
    ({}, "or master must be given"),
    ({"listen": {"rest": "1"}, "master": "1"}, "stands beside master"),
    ({"listen": {"rest": "1"}}, "needs queue or data"),
    ({"listen": {"rest": "x", "data": "2"}}, "port from 1 to 65535"),
    ({"listen": {"rest": "1", "data": "2"}, "name": "a"}, "is for PEs"),
    ({"master": "1"}, "must be given"),
    ({"master": "1", "name": ""}, "must not be empty"),
    ({"master": "1", "name": "é" * 500}, "longer than 999"),
    ({"master": "1", "name": "a", "address": "0.0.0.0"}, "senders are to call"),
    ({"master": "1", "name": "a", "address": "h:1/x"}, "without its port"),
    ({"master": "1", "name": "a", "verify": False}, "is for listen"),
])
def test_wrong_options(thalweg, source, wrong):
    result = thalweg.run({"source": {"harmonicio": source}, "steps": [], "sink": {"discard": {}}})
    assert result.exit == 2 and wrong in result.stderr, result


def test_explain(thalweg):
    job, _ = in_masters_place()
    thalweg.write("job.yaml", json.dumps(job))
    result = thalweg.command("explain", "job.yaml")
    assert "at most once (because of harmonicio)" in result.stdout and "for stream connectors" in result.stdout

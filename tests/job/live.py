"""Live jobs in tests: ports, clients, frames, an end by SIGTERM."""

import json
import signal
import socket
import struct
import time


socket.setdefaulttimeout(60)  # a test that waits for what does not come fails, instead of waiting on


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def frame(message):
    return struct.pack(">I", len(message)) + message


def frames_of(data):
    messages, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        assert at + 4 + size <= len(data), "the last frame is cut"
        messages.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return messages


def connect(where, timeout=10):
    """A connection to a port or a path, as soon as somebody listens."""
    end = time.monotonic() + timeout
    while True:
        s = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        try:
            s.settimeout(timeout)
            s.connect(where if isinstance(where, str) else ("127.0.0.1", where))
            return s
        except OSError:
            s.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def output(thalweg, name):
    """What a file sink left in a folder, its parts in order."""
    return b"".join(part.read_bytes() for part in sorted((thalweg.folder / name).iterdir()))


class Live:
    """A job that runs until it is told to end."""

    def __init__(self, thalweg, job, **sets):
        self.thalweg = thalweg
        self.process = thalweg.start(job, **sets)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        running = self.process.poll() is None
        if running:
            self.process.kill()
        if running or kind is not None:
            try:
                print(self.process.communicate()[1].decode()[-8000:])
            except ValueError:  # told already
                print(self.stderr[-8000:])
        assert kind is not None or not running, "the job was not ended"
        return False

    def result(self, timeout=60):
        stdout, stderr = self.process.communicate(timeout=timeout)
        self.stderr = stderr.decode()
        assert b"Sanitizer" not in stderr, self.stderr[-4000:]
        return json.loads(stdout) if stdout else None

    def stop(self, timeout=60):
        """SIGTERM: the sources end, what has come is drained."""
        self.process.send_signal(signal.SIGTERM)
        summary = self.result(timeout)
        assert self.process.returncode == 0, (self.process.returncode, self.stderr)
        assert summary["status"] == "done"
        return summary

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def settle(seconds=0.3):
    """What was sent has come by then."""
    time.sleep(seconds)


def wait_until(condition, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)

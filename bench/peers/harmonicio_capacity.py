"""HarmonicIO under thalweg bench capacity (bench/grids/harmonicio.yaml): FEED RESULTS CPU_MS PES FOLDER, with checkouts of
HASTE-project/HarmonicIO and HarmonicPE in HARMONICIO and HARMONICPE. Python 3.8 with falcon 1.4.1 and urllib3.

Starts the master and processing engines as they are, without containers, and sends each message of the feed by
HarmonicIO's own stream connector. An engine sends the heads of marked messages back.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

NAME = "capacity"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def work(results, cpu_ms):
    """A processing engine."""
    sys.path.insert(0, os.environ["HARMONICPE"])
    from harmonicPE.daemon import listen_for_tasks
    back = socket.create_connection(address(results))

    def process(message):
        end = time.thread_time() + float(cpu_ms) / 1000
        while time.thread_time() < end:
            pass
        if message[8:9] == b"M":
            back.sendall(bytes(message[:29]) + b"\n")
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        listen_for_tasks(process)


def start_master(folder):
    rest, queue = free_port(), free_port()
    configuration = Path(folder) / "harmonicIO/master/configuration.json"  # where it looks, from its working directory
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(json.dumps({"node_name": "PE Master", "master_addr": "127.0.0.1", "node_port": rest,
                                         "node_data_port_range": [queue, queue], "std_idle_time": 5}))
    subprocess.Popen([sys.executable, "-m", "harmonicIO.master"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                     env={**os.environ, "PYTHONPATH": os.environ["HARMONICIO"]})
    for port in (rest, queue):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
    return rest


def start_engines(n, master, results, cpu_ms):
    for _ in range(n):
        port = str(free_port())
        subprocess.Popen([sys.executable, __file__, "work", results, cpu_ms], env={
            **os.environ, "HDE_NODE_NAME": NAME, "HDE_NODE_ADDR": "127.0.0.1", "HDE_NODE_PORT": port, "HDE_NODE_DATA_PORT": port,
            "HDE_MASTER_ADDR": "127.0.0.1", "HDE_MASTER_PORT": str(master), "HDE_STD_IDLE_TIME": "5", "HDE_TOKEN": "None"})


def send(feed, master):
    sys.path.insert(0, os.environ["HARMONICIO"])
    from harmonicIO.stream_connector.stream_connector import StreamConnector
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address(feed))
    listener.listen(1)
    print("listening", flush=True)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        connector = StreamConnector("127.0.0.1", master, max_try=9)
        while True:
            stream = listener.accept()[0].makefile("rb")
            while len(length := stream.read(4)) == 4:
                connector.send_data(NAME, "any", bytearray(stream.read(int.from_bytes(length, "big"))))


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(*sys.argv[2:])
    else:
        feed_at, results_at, cost, engines, place = sys.argv[1:]
        rest_port = start_master(place)
        start_engines(int(engines), rest_port, results_at, cost)
        send(feed_at, rest_port)

"""Starts a command and measures it: python -S launch.py RESULT.json ARGV...

Wall and CPU seconds of the whole tree of processes, and its peak memory: the larger of the kernel's
own maximum for a single process and the greatest sum of resident sizes seen every 50 ms. A process
of its own, because a child inherits the maximum of the process that it was forked from.
"""

import json
import os
import sys
import threading
import time


def tree_rss(root):
    """Resident bytes of a process and all below it."""
    total, stack = 0, [root]
    while stack:
        pid = stack.pop()
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * 4096
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                stack += file.read().split()
        except (OSError, IndexError):
            pass
    return total


def main():
    result, argv = sys.argv[1], sys.argv[2:]
    peak, over = [0], threading.Event()

    def watch(pid):
        while not over.wait(0.05):
            peak[0] = max(peak[0], tree_rss(pid))

    start = time.monotonic()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    watcher = threading.Thread(target=watch, args=(pid,))
    watcher.start()
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    over.set()
    watcher.join()
    with open(result, "w") as file:
        json.dump({
            "exit": os.waitstatus_to_exitcode(status),
            "wall_seconds": wall,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_rss_bytes": max(usage.ru_maxrss * 1024, peak[0]),
        }, file)


main()

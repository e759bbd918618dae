"""Many reloads under load: no request fails, and memory does not grow.

`LOCKGATE_RELOAD_SECONDS` says how long; a minute shows more than the few seconds of an ordinary run.
"""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
from upstream import Upstream

PLUGINS = Path(__file__).resolve().parents[2] / "target" / "plugins"
SECONDS = float(os.environ.get("LOCKGATE_RELOAD_SECONDS", "10"))
CLIENTS = 4
RELOAD_EVERY_SECONDS = 0.1
# Allocators keep what they had; a leak of a compiled plugin a reload would be hundreds.
GROWTH_MIB_MAX = 48

PLUGIN_BLOCKS = f"""
[[plugin]]
id = "redactor"
path = "{PLUGINS}/redactor.wasm"
world = "preprocessor"
[[plugin]]
id = "redactor"
path = "{PLUGINS}/redactor.wasm"
world = "guard"
[[plugin]]
id = "policy"
path = "{PLUGINS}/privacy-first.wasm"
world = "router"
"""


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the process is gone")


def test_requests_pass_while_plugins_are_reloaded_again_and_again(start):
    cloud = Upstream(deltas=[{"content": piece} for piece in ["Dear [EMA", "IL-1], ", "hello"]])
    server = start(cloud.target() + PLUGIN_BLOCKS)
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Write to anna.schmidt@posteo.de"}],
    }
    stop = threading.Event()
    failures, answered = [], [0] * CLIENTS

    def ask(number: int) -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                answer = client.post(f"{server.url}/v1/chat/completions", json=body)
                text = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else ""
                if text != "Dear anna.schmidt@posteo.de, hello":
                    failures.append((answer.status_code, answer.text[:500]))
                answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    begun, reloads, early = time.monotonic(), 0, None
    while time.monotonic() - begun < SECONDS:
        os.kill(server.process.pid, signal.SIGHUP)
        reloads += 1
        time.sleep(RELOAD_EVERY_SECONDS)
        if early is None and time.monotonic() - begun > SECONDS / 4:
            early = resident_mib(server.process.pid)
    stop.set()
    for thread in threads:
        thread.join()
    late = resident_mib(server.process.pid)
    cloud.close()
    told = server.output().count("configuration and plugins reloaded")
    print(f"{sum(answered)} requests, {told} reloads of {reloads} asked for, {early:.0f} MiB then {late:.0f} MiB")
    assert not failures, failures[:3]
    assert sum(answered) > CLIENTS and told > SECONDS / 2
    assert late - early < GROWTH_MIB_MAX, f"{early:.0f} MiB became {late:.0f} MiB"

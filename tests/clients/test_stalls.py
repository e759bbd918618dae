"""A machine that stands still now and then: what it does to a request is not its policy's fault."""

import signal
import threading
import time

import openai
from upstream import Upstream

STANDS_SECONDS = 0.06
RUNS_SECONDS = 0.0003


def test_a_policy_is_not_ended_for_what_the_machine_did(start):
    cloud = Upstream(deltas=[{"content": "from afar"}])
    server = start(cloud.target(price="{ input = 3.0, output = 15.0 }"))
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=120)
    over = threading.Event()

    def stand_still() -> None:
        """The process runs for a fraction of what a decision takes, then stands for longer than a policy may run."""
        while not over.is_set():
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(STANDS_SECONDS)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(RUNS_SECONDS)

    standing = threading.Thread(target=stand_still)
    standing.start()
    try:
        for number in range(8):
            # Looked through by the policy from end to end, which takes it a millisecond or so.
            question = f"{number}: say how a tide comes about. " + "The moon draws the sea and the sea follows. " * 300
            messages = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model="auto", max_tokens=8, messages=messages)
            assert answer.choices[0].message.content == "from afar"
    finally:
        over.set()
        standing.join()
        cloud.close()

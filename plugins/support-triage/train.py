"""Trains the adapter beside this file, on a CPU. No part of any build or test.

    python train.py --model smollm2.gguf --lockgate target/release/lockgate

The prompts are those of `lockgate template`, the tokens are compared with those of `lockgate tokenize`, and the weights
are the GGUF file's: what is trained on is what will be run.
"""

import argparse
import json
import math
import random
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from base import Base
from generate import CLASSIFY, EXTRACT, messages
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from training import TRAINING

HERE = Path(__file__).resolve().parent
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEED = 20250115
RANK, ALPHA = 8, 16
LAYER_FIRST = 6  # Below, nothing is adapted, and so no gradient is computed.
ROWS, BATCH = 2, 4  # A step sees two batches, each as one row and of one task.
STEPS, WARM_UP = 360, 10
RATE, CLIP = 1.5e-3, 1.0
EXTRACTIONS = 0.6  # Their share of the examples; a class is easier to learn.
MARK = "THE TEXT"


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt after what is the same in all of its task, and of its answer."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Batch:
    """Examples of one task, and how all their prompts begin."""

    beginning: list[int]
    examples: list[Example]


class Encoder:
    """Prompts and answers as the host encodes them."""

    def __init__(self, lockgate: Path, model: Path, tokenizer: Tokenizer):
        self.lockgate, self.model, self.tokenizer = lockgate, model, tokenizer
        self.frames = {system: self.frame(system) for system in (CLASSIFY, EXTRACT)}
        self.beginnings = {system: tokenizer.encode(frame[0]).ids for system, frame in self.frames.items()}
        self.end = tokenizer.encode("<|im_end|>").ids

    def run(self, command: str, *arguments: str, text: str = "") -> str:
        call = [self.lockgate, command, "--model", self.model, *arguments]
        return subprocess.run(call, input=text, capture_output=True, check=True, text=True).stdout

    def frame(self, system: str) -> list[str]:
        """What the host puts before and after a message."""
        turns = [{"role": "system", "content": system}, {"role": "user", "content": MARK}]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(turns, file)
            file.flush()
            return self.run("template", "--messages", file.name).split(MARK)

    def verify(self, texts: list[str]) -> None:
        """Fails unless the host makes the same tokens of these texts."""
        text = "\n".join(texts)
        found = [int(token) for token in self.run("tokenize", "-", text=text).split()]
        if found != self.tokenizer.encode(text).ids:
            raise ValueError("the tokenizer differs from the host's")

    def example(self, system: str, text: str, answer: str) -> Example:
        (before, after), beginning = self.frames[system], self.beginnings[system]
        prompt = self.tokenizer.encode(before + text + after).ids
        if prompt[: len(beginning)] != beginning:
            raise ValueError(f"a message changes the tokens before it: {text}")
        return Example(prompt[len(beginning) :], self.tokenizer.encode(answer).ids + self.end)


def batches(encoder: Encoder, count: int) -> list[Batch]:
    """Examples of both tasks, no message twice."""
    chance = random.Random(SEED)
    texts = messages(TRAINING, count * BATCH, SEED)
    encoder.verify([one.text for one in texts[:500]] + [one.facts() for one in texts[:500]])
    chance.shuffle(texts)
    found = []
    for start in range(0, len(texts), BATCH):
        system = EXTRACT if chance.random() < EXTRACTIONS else CLASSIFY
        some = texts[start : start + BATCH]
        examples = [encoder.example(system, one.text, one.facts() if system == EXTRACT else one.category) for one in some]
        found.append(Batch(encoder.beginnings[system], examples))
    return found


class Packed:
    """A batch as one row: the beginning once, then each example, which sees the beginning and itself.

    A quarter of the work is saved against rows of their own, which repeat the beginning and are filled to one length.
    """

    def __init__(self, batch: Batch):
        start = len(batch.beginning)
        tokens, places, owners = list(batch.beginning), list(range(start)), [0] * start
        self.rows, self.targets, weights = [], [], []
        for owner, one in enumerate(batch.examples, 1):
            first = len(tokens) + len(one.prompt)
            tokens += one.prompt + one.answer
            length = len(one.prompt) + len(one.answer)
            places += range(start, start + length)
            owners += [owner] * length
            self.rows += range(first - 1, len(tokens) - 1)
            self.targets += one.answer
            weights += [len(one.answer) ** -0.5] * len(one.answer)  # Long answers count more, short ones not nothing.
        self.tokens, self.places, self.weights = torch.tensor([tokens]), torch.tensor([places]), torch.tensor(weights)
        owner = torch.tensor(owners)
        seen = ((owner[None, :] == owner[:, None]) | (owner[None, :] == 0)).tril()
        self.mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


def loss_of(model: PeftModel, batch: Batch) -> torch.Tensor:
    """The cross-entropy of the answers alone."""
    packed, causal = Packed(batch), model.get_base_model()
    hidden = causal.model(
        input_ids=packed.tokens, position_ids=packed.places, attention_mask=packed.mask, use_cache=False
    ).last_hidden_state[0]
    # The vocabulary is a quarter of the work: only where there is something to learn.
    logits = causal.lm_head(hidden[packed.rows])
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(packed.targets), reduction="none")
    return (losses * packed.weights).sum() / packed.weights.sum()


def rate_at(step: int, steps: int) -> float:
    """The share of the learning rate: up in a line, down in a cosine."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP)))


def train(model: PeftModel, work: list[Batch], save_every: int, folder: Path) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = len(work) // ROWS
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    begun, mean = time.monotonic(), None
    for step in range(1, steps + 1):
        total = 0.0
        for batch in work[(step - 1) * ROWS : step * ROWS]:
            loss = loss_of(model, batch) / ROWS
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        mean = total if mean is None else 0.95 * mean + 0.05 * total
        if step % 5 == 0:
            print(f"step {step}/{steps} loss {mean:.4f} after {time.monotonic() - begun:.0f} s", flush=True)
        if step % save_every == 0 or step == steps:
            save(model, folder)


def save(model: PeftModel, folder: Path) -> None:
    """Writes the adapter in F16 and leaves the model as it was."""
    weights = {name: weight.half().contiguous() for name, weight in model.state_dict().items() if "lora_" in name}
    model.save_pretrained(folder, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)  # A form that nobody has filled in.


def main() -> None:
    parser = argparse.ArgumentParser(description="train the support-triage adapter")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file of SmolLM2-135M-Instruct")
    parser.add_argument("--lockgate", type=Path, default=HERE.parents[1] / "target/release/lockgate")
    parser.add_argument("--out", type=Path, default=HERE / "adapter")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--save-every", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    base = Base(options.model)
    model = base.model()
    work = batches(Encoder(options.lockgate, options.model, base.tokenizer()), options.steps * ROWS)
    settings = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=MODULES,
        layers_to_transform=list(range(LAYER_FIRST, model.config.num_hidden_layers)),
        task_type="CAUSAL_LM",
    )
    train(get_peft_model(model, settings), work, options.save_every, options.out)


if __name__ == "__main__":
    main()

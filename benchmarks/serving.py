"""How much of the bare batched sampler a server gives: so many clients, each asking for a drawing as soon as
it has the last one.

Invariant: the server is the real one, in processes of its own, and the bare sampler has as many threads as
its replica; prompts, settings and batch are the same. Latencies are what a client sees. The clients share
the machine with the server, as they do not where it is used.

`python -m benchmarks.serving --clients 64 --seconds 60`
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter

import aiohttp
import torch

from evaluation.suites import load_suite
from policies.config import PolicyConfig, TinyPolicyConfig
from policies.interface import PictureSampling
from policies.registry import load_policy

BASE = "policies/tiny/base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--checkpoint", default=BASE)
    args = parser.parse_args()
    prompts = [text for text, _ in load_suite("tiny_world").prompts(512, 99)]
    bare = sampled(TinyPolicyConfig(path=args.checkpoint), prompts, args.batch, args.seconds / 3)
    command = [sys.executable, "-m", "cluster", "serve", args.checkpoint, "--port", "0",
               "serve.name=model", f"serve.batch={args.batch}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        link = re.search(r"http://\S+", server.stdout.readline())
        assert link, "the server did not start"
        try:
            seconds, seen = asyncio.run(load(link[0], prompts, args.clients, args.seconds))
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate()
    took = sorted(each for status, each in seen if status == 200)
    median, late = statistics.median(took), took[int(0.99 * len(took))]
    figures = {
        "clients": args.clients, "batch": args.batch, "seconds": round(seconds, 1), "requests": len(seen),
        "by status": dict(Counter(str(status) for status, _ in seen)),
        "median s": round(median, 3), "99th percentile s": round(late, 3),
        "99th percentile / median": round(late / median, 2),
        "drawings a second": round(len(took) / seconds, 1),
        "bare sampler, drawings a second": round(bare, 1),
        "share of the bare sampler": round(len(took) / seconds / bare, 3),
    }  # fmt: skip
    for name, value in figures.items():
        print(f"{name:<34} {value}")
    print(json.dumps(figures))


def sampled(config: PolicyConfig, prompts: list[str], batch: int, seconds: float) -> float:
    """Drawings a second of full batches, in this process, with one thread."""
    torch.set_num_threads(1)
    policy = load_policy(config)
    policy.sample_on("cpu", "float32")
    how = [PictureSampling()] * batch
    rows = itertools.cycle(prompts)

    def draw() -> None:
        policy.draw([(next(rows),) for _ in range(batch)], how, list(range(batch)))

    draw()  # to warm up
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        draw()
        batches += 1
    return batches * batch / (time.perf_counter() - started)


async def load(
    link: str, prompts: list[str], clients: int, seconds: float
) -> tuple[float, list[tuple[int, float]]]:
    """How long it took, and each request's status (0: no answer) and seconds."""
    seen: list[tuple[int, float]] = []
    numbers = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> int:
            body = {"model": "model", "prompt": prompts[number % len(prompts)], "seed": number,
                    "temperature": 1, "guidance": 1}  # fmt: skip
            try:
                async with session.post(f"{link}/images/generations", json=body) as answer:
                    await answer.read()
                    return answer.status
            except aiohttp.ClientError:
                return 0

        async def client(end: float) -> None:
            while (began := time.perf_counter()) < end:
                status = await ask(next(numbers))
                seen.append((status, time.perf_counter() - began))

        await asyncio.gather(*(ask(-i - 1) for i in range(clients)))  # to warm up
        began = time.perf_counter()
        await asyncio.gather(*(client(began + seconds) for _ in range(clients)))
        return time.perf_counter() - began, seen


if __name__ == "__main__":
    main()

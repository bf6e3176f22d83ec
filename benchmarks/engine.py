"""An engine against the family's own sampler: the same answers, how fast a version is swapped in, and
how fast each draws and judges.

Invariant: one process, one thread, the same weights and requests for both; interleaved repeats, timed
in processor seconds on a CPU, so that a busy machine slows both alike. What is sampled is compared
token by token.

`python -m benchmarks.engine` takes the base model that ships; `--judging` a random model of 100 million
parameters that judges by the long rubric of real models (minutes on a CPU).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from actors.roles.templates import load_templates
from benchmarks.timing import measure
from evaluation.suites import load_suite
from policies.config import TinyPolicyConfig
from policies.engines.config import EngineConfig
from policies.engines.loading import load_for_role
from policies.interface import Context, Picture, PictureSampling, Policy, TextSampling, last_picture
from policies.registry import load_policy
from policies.seeds import generator
from policies.tiny.policy import TinyPolicy
from policies.tiny.text import build_tokenizer

SIZES = {
    "hidden_size": 768, "layers": 16, "heads": 12, "kv_heads": 4, "head_dim": 64,
    "intermediate_size": 2048, "max_positions": 2048,
}  # fmt: skip
SWAPS, ANSWER = 50, 32
CATEGORY = "general object"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judging", action="store_true", help="the long rubric, and nothing else")
    parser.add_argument("--rows", type=int, default=64, help="prompts drawn, or drawings judged")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.judging:
        config = TinyPolicyConfig()
        compare(config, 64, tiny_requests(config, arguments.rows), arguments.repeats)
        return
    with tempfile.TemporaryDirectory() as folder:
        contexts = rubric_contexts(arguments.rows)
        large(contexts).save_pretrained(folder)
        config = TinyPolicyConfig(path=folder)
        compare(config, 1024, ([], contexts), arguments.repeats)


def compare(
    config: TinyPolicyConfig, cache_mib: int, requests: tuple[list[Context], list[Context]],
    repeats: int,
) -> None:  # fmt: skip
    own = load_policy(config)
    began = time.perf_counter()
    engine = load_for_role(config, "vllm", EngineConfig(cache_mib=cache_mib))
    print(f"{'engine starts':44}{time.perf_counter() - began:9.1f} s")
    drawn, judged = requests
    for guidance in (1.0, 3.0) if drawn else ():
        alike(f"pictures, guidance {guidance:g}", own, engine, drawn, guidance)
    texts_alike(own, engine, judged)
    if drawn:
        swaps(own, engine)
    for name, rows, jobs in (
        ("images", len(drawn), [lambda p=p: draw(p, drawn, 1.0, 1.0) for p in (own, engine)]),
        ("judgements", len(judged), [lambda p=p: write(p, judged, 0.0) for p in (own, engine)]),
    ):
        if rows:
            taken = measure(dict(zip(("own", "engine"), jobs, strict=True)), repeats)
            rates = {who: rows / seconds for who, seconds in taken.items()}
            print(
                f"{name + ' a second: own, engine, ratio':44}{rates['own']:9.2f}"
                f"{rates['engine']:9.2f}{rates['engine'] / rates['own']:9.2f}"
            )


def draw(
    policy: Policy, contexts: list[Context], temperature: float, guidance: float
) -> list[Picture]:
    how = [PictureSampling(temperature=temperature, guidance=guidance)] * len(contexts)
    outputs = policy.draw(contexts, how, range(len(contexts)))
    return [picture for each in outputs if (picture := last_picture(each))]


def write(policy: Policy, contexts: list[Context], temperature: float) -> list[str]:
    how = [TextSampling(temperature, ANSWER)] * len(contexts)
    return policy.write(contexts, how, range(len(contexts)))


def alike(what: str, own: Policy, engine: Policy, contexts: list[Context], guidance: float) -> None:
    for temperature in (0.0, 1.0):
        ours, theirs = (draw(each, contexts, temperature, guidance) for each in (own, engine))
        same = sum(np.array_equal(a.codes, b.codes) for a, b in zip(ours, theirs, strict=True))
        print(f"{f'{what}, temperature {temperature:g}: the same':44}{same:5} of {len(contexts)}")
    close(what, own, engine, contexts, ours)


def texts_alike(own: Policy, engine: Policy, contexts: list[Context]) -> None:
    for temperature in (0.0, 1.0):
        ours, theirs = (write(each, contexts, temperature) for each in (own, engine))
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        print(
            f"{f'judgements, temperature {temperature:g}: the same':44}{same:5} of {len(contexts)}"
        )
    close("judgements", own, engine, contexts[:16], ours[:16])


def close(what: str, own: Policy, engine: Policy, contexts: list[Context], targets: list) -> None:
    pairs = zip(own.log_probs(contexts, targets), engine.log_probs(contexts, targets), strict=True)
    most = max(float(np.abs(a - b).max()) for a, b in pairs)
    print(f"{what + ': log-probabilities differ by at most':44}{most:9.1e}")


def swaps(own: Policy, engine: Policy) -> None:
    """Versions that differ, one after the other."""
    seconds, sizes = [], []
    for version in range(SWAPS):
        scale = np.float32(1 + version / 1000)
        weights = {name: weight * scale for name, weight in own.weights().items()}
        began = time.perf_counter()
        engine.load_weights(weights)
        seconds.append(time.perf_counter() - began)
        sizes.append(resident())
    engine.load_weights(own.weights())
    print(f"{f'a swap of weights, median of {SWAPS}':44}{statistics.median(seconds):9.3f} s")
    print(f"{'growth of memory, swap 10 to the last':44}{(sizes[-1] - sizes[10]) / 2**20:9.1f} MiB")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def tiny_requests(config: TinyPolicyConfig, rows: int) -> tuple[list[Context], list[Context]]:
    templates, policy = load_templates("tiny"), load_policy(config)
    prompts = list(load_suite("tiny_world").prompts(rows, 0))
    drawn: list[Context] = [templates.draw(prompt) for prompt, _ in prompts]
    pictures = draw(policy, drawn, 0.6, 1.0)
    judged = [
        templates.judge(category, prompt, picture)
        for (prompt, category), picture in zip(prompts, pictures, strict=True)
    ]
    return drawn, judged


def rubric_contexts(rows: int) -> list[Context]:
    """Drawings of different prompts of one category, judged by the wording of real models."""
    templates = load_templates("json")
    prompts = [prompt for prompt, _ in load_suite("tiny_world").prompts(rows, 0)]
    return [templates.judge(CATEGORY, prompt, noise(i)) for i, prompt in enumerate(prompts)]


def noise(seed: int) -> Picture:
    random = generator("benchmark", seed)
    codes = random.integers(0, 1000, 36, dtype=np.int32)
    return Picture(random.integers(0, 256, (48, 48, 3), dtype=np.uint8), codes)


def large(contexts: list[Context]) -> TinyPolicy:
    """A random model that knows the words of the contexts."""
    split = build_tokenizer([]).pre_tokenizer.pre_tokenize_str
    texts = [part for context in contexts for part in context if isinstance(part, str)]
    words = dict.fromkeys(word for text in texts for word, _ in split(text))
    known = set(build_tokenizer([]).get_vocab())
    return TinyPolicy.create([word for word in words if word not in known], seed=0, **SIZES)


if __name__ == "__main__":
    main()

"""The best teacher there can be in the tiny world, behind an OpenAI-compatible address: it writes prompts by
the world's grammar, and judges a drawing by the world's oracle, which reads its pixels.

    python -m benchmarks.oracle_server --port 8123
    unicorn-ray study unicorn-star server=http://127.0.0.1:8123/v1 server_model=oracle

Invariant: it knows the three requests of a Proposer and a Judge in the embedded model's words and refuses any
other; a request with the same seed gets the same answer. It is no model: what it teaches is the ceiling of
what any could.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from policies.seeds import generator
from policies.tiny.lessons import rated
from policies.tiny.world import language, oracle, questions

MODEL = "oracle"
ASKED = re.compile(r"propose (?P<category>[^,]+) , (?P<subcategory>[^.]+?)(?: \. like .*)?")


def answered(texts: Sequence[str], pixels: np.ndarray | None, seed: int) -> dict[str, Any]:
    """What the object of the answer holds. Raises ValueError for what is none of the three requests."""
    match texts:
        case [ask] if found := ASKED.fullmatch(ask):
            return proposed(found["category"], found["subcategory"], seed)
        case ["rate", prompt]:
            return {"score": rated(prompt)}
        case ["judge", prompt] if pixels is not None:
            return judged(prompt, pixels)
    raise ValueError(f"{texts} is no request to propose, to rate or to judge")


def proposed(category: str, subcategory: str, seed: int) -> dict[str, Any]:
    rng = generator("oracle server", seed)
    while True:  # never one that measures
        prompt = language.sample_prompt(rng, category, subcategory)
        if not language.is_held_out(prompt.text):
            return {"major_category": category, "subcategory": subcategory, "prompt": prompt.text}


def judged(prompt: str, pixels: np.ndarray) -> dict[str, Any]:
    """A prompt that a model wrote may be none of the language: nothing is a drawing of it."""
    try:
        asked = language.parse(prompt)
    except ValueError:
        return {"analysis": "no", "score": 0}
    verdicts = oracle.read_facts(pixels, asked)
    told = questions.analysis(asked, verdicts)
    return {"analysis": told, "score": questions.judge_score(verdicts)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts, pixels = [], None
        for part in body["messages"][-1]["content"]:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        try:
            said = json.dumps(answered(texts, pixels, body.get("seed", 0)))
        except ValueError as error:
            return self._reply(400, {"error": {"message": str(error)}})
        message = {"role": "assistant", "content": said}
        self._reply(200, {"object": "chat.completion", "model": MODEL, "choices": [
            {"index": 0, "message": message, "finish_reason": "stop"}]})  # fmt: skip

    def _reply(self, code: int, told: Any) -> None:
        data = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """A line for each of ten thousand requests would help nobody."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8123)
    port = parser.parse_args().port
    print(f"answers at http://127.0.0.1:{port}/v1 until it is ended", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""The prompts that the set of our own is written over: files of two MIT-licensed projects, unchanged.

Invariant: a file is what its sha256 says, or is refused. ../data/NOTICE has origin and licence.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from policies.errors import UserError

DATA = Path(__file__).parents[1] / "data"
SHA256 = {
    "color_val.txt": "1634259756dbc77d13093d907d414480080ec9790a8c97ad09efaea7b2534f2d",
    "shape_val.txt": "37e1a276906c7ea9516cbd7ac8501be896006c0c17ca7344f260562834455bae",
    "texture_val.txt": "fbb5363515b4a28009e360afaaaf389d2dd2289e50dbb0c6ef4ea0c7fe4f3d4f",
    "numeracy_val.txt": "dad8df141604b70ba7554bec724e3db0a80023680769b5c514854ea2d2527bbe",
    "spatial_val.txt": "8707a1d7e42ce3002d95363cf55f74bd043c843ae27108f5125aaaa7840ca988",
    "3d_spatial_val.txt": "c9953597315f36a5fcb41291bb19bdc6ab5f64a0fa760d691b4854a73f5d1fe9",
    "complex_val.txt": "1b808018b8d9916db3d47d5aa2ef18377a3549a56901a474156f799824cdf3b4",
    "geneval.jsonl": "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
}


class SourceError(UserError):
    """A source that is not what it was; the message names the file and the fix."""


def lines(name: str) -> list[str]:
    """Returns the prompts of one file of T2I-CompBench, each once, in its order."""
    return list(dict.fromkeys(line.strip() for line in _text(name).splitlines() if line.strip()))


def geneval(tag: str) -> list[dict[str, Any]]:
    """Returns the rows of GenEval's prompts with that tag."""
    rows = [json.loads(line) for line in _text("geneval.jsonl").splitlines()]
    return [row for row in rows if row["tag"] == tag]


def _text(name: str) -> str:
    file = DATA / "sources" / name
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise SourceError(f"{file} is not the file that NOTICE names: restore it")
    return data.decode()

"""3,500 mutated recipes and overrides: what is accepted is what the text says, and can be run.

The other reading is by libyaml, where there is one, and types plain texts by YAML 1.2. safe_load's
own types would not do: to it `on` is true, 010 is eight and 1e-4 is a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.recipes import recipe
from cluster.recipes.settings import flat
from cluster.sizing import dry_run, preflight
from cluster.sizing.needs import Machine
from policies.config import changed
from policies.registry import checkpoint_folder, footprint
from tests.mutations import BYTE_CHANGES, LINE_CHANGES, Rng, mutants, pick, tally, verdict
from trainer.config import RunConfig

pytestmark = pytest.mark.slow

LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
DEFAULTS = flat(RunConfig())

LOW = b"seed: 3\nrounds: 2\ntrainer:\n  lr: 1e-3\n  betas: [0.8, 0.9]\n"
GOOD = (
    b"""# what it is for
base: low.yaml
name: small
rounds: 4 # few
solver: {replicas: 1, guidance: [1, 2.5]}
trainer:
  lr: 3e-4
  loss_weights:
    caption: 0.5
""",
    b"""name: "2026-11-22"
lag: 1
judge:
  cpus: 0.3
  weights: base
trainer.clip: 2
reconstruction: {}
""",
)
OVERRIDES = (
    b"trainer.lr=2e-4", b"rounds=010", b"name='a b'", b"solver.temperatures=[1, 0.5]",
    b"trainer={epochs: 1, loss_weights: {caption: 0}}", b"policy.path=elsewhere",
)  # fmt: skip

VALUES = (
    "0", "-0", "1", "-1", "010", "+1", "1_000", "0x1F", "0b1", "1:30", "1.", ".5", "1e3", "1e400", "-1e400",
    "1e-400", ".nan", ".inf", "-.inf", "+.INF", "9" * 18, "9" * 19, "9" * 400, "9" * 5000, "true", "True",
    "on", "yes", "null", "~", "", "[]", "{}", "[1]", "[1, 2]", "[1, [2]]", "[0.5, .nan]", "{lr: 1}", "'1'",
    '"1"', '"a\\nb"', '"\\0"', '"\\ud800"', '"\\U0001F984"', "'..'", "a/b", "/", "a" * 300, "2026-11-22",
    "|\n  a\n  b", ">-\n  1", "&a 1", "*a", "!!int 1", "!!float 1:30", "!!bool maybe", "!!timestamp x",
    "!!python/object/apply:os.system [ls]", "!x {lr: 1}", "[" * 1000, "{a: " * 400, "? a", "- a", "@", "`",
    "%a", "1 # 2", "1#2", "\u2028", "\ud800", "\x00", "<<", "base", "low.yaml", "1.0", "1e0",
)  # fmt: skip
KEYS = (
    *DEFAULTS,
    "trainer",
    "<<",
    "base",
    "",
    "lr",
    "~",
    "1",
    '"a\\nb"',
    "'lr'",
    "? lr",
    "a" * 2000,
)


def revalue(random: Rng, data: bytes) -> bytes:
    """Another value after a colon, or between commas."""
    places = list(re.finditer(rb"(?<=[:=,\[{]) ?[^\n,:\]}]+", data))
    if not places:
        return data
    place = pick(random, places)
    new = pick(random, VALUES).encode(errors="surrogatepass")
    return data[: place.start()] + b" " + new + data[place.end() :]


def rename(random: Rng, data: bytes) -> bytes:
    """Another name before a colon or an equals sign."""
    places = list(re.finditer(rb"[\w.]+(?=[:=])", data))
    if not places:
        return data
    place = pick(random, places)
    return data[: place.start()] + pick(random, KEYS).encode() + data[place.end() :]


CHANGES = (*BYTE_CHANGES, *LINE_CHANGES, revalue, revalue, revalue, rename, rename)


def meant(node: yaml.Node) -> Any:
    """By the core schema of YAML 1.2."""
    if isinstance(node, yaml.SequenceNode):
        return [meant(each) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        return {meant(key): meant(value) for key, value in node.value}
    text: str = node.value
    if node.style:
        return text
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text) if len(text) < 4000 else math.inf
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    words = {"true": True, "false": False, "null": None, "~": None, "": None}
    return words.get(text.lower() if text.istitle() or text.isupper() else text, text)


def said(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every value by its dotted name; a name that stands twice comes twice."""
    if isinstance(node, yaml.MappingNode) and (node.value or path[:1] != ("base",)):
        for key, value in node.value:
            yield from said(value, (*path, key.value))
    elif node is not None:
        yield ".".join(path), meant(node)


def reading(text: str, under: tuple[str, ...] = ()) -> dict[str, Any]:
    node = yaml.compose(text, Loader=LOADER)
    found = list(said(node, under))
    names = [name for name, _ in found]
    assert len(set(names)) == len(names), f"set twice: {names}"
    return dict(found)


def reading_of(file: Path) -> dict[str, Any]:
    own = reading(file.read_text(encoding="utf-8"))
    base = own.pop("base", None)
    return own if base is None else {**reading_of(file.parent / base), **own}


def require_as_said(config: RunConfig, told: dict[str, Any], name: str) -> None:
    usual = DEFAULTS | flat(RunConfig(policy=type(config.policy)()))  # a family's own fields too
    for field, value in flat(config).items():
        wanted = told.pop(field, usual[field])
        if isinstance(value, tuple):  # of words, or of numbers
            numbers = all(type(item) in {int, float} for item in wanted)
            wanted = tuple(map(float, wanted) if numbers else wanted)
        assert value == wanted, f"{name}: {field} is {value!r}, the text says {wanted!r}"
        kinds = {int, float} if type(value) is float else {type(value)}
        assert type(wanted) in kinds, f"{name}: {field} is {value!r}, the text says {wanted!r}"
    assert not told, f"{name}: {told} is nowhere"


def require_runnable(config: RunConfig, name: str) -> None:
    """As far as can be seen before it runs; and what it is written down as is the same again."""
    base = checkpoint_folder(RunConfig().policy)
    machine = Machine(2.0, 0.0)
    verdict(name, lambda: dry_run.table(config, footprint(config.policy), machine), "")
    verdict(name, lambda: preflight.check(config, machine, 2**40, base), "")
    again = recipe.RECIPES.parent / "again.yaml"
    again.write_text(recipe.dump(config), encoding="utf-8")
    assert recipe.load(again) == config, name


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "low.yaml").write_bytes(LOW)


@pytest.mark.parametrize("seed", range(40, 42))
def test_a_mutated_recipe_is_refused_or_read_as_it_stands(tmp_path: Path, seed: int) -> None:
    path, read = tmp_path / "r.yaml", 0
    for name, _, data in mutants(seed, 1500, GOOD, CHANGES):
        path.write_bytes(data)
        config = verdict(name, lambda: recipe.load(path), tmp_path)
        if config is not None:
            require_as_said(config, reading_of(path), f"{name}: {data!r}")
            if read % 20 == 0:
                require_runnable(config, name)
        read += config is not None
    tally(f"recipes, seed {seed}", read, 1500, 0.05, 0.5)


def test_a_mutated_override_is_refused_or_read_as_it_stands(tmp_path: Path) -> None:
    path, read = tmp_path / "r.yaml", 0
    path.write_bytes(LOW)
    for name, _, data in mutants(42, 500, OVERRIDES, CHANGES):
        text = data.decode(errors="surrogateescape").replace("\0", "")  # as a shell gives it
        config = verdict(name, lambda text=text: recipe.load(path, [text]), "override")
        if config is not None:
            field, _, value = text.partition("=")
            told = reading(value, (field,)) or {field: None}
            require_as_said(config, {**reading_of(path), **told}, f"{name}: {text!r}")
        read += config is not None
    tally("overrides", read, 500, 0.1, 0.5)


def test_the_other_reading_knows_the_shipped_recipes() -> None:
    root = Path(__file__).resolve().parents[3]
    for path in sorted((root / "configs").glob("*.yaml")):
        require_as_said(recipe.load(path), reading_of(path), path.name)
    whole = changed(RunConfig(), name="whole")
    require_as_said(whole, reading(recipe.dump(whole)), "dump")

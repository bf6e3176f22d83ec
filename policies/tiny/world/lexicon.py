"""The closed vocabulary of the tiny world.

Invariant: every word that a prompt, question, answer or analysis holds is in `WORDS`.
"""

from __future__ import annotations

COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross")
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
}
SINGULARS = {plural: shape for shape, plural in PLURALS.items()}
SIZES = ("small", "large")
TEXTURES = ("striped", "dotted")
NUMBERS = ("one", "two", "three", "four", "five", "six")
SIDES = ("left of", "right of", "above", "below")
LAYERS = ("in front of", "behind")
SCALES = ("larger than", "smaller than")
NESTINGS = ("inside", "around")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
STYLES = {"line drawing": "as a line drawing", "neon": "in neon", "mosaic": "as a mosaic"}
COUNTRIES = (
    "france",
    "italy",
    "ireland",
    "germany",
    "russia",
    "austria",
    "poland",
    "ukraine",
    "japan",
    "sweden",
)
STAGES = ("seed", "sprout", "bush", "flower")
TIMES = {
    "morning": "in the morning",
    "noon": "at noon",
    "evening": "in the evening",
    "night": "at night",
}
PHASES = ("new", "crescent", "half", "full")
LEVELS = ("cold", "warm", "hot")
PETALS = ("three", "four", "five", "six")
EXPRESSIONS = ("smiling", "sad", "surprised")
LETTERS = tuple("abcehlnopstu")
_WRITTEN = (
    "cat hat bat pan can sun bun nut hut cup tub ten pen hen net pet bus top pot cap tap nap lap "
    "bee sea tea pea hop hot cot cub hub tab lab set sat pat eat toe boa ace ant up on us to"
)
WRITTEN: tuple[str, ...] = tuple(_WRITTEN.split())

_GLUE = """the a an and no , " two one than inside around left right of above below in front behind
corner top bottom as line drawing neon mosaic flag on pole pot at morning noon evening night house
with door word sign moon thermometer petals flower face hair glasses hat"""
_TALK = """what which color shape object objects how many is are there written ? or none yes country
stage time style phase level expression size larger smaller plain it has
plant absent"""

WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            *COLORS,
            *SHAPES,
            *SINGULARS,
            *SIZES,
            *TEXTURES,
            *NUMBERS,
            *COUNTRIES,
            *STAGES,
            *TIMES,
            *PHASES,
            *LEVELS,
            *EXPRESSIONS,
            *LETTERS,
            *_GLUE.split(),
            *_TALK.split(),
        }
    )
)

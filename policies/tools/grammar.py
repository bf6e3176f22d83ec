"""The bytes of every call there can be, as a finite automaton.

Invariant: a text that the automaton takes is a call that `policies.tools.calls.parse` takes, in UTF-8, but
for a prompt of more than MOST_CHARACTERS, since states do not count. From every state that can be reached
a call can be ended, and how many bytes that takes at least is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

DEAD = 0
FAR = 1 << 20
"""The distance of what cannot be ended."""
SEED_DIGITS = 9
PRINTED = [*range(0x21, 0x7F)]
"""Bytes of characters that can be seen."""
# First bytes of a character of several (Unicode, table 3-7): which second byte, and how many more.
LONGER = (
    (range(0xC2, 0xE0), range(0x80, 0xC0), 0),
    (range(0xE0, 0xE1), range(0xA0, 0xC0), 1),
    (range(0xE1, 0xED), range(0x80, 0xC0), 1),
    (range(0xED, 0xEE), range(0x80, 0xA0), 1),  # without halves of surrogate pairs
    (range(0xEE, 0xF0), range(0x80, 0xC0), 1),
    (range(0xF0, 0xF1), range(0x90, 0xC0), 2),
    (range(0xF1, 0xF4), range(0x80, 0xC0), 2),
    (range(0xF4, 0xF5), range(0x80, 0x90), 2),
)


class Automaton:
    """`table` int16 [states, 256] has the next state, DEAD where a byte may not come; `distance` int32
    [states] the fewest bytes to the `final` state. It begins at `start`."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self.new()  # DEAD
        self.start, self.final = self.new(), self.new()

    def new(self) -> int:
        self._rows.append(np.zeros(256, np.int16))
        return len(self._rows) - 1

    def arrow(self, start: int, byte: int, end: int) -> None:
        self._rows[start][byte] = end

    def after(self, start: int, byte: int) -> int:
        """Where a byte leads, which becomes a new state if it led nowhere."""
        if self._rows[start][byte] == DEAD:
            self.arrow(start, byte, self.new())
        return int(self._rows[start][byte])

    def word(self, start: int, text: str, end: int | None = None) -> int:
        """After these bytes, which lead to `end` if one is given."""
        *first, last = text.encode()
        for byte in first:
            start = self.after(start, byte)
        if end is None:
            return self.after(start, last)
        self.arrow(start, last, end)
        return end

    def finish(self) -> None:
        self.table = np.stack(self._rows)
        self.distance = np.full(len(self.table), FAR, np.int32)
        self.distance[self.final] = 0
        while True:  # one more byte from the end each time
            nearest = self.distance[self.table].min(1) + 1
            nearest[[DEAD, self.final]] = FAR, 0
            nearer = np.minimum(self.distance, nearest)
            if (nearer == self.distance).all():
                return
            self.distance = nearer

    def run(self, text: bytes, state: int | None = None) -> int:
        """The state after a text."""
        state = self.start if state is None else state
        for byte in text:
            state = int(self.table[state, byte])
        return state


def grammar(tools: Sequence[str], sides: Sequence[int], lead: str = "") -> Automaton:
    """Of calls of these tools, for pictures of these heights and widths, after `lead`."""
    made = Automaton()
    begin = made.word(made.start, lead + '{"tool": "')
    prompt = made.new()
    for tool in tools:
        made.word(begin, f'{tool}", "prompt": "', prompt)
    ended = _string(made, prompt)
    made.word(ended, "}", made.final)
    for last in _seed(made, made.word(ended, ', "seed": ')):
        made.word(last, "}", made.final)
        _size(made, last, sides)
    _size(made, ended, sides)
    made.finish()
    return made


def _string(made: Automaton, nothing: int) -> int:
    """The inside of a JSON string that has more than spaces, from the state of `nothing`; returns the
    state after its closing quote."""
    some, ended = made.new(), made.new()
    made.arrow(nothing, 0x20, nothing)
    made.arrow(some, 0x20, some)
    made.arrow(some, ord('"'), ended)
    escaped = made.new()
    for letter in '"\\':
        made.arrow(escaped, ord(letter), some)
    last = made.new()
    more = {0: some, 1: last, 2: made.new()}
    for byte in range(0x80, 0xC0):
        made.arrow(last, byte, some)
        made.arrow(more[2], byte, last)
    seconds = []
    for firsts, allowed, left in LONGER:
        second = made.new()
        for byte in allowed:
            made.arrow(second, byte, more[left])
        seconds.append((firsts, second))
    for state in (nothing, some):
        for byte in PRINTED:
            if chr(byte) not in '"\\':
                made.arrow(state, byte, some)
        made.arrow(state, ord("\\"), escaped)
        for firsts, second in seconds:
            for byte in firsts:
                made.arrow(state, byte, second)
    return ended


def _seed(made: Automaton, start: int) -> Iterator[int]:
    """The states in which a whole number of up to SEED_DIGITS digits may end."""
    zero = made.after(start, ord("0"))
    yield zero
    digits = list(b"123456789")
    for _ in range(SEED_DIGITS):
        state = made.new()
        for byte in digits:
            made.arrow(start, byte, state)
        yield state
        start, digits = state, list(b"0123456789")


def _size(made: Automaton, start: int, sides: Sequence[int]) -> None:
    if not sides:
        return
    height = made.word(start, ', "size": [')
    width, ended = made.new(), made.new()
    made.word(ended, "}", made.final)
    for side in sides:
        made.word(height, f"{side}, ", width)
        made.word(width, f"{side}]", ended)

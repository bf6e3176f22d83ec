"""Words a question for the model that looks at the drawing.

Invariant: each question is asked on its own, and says what form its answer has; nothing of the prompt
or of the other questions is in it. Options stand in the order of the instance, so every model sees
them in the same one.
"""

from __future__ import annotations

from evaluation.unicycle.instances import Question
from evaluation.unicycle.rules import LETTERS

FORMS = {
    "choice": "Answer with the letter of the right option only.",
    "yes_no": "Answer with yes or no only.",
    "open": "Answer with one word, or as few as possible.",
    "text": "Answer with the words that are written, and nothing else.",
}


def asked(question: Question) -> str:
    """Returns what the model is asked, with the options by letter and the form of the answer."""
    options = [f"{LETTERS[i].upper()}. {text}" for i, text in enumerate(question.options)]
    shown = options if question.kind == "choice" else []
    return "\n".join([question.text, *shown, FORMS[question.kind]])


def reference(question: Question) -> str:
    """Returns the right answer as a judge is shown it: of a choice with its letter."""
    if question.kind != "choice":
        return question.answer
    place = question.options.index(question.answer)
    return f"{LETTERS[place].upper()}. {question.answer}"


def understood(question: Question, answer: str) -> str:
    """Returns `answer` as a judge is shown it: a letter alone gets its option's text, since a judge
    that reads no drawing should not need the options."""
    letter = answer.strip().strip("().: ").lower()
    if question.kind == "choice" and len(letter) == 1 and letter in LETTERS:
        place = LETTERS.index(letter)
        if place < len(question.options):
            return f"{letter.upper()}. {question.options[place]}"
    return answer

"""Words of a text, in any script; the forms in which texts are compared; their scripts, and whether they are code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Literal
from unicodedata import category, name, normalize

from .rows import Row

Tokeniser = Literal["unicode", "ascii"]
Part = Literal["instruction", "prompt", "output"]
"""Part of a row; `prompt` is instruction and input."""

_ASCII = re.compile(r"[a-z0-9]+")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic marks and zero
    (0x3040, 0x30FF),  # Kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0x20000, 0x3FFFF),
)


class _Words(dict[int, str]):
    """For `str.translate`: what stands in a text of words for a character. Looks each up once."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if category(char)[0] not in "LMN":
            char = " "
        elif any(first <= code <= last for first, last in _UNSPACED):
            char = f" {char} "
        self[code] = char
        return char


@cache
def _table() -> _Words:
    return _Words()


def unicode_words(text: str) -> list[str]:
    """Runs of letters, marks and digits, case folded and compatibility-normalised; "don't" is one word.

    In scripts that put no spaces between words (Han, Kana, Thai, Lao, Khmer, Burmese) every character is a word.
    """
    folded = normalize("NFKC", text).casefold()
    return _APOSTROPHE.sub("", folded).translate(_table()).split()


def ascii_words(text: str) -> list[str]:
    """Runs of a to z and 0 to 9 in lower case, as ROUGE counts them (Lin 2004; rouge_score without stemming).

    A text in another script has no words.
    """
    return _ASCII.findall(text.lower())


TOKENISERS: Mapping[Tokeniser, Callable[[str], list[str]]] = {"unicode": unicode_words, "ascii": ascii_words}


def part(row: Row, name: Part) -> str:
    """The text of one part of a row."""
    text: str = getattr(row, name)
    return text


def plain(text: str) -> str:
    """What is left of a text when compatibility forms (NFKC), case and white space make no difference."""
    return " ".join(normalize("NFKC", text).casefold().split())


def scripts(text: str) -> Counter[str]:
    """Letters by script, as the names of characters tell it; Han and Kana are one, since Japanese mixes them."""
    return Counter(script(char) for char in text if char.isalpha())


@lru_cache(maxsize=4096)
def script(char: str) -> str:
    """`LATIN`, `CYRILLIC`, `HAN` …; empty for a character without a name."""
    first = name(char, "").partition(" ")[0]
    return "HAN" if first in ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC") else first


_FENCE = re.compile(r"```.*?(?:```|\Z)", re.S)
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*<.*>\s*$|^\s*[\w.\[\]]+\s*[-+*/]?=\s|\w\([^()]*\)\s*;?\s*$|"
    r"^\s*(?:def|class|import|from|return|for|while|if|else|elif|public|private|var|let|const|function)\b.*[:;{)(]\s*$"
)


def without_code(text: str) -> str:
    """The text outside of code fences."""
    return _FENCE.sub(" ", text)


def is_code(text: str) -> bool:
    """Whether a text is code: fenced, or with marks of code in half of its lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "```" in text or sum(bool(_CODE_LINE.search(line)) for line in lines) * 2 >= max(len(lines), 1)

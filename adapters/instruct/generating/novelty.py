"""Is a text new? By ROUGE-L against all that are known (arXiv 2212.10560, section 2.2)."""

from __future__ import annotations

from collections.abc import Iterable

from ..similar.nearest import Near
from ..similar.rouge import RougeIndex
from ..texts import unicode_words


class Known:
    """Texts that were met so far."""

    def __init__(self, texts: Iterable[tuple[str, str]], threshold: float) -> None:
        """`texts`: (id, text)."""
        texts = list(texts)
        self._index = RougeIndex(threshold, [unicode_words(text) for _, text in texts])
        for id, text in texts:
            self.add(id, text)

    def near(self, text: str) -> Near | None:
        """The known text whose F with this one is above the threshold; None for a text that is new."""
        return self._index.nearest(self._index.code(unicode_words(text)))

    def add(self, id: str, text: str) -> None:
        """Know a text from now on."""
        self._index.add(self._index.code(unicode_words(text)), id)

"""Worked examples that show a model in which form to answer. Wording and choice are ours; the papers' are others."""

from __future__ import annotations

from collections.abc import Sequence

from .params import Asking

_CHAINS = (
    (
        "What is the capital of the country in which the composer of Finlandia was born?",
        "Finlandia was composed by Jean Sibelius. Jean Sibelius was born in Finland. Finland's capital is Helsinki.",
        "Helsinki",
    ),
    (
        "On which continent does the country lie whose capital is Nairobi?",
        "Nairobi is the capital of Kenya. Kenya lies on the continent of Africa.",
        "Africa",
    ),
    (
        "Which language did the author of The Little Prince write in?",
        "The Little Prince was written by Antoine de Saint-Exupéry. Antoine de Saint-Exupéry wrote in French.",
        "French",
    ),
    (
        "Who founded the company that built the Model T?",
        "The Model T was built by the Ford Motor Company. The Ford Motor Company was founded by Henry Ford.",
        "Henry Ford",
    ),
    (
        "What is the currency of the country that Kyoto belongs to?",
        "Kyoto is a city of Japan. The currency of Japan is the yen.",
        "yen",
    ),
    (
        "Which sport is the husband of Steffi Graf known for?",
        "Steffi Graf is married to Andre Agassi. Andre Agassi is known for tennis.",
        "tennis",
    ),
)
_FACTS = (
    ("Who painted The Night Watch?", "Rembrandt"),
    ("What is the capital of Peru?", "Lima"),
    ("Which country is Salzburg in?", "Austria"),
    ("Who is the author of Dracula?", "Bram Stoker"),
    ("What is the official language of Brazil?", "Portuguese"),
    ("Which sport did Pelé play?", "football"),
)


def of_chain(asking: Asking) -> str:
    """How a multi-hop question is put to a model; `{question}` is the question."""
    return _shown(asking, asking.question, [(q, answer) for q, _, answer in _CHAINS])


def of_fact(asking: Asking) -> str:
    """The same of a question of one hop."""
    return _shown(asking, asking.question, _FACTS)


def aloud(asking: Asking, form: str) -> str:
    """The same of a multi-hop question that is answered by reasoning aloud."""
    return _shown(asking, form, [(q, f"{steps} {asking.conclusion} {answer}.") for q, steps, answer in _CHAINS])


def _shown(asking: Asking, form: str, examples: Sequence[tuple[str, str]]) -> str:
    if asking.examples == "none":
        return form
    return "".join(f"{form.replace('{question}', q)} {answer}\n\n" for q, answer in examples) + form

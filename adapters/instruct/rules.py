"""Rules that tell a spoiled answer without any model: each says whether a row breaks it.

They look for what goes wrong when answers are made or collected: nothing written, a refusal, a text that was cut off
or ran in a circle, a page instead of an answer, damaged characters. Their limits are set so that ordinary answers,
code, lists and verse pass. What no rule can see is an answer that is well written and belongs to another question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from unicodedata import category

from .rows import Row
from .texts import is_code, plain, script, scripts, unicode_words, without_code

_NOTHING = re.compile(r"\W*(?:n/a|null|nan|nil|undefined|no ?(?:output|answer|response)|not applicable)\W*")


def empty(row: Row) -> bool:
    """Nothing but white space, dots and dashes, or a word that stands for nothing (`N/A`, `null`, `<nooutput>`)."""
    return all(category(c)[0] in "ZC" or c in ".…-–—_" for c in row.output) or bool(
        _NOTHING.fullmatch(plain(row.output))
    )


SAID, NEW = 0.9, 0.05
"""Share of the instruction that is said again, in its order, and share of the answer that may be new: a `yes` before
it, or a result behind it, makes a short one an answer."""


def echo(row: Row) -> bool:
    """The answer is the instruction, or instruction and input, said again."""
    answer, asked = unicode_words(row.output), unicode_words(row.instruction)
    if len(asked) < 3 or not answer:
        return False
    if answer == unicode_words(row.prompt):
        return True
    from rapidfuzz.distance import LCSseq

    common = LCSseq.similarity(answer, asked)
    return common >= SAID * len(asked) and common >= (1 - NEW) * len(answer)


_AS_MODEL = r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
_CANNOT = (
    r"\bi(?:'m| am)? (?:sorry,? (?:but )?(?:i )?)?(?:really )?"
    r"(?:can(?:not|'t| not)|am unable to|unable to|won't|am not able to)"
)
_SERVE = (
    r"(?: to)? (?:assist|help|provide|fulfil|fulfill|comply|answer|complete|generate|create|write|produce|access|"
    r"browse|open|view|see|offer|support|process|respond|engage|discuss|do (?:that|this))\b"
)
_REFUSAL = re.compile(
    rf"{_AS_MODEL}|{_CANNOT}{_SERVE}|"
    r"\bi (?:do not|don't) have (?:access|the ability|the capability|personal|enough info)"
    r"|^(?:i'm |i am )?sorry,? (?:but (?:this|that|your request)|(?:this|your request) (?:is|goes|would|does))\b|"
    r"^(?:对不起|抱歉|很抱歉)[,，]?(?:我|作为)|^作为(?:一个|一名)?(?:ai|人工智能)"
)
OPENING = 200
"""Characters at the start of an answer in which it refuses; later on, such words are usually told or quoted."""


def refusal(row: Row) -> bool:
    """The answer opens with words of an assistant that does not answer (English and Chinese)."""
    return bool(_REFUSAL.search(plain(row.output[:OPENING]).replace("’", "'")))


_ITEM = re.compile(r"\s*(?:[-*•–#>|]|\(?\w{1,3}[.):])")
_ENDS = re.compile(r"(?<=\w\w)[.!?…。！？؟।][\"'”’)\]]*(?=\s|$)|[。！？]")
_OPEN = re.compile(r"[,，、:：(\[{–—]$|\b(?:a|an|the|and|or|but|of|which|whose|because|my|your|its|their)$", re.I)
_SIGNED = re.compile(r"[#@/]\S*$|(?:^|[\s\"”])[-–—~] ?(?:\S+ ){0,3}\S+$")
PROSE, BEGUN = 20, 8
"""Words from which a last line counts as prose, which ends with a mark: shorter ones may be names, titles, results.
Fewer are enough where a sentence ends inside of it."""


def truncated(row: Row) -> bool:
    """The answer stops in the middle: an open code fence, a comma or article at the end, prose without a last mark.

    Items of lists, enumerations, code, and what ends in a digit, symbol, tag, address or name of an author are no
    prose, nor are scripts that use no full stop (Thai, Lao, Khmer).
    """
    text = row.output.rstrip()
    if sum(line.lstrip().startswith("```") for line in text.splitlines()) % 2:
        return True
    last = text.splitlines()[-1] if text else ""
    words = unicode_words(last)
    if is_code(text) or len(words) < 3:
        return False
    if _OPEN.search(last):
        return True
    if category(last[-1])[0] != "L" or script(last[-1]) in ("THAI", "LAO", "KHMER"):
        return False
    if _ITEM.match(last) or _SIGNED.search(last) or last.count(",") * 4 > len(words):
        return False
    return len(words) >= PROSE or (len(words) >= BEGUN and bool(_ENDS.search(last)))


LOOPS, LOOP_SHARE = 4, 0.3
"""A phrase that comes four times running, which nobody writes but verse, over three tenths of the answer."""
PERIOD = 32
"""Words of the longest phrase that is looked for."""
FEW_NGRAMS, MANY_WORDS = 0.5, 50
"""Share of different 4-grams in an answer of that many words: ordinary text is above 0.9, lists above 0.7."""


def repetition(row: Row) -> bool:
    """The answer ran in a circle: a phrase over and over, or half of its 4-grams said before.

    After the measures of repetition of Rae et al. 2021, arXiv 2112.11446, table A1, with wider limits, since answers
    are short and lists repeat by design.
    """
    words = [] if is_code(row.output) else unicode_words(row.output)
    if len(words) >= MANY_WORDS:
        grams = list(zip(*(words[i:] for i in range(4)), strict=False))
        if len(set(grams)) < FEW_NGRAMS * len(grams):
            return True
    return any(_loops(words, period) for period in range(1, min(PERIOD, len(words) // LOOPS) + 1))


def _loops(words: Sequence[str], period: int) -> bool:
    """Whether a phrase of `period` words is said `LOOPS` times running, over enough of the text."""
    run, wanted = 0, max(LOOPS * period, LOOP_SHARE * len(words), 8) - period
    for word, before in zip(words[period:], words, strict=False):
        run = run + 1 if word == before else 0
        if run >= wanted:
            return True
    return False


_TAG = re.compile(
    r"</?(?:div|span|p|a|br|li|ul|td|tr|table|img|script|style|h[1-6]|body|html)\b[^<>]*>|&(?:nbsp|amp|lt|gt|quot|#\d+);"
)
_BOILERPLATE = re.compile(
    r"\b(?:(?:we|site|website) uses? cookies|cookie policy|privacy policy|terms of (?:use|service)|all rights reserved|"
    r"subscribe to (?:our|the)|sign up for our|click here|read more|skip to (?:main )?content|"
    r"(?:leave|post) a (?:comment|reply)|"
    r"related (?:posts|articles)|share (?:this|on) (?:post|article|facebook|twitter)|enable javascript|javascript is|"
    r"page not found|posted (?:on|by|in)|filed under|lorem ipsum|log in to (?:comment|your)|back to top)\b"
)
_ASKED_FOR_PAGE = re.compile(
    r"html|\btags?\b|web|page|\bsite\b|xml|css|email|e-mail|newsletter|polic|code|script|blog|link|button|advert"
)
MARKUP, PHRASES = 3, 2
"""One tag or phrase may be meant; three and two come from a page."""


def web(row: Row) -> bool:
    """Markup or the fixed phrases of web pages, where the question is not about pages.

    The phrases are of the kind that Raffel et al. 2020, arXiv 1910.10683, section 2.2, clean C4 of.
    """
    text = without_code(row.output)
    found = len(_TAG.findall(text)) >= MARKUP or len(set(_BOILERPLATE.findall(plain(text)))) >= PHRASES
    return found and not _ASKED_FOR_PAGE.search(plain(row.prompt))


_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ï»¿|�")
_ODD_WORD = re.compile(r"[^\W\d_](?:[!?#$%^*~\\;\"<>{}=+]|[^\W\d_]\d+[^\W\d_])[^\W\d_]")
BROKEN, ODD = 0.01, 0.15
"""Share of damaged characters, and of words with a mark or digit inside; text that was typed has next to none."""


def noise(row: Row) -> bool:
    """Damaged characters: control characters, wrong encodings, marks and digits strewn into words. Code is no noise."""
    text = row.output
    broken = sum(category(c) in ("Cc", "Cs", "Co", "Cn") and c not in "\n\r\t" for c in text)
    if broken + len(_MOJIBAKE.findall(text)) > BROKEN * len(text):
        return True
    words = [] if is_code(text) or is_code(row.prompt) else text.split()
    return len(words) >= 8 and sum("://" not in w and bool(_ODD_WORD.search(w)) for w in words) > ODD * len(words)


_ARTICLES = frozenset(("a", "an", "the", "An", "The"))
_NEVER_AFTER = re.compile(
    "an?|the|and|or|of|to|in|on|at|by|from|with|is|are|was|were|be|been|has|have|had|will|would|can|could|should|that|"
    "which|who|it|he|she|they|we|you|i|this|these|those|than|[.!?]"
)
_WORD_OR_MARK = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
SALAD, VIOLATIONS = 0.25, 2
"""Share and number of articles that are followed by a word that cannot stand there; shuffled English has a half."""


def salad(row: Row) -> bool:
    """English words in no order: articles stand before other articles, prepositions, auxiliaries, or at an end.

    Capitals count: `A.` may be a heading, `an A` a mark, `the US` a country.
    """
    words = [] if is_code(row.output) else _WORD_OR_MARK.findall(row.output)
    after = [later for word, later in zip(words, [*words[1:], "."], strict=False) if word in _ARTICLES]
    wrong = sum(bool(_NEVER_AFTER.fullmatch(word)) for word in after)
    return wrong >= VIOLATIONS and wrong >= SALAD * len(after)


_OTHER_LANGUAGE = re.compile(
    r"translat|language|english|chinese|mandarin|japanese|korean|russian|arabic|hindi|greek|hebrew|thai|ukrainian|bengali|"
    r"french|spanish|german|latin|script|alphabet|emoji|pinyin|romaji|译|譯|訳|翻|英|中文|汉|漢|日[语本]|перев|англ|переклад"
)
LETTERS, MAIN, FOREIGN = 20, 0.8, 0.02
"""Letters that tell a script; share of the answer's main one; its share in the question below which it is foreign."""


def wrong_script(row: Row) -> bool:
    """The answer is written in a script that the question does not have, and no other language was asked for."""
    answer, asked = scripts(row.output), scripts(row.prompt)
    if answer.total() < LETTERS or asked.total() < LETTERS // 2 or is_code(row.output):
        return False
    main, count = answer.most_common(1)[0]
    foreign = asked[main] <= FOREIGN * asked.total()
    return foreign and count >= MAIN * answer.total() and not _OTHER_LANGUAGE.search(plain(row.prompt))


RULES: Mapping[str, Callable[[Row], bool]] = {
    "empty": empty,
    "echo": echo,
    "refusal": refusal,
    "repetition": repetition,
    "truncated": truncated,
    "web": web,
    "noise": noise,
    "salad": salad,
    "wrong_script": wrong_script,
}
"""In the order in which they are asked; the first that is broken is the reason."""


def broken(row: Row, wanted: Sequence[str]) -> str | None:
    """The first of these rules that a row breaks."""
    return next((rule for rule in RULES if rule in wanted and RULES[rule](row)), None)

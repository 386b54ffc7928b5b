"""What unknown words probably mean: the nearest known word of the sentence encoder, if it is near enough."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sgrocc_core.data.synthetic.words import lexicon
from sgrocc_core.data.synthetic.words.kinds import KINDS
from sgrocc_core.words.encoder import INSTALL, SentenceEncoder

NEAR_NOUN, NEAR_ADJECTIVE = 0.45, 0.6
"""Similarities from which an unknown word is taken for a known one."""


@lru_cache(maxsize=1)
def _nouns() -> tuple[list[str], list[str]]:
    """Known words for things and rooms, and what each stands for: a kind, or a word for a room."""
    words = [(word, kind.name) for kind in KINDS.values() for word in kind.words]
    words += [(word, word) for word in lexicon.ROOMS]
    return [word for word, _ in words], [meaning for _, meaning in words]


def guess(phrase: str, adjective: bool, encoder: SentenceEncoder | None) -> tuple[str, str]:
    """What unknown words probably mean.

    Args:
        phrase: the words.
        adjective: whether they stand before a known noun.
        encoder: the sentence encoder; None if it is not installed.

    Returns:
        A kind, a word for a room, or a word for a size or look; empty if nothing is near enough.
        A sentence that says so.
    """
    if encoder is None:
        return "", f"'{phrase}' is not known; the sentence encoder could match it: {INSTALL}"
    if adjective:
        words = list(lexicon.SIZES) + list(lexicon.LOOKS)
        meanings, least = words, NEAR_ADJECTIVE
    else:
        (words, meanings), least = _nouns(), NEAR_NOUN
    similar = encoder.encode(words) @ encoder.encode([phrase])[0]
    best = int(np.argmax(similar))
    if similar[best] < least:
        return "", f"'{phrase}' is not known and near to no known word"
    return meanings[best], f"'{phrase}' was taken for '{words[best]}'"

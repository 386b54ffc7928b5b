"""WordPiece: splits a text into the pieces of an uncased BERT vocabulary.

After Wu et al. (2016), "Google's Neural Machine Translation System", and the uncased vocabulary of BERT.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from sgrocc_core.errors import ModelError

LONGEST_WORD = 100
"""Words of more characters are one unknown piece."""


class WordPieces:
    """The vocabulary of an encoder.

    Args:
        path: vocab.txt, one piece a line; pieces that continue a word begin with ##.

    Raises:
        ModelError: the file is missing, or has not the special pieces.
    """

    def __init__(self, path: Path) -> None:
        try:
            pieces = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"the encoder's vocabulary {path} cannot be read: {error}") from error
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        missing = [piece for piece in ("[CLS]", "[SEP]", "[UNK]") if piece not in self._ids]
        if missing:
            raise ModelError(f"the encoder's vocabulary {path} has no {missing[0]}; the file is damaged")

    def ids(self, text: str, most: int) -> list[int]:
        """Numbers of the pieces of a text, between those of [CLS] and [SEP]; at most `most` of them.

        Args:
            text: any text; case and accents are removed.
            most: greatest length, the two special pieces included.
        """
        found = [number for word in _words(text) for number in self._pieces(word)]
        return [self._ids["[CLS]"], *found[: most - 2], self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        """The longest known pieces of a word from its beginning; one unknown piece if there are none."""
        if len(word) > LONGEST_WORD:
            return [self._ids["[UNK]"]]
        found, start = [], 0
        while start < len(word):
            for stop in range(len(word), start, -1):
                number = self._ids.get(("##" if start else "") + word[start:stop])
                if number is not None:
                    break
            else:
                return [self._ids["[UNK]"]]
            found.append(number)
            start = stop
        return found


def _words(text: str) -> list[str]:
    """Lower-case words without accents; every punctuation mark and every Chinese character is a word."""
    spread = []
    for character in unicodedata.normalize("NFD", text.lower()):
        kind = unicodedata.category(character)
        if kind == "Mn" or character in "\x00\ufffd" or (kind.startswith("C") and character not in "\t\n\r"):
            continue
        alone = _is_mark(character, kind) or 0x4E00 <= ord(character) <= 0x9FFF or 0x3400 <= ord(character) <= 0x4DBF
        spread.append(f" {character} " if alone else character)
    return "".join(spread).split()


def _is_mark(character: str, kind: str) -> bool:
    """Whether a character is a punctuation mark, as BERT understands it: with all ASCII symbols."""
    return kind.startswith("P") or (character.isascii() and not character.isalnum() and not character.isspace())

"""Reads a sentence about a room: kinds, numbers, sizes, looks, relations, and what must not be there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from sgrocc_core.data.synthetic.words import lexicon
from sgrocc_core.data.synthetic.words.kinds import KINDS
from sgrocc_core.data.synthetic.words.unknown import guess
from sgrocc_core.data.synthetic.words.wish import ALONE, SELF, Asked, Wish
from sgrocc_core.errors import ConfigError
from sgrocc_core.words.encoder import SentenceEncoder

MOST_CHARACTERS = 1000
MOST_OF_A_KIND = 12
MOST_THINGS = 40
LONGEST_PHRASE = 6
"""Words of the longest known phrase."""
LEAST_KNOWN = 0.5
"""Share of a sentence's words that must be known English ones."""
_EXAMPLE = "such as 'a small bedroom with a double bed and two chairs'"


@dataclass
class _Pending:
    """What was said of the thing that comes next."""

    count: int | None = None
    exact: bool = True
    size: str = ""
    look: str = ""
    definite: bool = False
    unknown: list[str] = field(default_factory=list)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:[-'][^\W\d_]+)*|\d+|[.,;:!?]", text.lower())


class _Reader:
    def __init__(self, text: str, encoder: SentenceEncoder | None) -> None:
        self.last_target = -1
        self.tokens, self.encoder = _tokens(text.replace("&", " and ")), encoder
        self.wish = Wish(text)
        self.things: list[Asked] = []
        self.next = _Pending()
        self.last, self.subject = -1, -1
        self.relation, self.source = "", -1
        self.with_whom = -1
        self.negated = False
        self.without: list[str] = []
        self.understood: list[str] = []
        self.missed: list[str] = []
        self.known = self.words = 0

    def read(self) -> Wish:
        """The wish of the sentence."""
        at = 0
        while at < len(self.tokens):
            at += self._step(at)
        self._end_of_unknown(False)
        self._end_of_clause()
        if self.words and self.known < LEAST_KNOWN * self.words:
            raise ConfigError(
                f"prompt is {_short(self.wish.text)!r}; only {self.known} of its {self.words} words are known English "
                f"ones, and only English is read, {_EXAMPLE}"
            )
        return self._checked()

    def _step(self, at: int) -> int:
        """Read the longest known phrase at a token; returns its number of words."""
        token = self.tokens[at]
        if token in ".,;:!?":
            self._end_of_unknown(False)
            self._end_of_clause(token in ".;!?")
            return 1
        for length in range(min(LONGEST_PHRASE, len(self.tokens) - at), 0, -1):
            if self._phrase(" ".join(self.tokens[at : at + length]), at, length):
                self.known, self.words = self.known + length, self.words + length
                return length
        self.words += 1
        self.next.unknown.append(token)
        return 1

    def _phrase(self, phrase: str, at: int, length: int) -> bool:
        """Whether a phrase is known; what it says is noted."""
        if phrase in lexicon.KIND_WORDS:
            self._end_of_unknown(True)
            self._thing(*lexicon.KIND_WORDS[phrase], at + length)
        elif phrase in lexicon.RELATION_WORDS:
            self._end_of_unknown(False)
            self._relate(lexicon.RELATION_WORDS[phrase], at, length)
        elif phrase in lexicon.WITHOUT:
            self._end_of_unknown(False)
            self._end_of_clause()
            self.negated = True
        elif phrase in lexicon.ROOMS or phrase.removesuffix("s") in lexicon.ROOMS:
            self._end_of_unknown(True)
            self._room(lexicon.ROOMS.get(phrase) or lexicon.ROOMS[phrase.removesuffix("s")], phrase)
        elif phrase == "room":
            self._end_of_unknown(True)
            self._size_of_room()
        elif phrase in lexicon.BUILT:
            self._end_of_unknown(True)
            self._built(phrase)
        elif phrase in lexicon.ONLY:
            self.wish = replace(self.wish, only=True)
        elif phrase == "each other" or phrase == "one another":
            self._target(SELF)
        elif phrase in lexicon.PRONOUNS:
            self._pronoun()
        else:
            return self._describe(phrase)
        return True

    def _describe(self, phrase: str) -> bool:
        """Numbers, sizes, looks and joining words."""
        n = self.next
        if phrase in lexicon.NUMBERS or phrase.isdigit():
            self._end_of_unknown(False)
            self.next = _Pending(lexicon.NUMBERS[phrase] if phrase in lexicon.NUMBERS else int(phrase))
        elif phrase in lexicon.SOME:
            self._end_of_unknown(False)
            self.next = _Pending(lexicon.SOME[phrase], exact=False)
        elif phrase in lexicon.SIZES:
            if n.size and n.size != lexicon.SIZES[phrase]:
                raise ConfigError(f"prompt asks for something both small and large, at {phrase!r}; say one of the two")
            n.size = lexicon.SIZES[phrase]
        elif phrase in lexicon.LOOKS:
            n.look = lexicon.LOOKS[phrase]
        elif phrase == "with":
            self._end_of_unknown(False)
            self.negated, self.with_whom = False, self.last
        elif phrase in ("and", "or"):
            self._end_of_unknown(False)
        elif phrase in lexicon.FILLING:
            if phrase == "the" or phrase in ("its", "their"):
                n.definite = True
        else:
            return False
        return True

    def _thing(self, kind: str, many: bool, after: int) -> None:
        """A kind was named."""
        n, self.next = self.next, _Pending()
        if self.negated:
            self.without.append(kind)
            return
        if n.count == 0:
            self.without.append(kind)
            return
        old = next((k for k in reversed(range(len(self.things))) if self.things[k].kind == kind), -1)
        if old < 0 and n.definite:
            old = next((k for k in reversed(range(len(self.things))) if _meant(kind, self.things[k].kind)), -1)
        known = old >= 0 and (n.definite or (self.relation and n.count is None))
        if known:
            number = old
        else:
            count = n.count if n.count is not None else 2 if many else 1
            exact = n.exact and (n.count is not None or not many) and not (n.definite and self.relation != "")
            self.things.append(Asked(kind, count, exact, n.size, n.look))
            number = len(self.things) - 1
        if self.relation and self.source == -1:  # `on the desk is a lamp`: the source comes after the target
            if self.relation in ALONE:
                self._tie(number, self.relation, -1)
                self.relation, self.last_target = "", -1
            elif self.last_target >= 0:
                self._tie(number, self.relation, self.last_target)
                self.relation, self.last_target = "", -1
            else:
                self.last_target = number
        elif self.relation:
            self._target(number)
        else:
            self._with(number)
        self.last = number

    def _pronoun(self) -> None:
        """`it`, `them`: what was spoken of before, else the last thing but the one that relates to it."""
        if self.subject < 0 or self.subject == self.source:
            before = self.source if self.source >= 0 else len(self.things)
            self.subject = before - 1
        if self.subject >= 0:
            self._target(self.subject)

    def _with(self, number: int) -> None:
        """`a table with four chairs`, `a desk with a monitor`: what such a pair means."""
        whole, part = self.with_whom, KINDS[self.things[number].kind]
        if whole < 0 or whole == number:
            return
        holder = KINDS[self.things[whole].kind]
        if part.name in ("chair", "office chair", "stool") and holder.label == KINDS["table"].label:
            self._tie(number, "at", whole)
        elif (part.where == "surface" or part.name == "tv") and holder.where in ("wall", "free"):
            self._tie(number, "on", whole)
        else:
            self.with_whom = -1

    def _relate(self, relation: str, at: int, length: int) -> None:
        """A relation was named, of the last thing, or of the next one: at a beginning, or before a new thing."""
        first = at == 0 or self.tokens[at - 1] in ".;" or self.last < 0
        if self.tokens[at - 1] in ("and", ",") and relation in ALONE:
            ahead = self.tokens[at + length] if at + length < len(self.tokens) else "."
            first = first or ahead in lexicon.NUMBERS or ahead in ("there", "is", "are", "hangs", "hang", "stands")
        if relation in ALONE:
            if self.last >= 0 and not first:
                self._tie(self.last, relation, -1)
            else:
                self.relation, self.source, self.last_target = relation, -1, SELF
            self.next = _Pending()
            return
        self.relation, self.source, self.last_target = relation, -1 if first else self.last, -1
        self.next = _Pending()

    def _target(self, number: int) -> None:
        if self.relation and self.source >= 0 and number != self.source:
            self._tie(self.source, self.relation, number)
            self.relation, self.source = "", -1
        elif self.relation and self.source == -1 and number >= 0:
            self.last_target = number

    def _tie(self, source: int, relation: str, target: int) -> None:
        if relation == "on" and target >= 0 and self.things[target].kind in ("window", "door"):
            relation = "beside"
        self.things[source] = replace(self.things[source], relation=relation, target=target)

    def _room(self, programme: str, phrase: str) -> None:
        if self.wish.room and self.wish.room != programme:
            self.missed.append(f"'{phrase}': a room is of one kind, and this one is a {self.wish.room}")
        else:
            self.wish = replace(self.wish, room=programme)
        self._size_of_room()

    def _size_of_room(self) -> None:
        if self.next.size and not self.things:
            self.wish = replace(self.wish, size=self.next.size)
        self.next, self.relation = _Pending(), ""
        self.negated = False

    def _built(self, word: str) -> None:
        look, self.next = self.next.look, _Pending()
        if word.startswith("wall") and look:
            self.wish = replace(self.wish, walls=look)
        elif word.startswith("floor") and look:
            self.wish = replace(self.wish, floor=look)
        elif self.relation and self.source >= 0 and word.startswith("wall"):
            self._tie(self.source, "on wall" if self.relation == "on" else "wall", -1)
        elif look or word == "ceiling":
            self.missed.append(f"'{word}': only walls and floors have a colour or a material that can be asked for")
        self.relation, self.source = "", -1

    def _end_of_unknown(self, before_noun: bool) -> None:
        """Unknown words end: before a known noun they were adjectives, otherwise a noun."""
        words, self.next.unknown = self.next.unknown, []
        if not words:
            return
        phrase = " ".join(words)
        found, said = guess(phrase, before_noun, self.encoder)
        (self.understood if found else self.missed).append(said)
        if not found:
            self.next = _Pending() if not before_noun else self.next
        elif before_noun:
            self.next.size, self.next.look = (
                lexicon.SIZES.get(found, self.next.size),
                lexicon.LOOKS.get(found, self.next.look),
            )
        elif found in lexicon.ROOMS:
            self._room(lexicon.ROOMS[found], phrase)
        else:
            self._thing(found, phrase.endswith("s"), 0)

    def _end_of_clause(self, sentence: bool = False) -> None:
        if self.relation and (sentence or self.source >= 0):
            self.missed.append(f"'{self.relation}': it is not said to what")
            self.relation, self.source = "", -1
        self.with_whom, self.negated, self.next = -1, False, _Pending()
        if sentence:
            self.relation, self.subject = "", -1

    def _checked(self) -> Wish:
        for kind in self.without:
            clash = next((a for a in self.things if a.kind == kind or _akin(kind, a.kind)), None)
            if clash is not None:
                raise ConfigError(
                    f"prompt is {_short(self.wish.text)!r}; it asks for a {clash.kind} and for none; leave one out"
                )
        for asked in self.things:
            if asked.count > MOST_OF_A_KIND:
                raise ConfigError(
                    f"prompt asks for {asked.count} of {asked.kind!r}; at most {MOST_OF_A_KIND} of a kind are placed"
                )
        if sum(asked.count for asked in self.things) > MOST_THINGS:
            raise ConfigError(f"prompt asks for more than {MOST_THINGS} things; ask for fewer")
        if not (self.things or self.wish.room or self.wish.only or self.without or self.wish.walls or self.wish.floor):
            said = f" ({'; '.join(self.missed)})" if self.missed else ""
            raise ConfigError(
                f"prompt is {_short(self.wish.text)!r}; nothing in it is known{said}; name a room or things, {_EXAMPLE}"
            )
        return replace(
            self.wish,
            things=tuple(self.things),
            without=tuple(dict.fromkeys(self.without)),
            understood=tuple(dict.fromkeys(self.understood)),
            missed=tuple(dict.fromkeys(self.missed)),
        )


def _akin(kind: str, other: str) -> bool:
    """Whether all pieces of another kind are also of this one, as double beds are beds."""
    return set(KINDS[other].pieces) <= set(KINDS[kind].pieces)


def _meant(kind: str, other: str) -> bool:
    """Whether `the table` may mean a thing of another kind, such as a coffee table."""
    return _akin(kind, other) or any(word.endswith(f" {kind}") for word in KINDS[other].words)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_wish(text: str, encoder: SentenceEncoder | None) -> Wish:
    """Read a sentence about a room.

    Args:
        text: English, such as `a small bedroom with a double bed, two chairs and a tv on the wall`.
        encoder: matches unknown words to known ones; None = they are only said.

    Raises:
        ConfigError: empty, too long, contradictory, not English, too many things, or nothing in it is known.
    """
    if not text.strip():
        raise ConfigError(f"prompt is empty; it must describe a room, {_EXAMPLE}")
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"prompt has {len(text)} characters; it may have at most {MOST_CHARACTERS}")
    return _Reader(text, encoder).read()

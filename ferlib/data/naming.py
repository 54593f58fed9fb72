"""What names in somebody's data mean: folders, columns and labels -> classes."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ferlib.data.gather import LEFT_OUT, SKIP, WORDS
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.files import is_text

# What people call a split: index into dataset.SPLITS.
PARTS = {"train": 0, "training": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1}
PARTS |= {"publictest": 1, "test": 2, "testing": 2, "privatetest": 2}
_OWN = ".\nFor classes of your own train a net with --own-classes"


class Names:
    """Word, in any case -> index into `classes`, LEFT_OUT, or None where it is not known.

    `given` says which class a word means, or "skip"; `classes` None takes the words as they are
    (`take_all`). The emotions are known by their usual words too.
    """

    def __init__(self, given: Mapping[str, str] | None, classes: Sequence[str] | None):
        self.given = {_plain(name): meant for name, meant in (given or {}).items()}
        self.words: dict[str, int] = {}
        self.classes: tuple[str, ...] | None = None
        if classes is not None:
            self._know(tuple(classes))

    def _know(self, classes: tuple[str, ...]) -> None:
        words = {_plain(name): number for number, name in enumerate(classes)}
        words = WORDS | words if classes == EMOTIONS else words
        for name, meant in self.given.items():
            if _plain(meant) not in (*words, SKIP):
                known = f"{', '.join(classes)} or {SKIP}"
                known += _OWN * (classes == EMOTIONS)
                raise FerlibError(f"{name} cannot stand for {meant!r}: expected {known}")
        given = {name: words.get(_plain(meant), LEFT_OUT) for name, meant in self.given.items()}
        self.classes, self.words = classes, words | given

    def take_all(self, held: Iterable[str]) -> None:
        """Where any name is a class: those that the data hold, or what they stand for."""
        found = sorted(held)
        strange = [name for name in found if not is_text(name)]
        if strange:
            raise FerlibError(f"{strange[0]!a} is no name in UTF-8: rename it")
        meant = [self._meant(name) for name in found]
        named = {_plain(name): name for name in reversed(meant)}  # splits may differ in case
        if SKIP in map(_plain, self.given.values()):
            named.pop(SKIP, None)
        self._know(tuple(named[key] for key in sorted(named)))

    def _meant(self, name: str) -> str:
        """What a name of the data stands for, which is itself where no mapping says another."""
        mapped = (self.given[key] for key in _keys(name) if key in self.given)
        return next(mapped, _composed(name).strip())

    def check_used(self, held: Iterable[str], where: str) -> None:
        """FerlibError where a mapping names what the data do not hold."""
        unused = set(self.given) - {key for name in held for key in _keys(name)}
        if unused:
            raise FerlibError(f"{where} called {min(unused)}: nothing to map")

    def __getitem__(self, name: str) -> int | None:
        return next((self.words[key] for key in _keys(name) if key in self.words), None)


def split_named(name: str) -> int | None:
    """The split that a folder's name tells, index into SPLITS; None where it tells none."""
    words = re.split(r"[^a-z]+|set\b", name.lower())
    return next((PARTS[word] for word in words if word in PARTS), None)


def _plain(name: str) -> str:
    return _composed(name).strip().lower()


def _composed(name: str) -> str:
    """Letters with their accents, which archives from macOS have in two pieces."""
    return unicodedata.normalize("NFC", name)


def _keys(name: str) -> tuple[str, str]:
    """A name in lower case, with and without a number before it ("0_anger")."""
    name = _plain(name)
    return name, re.sub(r"^\d+[ _.-]+", "", name)

"""What names of joints tell: which are left and right of one another, and which are those of COCO's body."""

import re
from collections import Counter
from collections.abc import Sequence

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l", "左": "右", "右": "左"}
# LEye, leftEye, left_eye, EYE_L, eye.l, left eye, 左眼: words end at other characters and where capitals begin.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[左右]|[^A-Za-z左右]+")
# lefteye, eyeright, rankle: a side without a border is one only where its partner is there too.
_JOINED = re.compile(r"^(left|right|[lr](?=[a-z]{3}))(?=[a-z])|(?<=[a-z])(left|right)$", re.IGNORECASE)


def mirrored(name: str) -> str:
    """The name of a joint's mirror image: left for right, l for r; the name itself where it has no side.

    >>> mirrored("LEye"), mirrored("eye_right"), mirrored("nose")
    ('REye', 'eye_left', 'nose')
    """
    return "".join(_exchanged(word) for word in _WORD.findall(name))


def _exchanged(word: str) -> str:
    other = _SIDES.get(word.lower(), word)
    if other == word:
        return word
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The pairs (smaller, larger number) of joints whose names are each other's mirror image."""
    places = {name: place for place, name in enumerate(names)}
    pairs = []
    for place, name in enumerate(names):
        other = mirrored(name)
        if other == name:
            other = _JOINED.sub(lambda match: _exchanged(match.group()), name)
        if places.get(other, -1) > place:
            pairs.append((place, places[other]))
    return tuple(pairs)


def without_partner(names: Sequence[str]) -> list[str]:
    """Of joints that are in no pair those whose names say that there are two: a side, or a number behind one word."""
    stems = Counter(re.sub(r"[\W_]*\d+$", "", name) for name in names)
    return [name for name in names if mirrored(name) != name or stems[re.sub(r"[\W_]*\d+$", "", name)] == 2]


def plain(name: str) -> str:
    """The name in COCO's spelling, for comparisons: LEye, eye_l and "left eye" are left_eye."""
    name = re.sub(r"^(left|right)(?=[a-z])", r"\1_", name, flags=re.IGNORECASE)
    words = [re.sub(r"[\W_]+", "", word).lower() for word in _WORD.findall(name)]
    words = [
        {"l": "left", "r": "right", "左": "left", "右": "right"}.get(word, word) for word in words if word
    ]
    return "_".join(sorted(words, key=lambda word: word not in ("left", "right")))


def stem(name: str) -> str:
    """The plain name without its side."""
    return re.sub(r"^((left|right)_)+", "", plain(name)) or name

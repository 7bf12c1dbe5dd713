"""Names as keys: folded so that case, accents and punctuation do not matter, and compared for near matches."""

import difflib
import itertools
import unicodedata
from collections.abc import Iterable

MAX_NAME_LENGTH = 300
"""Longest name that can be loaded or asked for, in characters; bounds columns, their indexes and tool arguments."""

TRIGRAM = 3

# Letters that Unicode does not decompose, and typographic characters for which people type a plain one.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
    | dict.fromkeys("‘’ʼ´`", "'")
    | dict.fromkeys("“”„«»", '"')
    | dict.fromkeys("‐‑‒–—−", "-")
)
_COMBINING = dict.fromkeys(range(0x0300, 0x0370))
_EDGES = " ?!.,;:\"'()"


def fold(name: str) -> str:
    """Return the key under which a name is stored and looked up.

    Case, Latin, Greek and Cyrillic accents, repeated or unprintable characters, punctuation at either end and a
    leading "the" are dropped, so that "the Nile?", "NILE" and "Nile" are one key. Other scripts keep their marks.

    Examples
    --------
    >>> fold("  São   Paulo? "), fold("The Hobbit"), fold("Ernő Rubik")
    ('sao paulo', 'hobbit', 'erno rubik')
    """
    if not name.isprintable():
        name = "".join(character if character.isprintable() else " " for character in name)
    if not name.isascii():
        name = unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).translate(_COMBINING))
    key = name.casefold()
    if not key.isascii():
        key = key.translate(_PLAIN)
    key = " ".join(key.split())
    # A name that is nothing but punctuation, or but the article, stays as it is.
    key = key.strip(_EDGES) or key
    return key.removeprefix("the ") or key


def pieces(key: str) -> list[str]:
    """Cut a key into the substrings of which a name that differs by a few letters keeps at least one.

    A key of n pieces survives n - 1 wrong letters in one of them (pigeonhole), and pieces of three letters or more
    are what a trigram index finds without visiting every name. Keys under six letters give all their trigrams,
    keys under three letters nothing.
    """
    if len(key) < 2 * TRIGRAM:
        return sorted({key[i : i + TRIGRAM] for i in range(len(key) - TRIGRAM + 1)})
    count = min(4, max(2, len(key) // 4))
    cuts = [len(key) * i // count for i in range(count + 1)]
    return [key[start:end] for start, end in itertools.pairwise(cuts)]


def closest(key: str, names: Iterable[tuple[str, str]], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Choose the names nearest to a key.

    Parameters
    ----------
    key : str
        The folded name that was looked for.
    names : iterable of (str, str)
        Candidates: the key of each and the name to show for it.
    count : int
        How many names to return at most.
    cutoff : float
        Least similarity, from 0 to 1 (`difflib.SequenceMatcher.ratio`). A name that has all words of the key, or
        whose words the key has, counts as 0.9.

    Returns
    -------
    list of str
        Distinct names, the most similar first.
    """
    words = set(key.split())
    matcher = difflib.SequenceMatcher(b=key, autojunk=False)
    scores: dict[str, float] = {}
    for candidate, shown in names:
        matcher.set_seq1(candidate)
        score = matcher.ratio() if matcher.real_quick_ratio() >= cutoff else 0.0
        others = set(candidate.split())
        if words and others and (words <= others or others <= words):
            score = max(score, 0.9)
        if score >= cutoff:
            scores[shown] = max(score, scores.get(shown, 0.0))
    return sorted(scores, key=lambda shown: (-scores[shown], shown))[:count]

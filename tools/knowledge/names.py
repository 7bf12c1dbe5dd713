"""Names as keys: folding of case, accents and punctuation, and similarity for near matches."""

import difflib
import itertools
import unicodedata
from collections.abc import Iterable

MAX_NAME_LENGTH = 300
"""Maximum length of a name in characters: of columns, their indexes and tool arguments."""

TRIGRAM = 3

# Letters that Unicode does not decompose, and typographic characters that people replace when typing.
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
    # A name of punctuation only, or of the article only, is kept.
    key = key.strip(_EDGES) or key
    return key.removeprefix("the ") or key


def pieces(key: str) -> list[str]:
    """Split a key into substrings, at least one of which survives a few wrong letters.

    Of n pieces at least one survives n - 1 wrong letters (pigeonhole principle), and a trigram index finds pieces of
    three letters or more without a scan. Keys of three to five letters give all their trigrams, shorter keys nothing.
    """
    if len(key) < 2 * TRIGRAM:
        return sorted({key[i : i + TRIGRAM] for i in range(len(key) - TRIGRAM + 1)})
    count = min(4, max(2, len(key) // 4))
    cuts = [len(key) * i // count for i in range(count + 1)]
    return [key[start:end] for start, end in itertools.pairwise(cuts)]


def closest(key: str, names: Iterable[tuple[str, str]], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the names most similar to a key.

    Parameters
    ----------
    key : str
        The folded name that was not found.
    names : iterable of (str, str)
        Candidates as (key, name to show).
    count : int
        Maximum number of names.
    cutoff : float
        Minimum similarity from 0 to 1 (`difflib.SequenceMatcher.ratio`). If the words of one are a subset of the
        words of the other, the similarity is at least 0.9.

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

"""Full stops that end an abbreviation instead of a sentence: of English, and some of German and French."""

from __future__ import annotations

import re

# The word before a full stop, from the last white space, bracket or quotation mark on.
_LAST_WORD = re.compile(r"[^\s(\[{\"'“\u2018«\-/]*\Z")
_NEXT_WORD = re.compile(r"([^\W\d_]*)(\.?)")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# These stand before what they belong to: a name, an example.
_NEVER_LAST = _words(
    """adm approx betr bzgl bzw ca capt cf cmdr cpl d.h dipl doz dr e.g evtl ggf gov hon i.e lt maj messrs mlle mme mr
    mrs ms mt o.ä prof resp rev sen sgt sog u.a vgl viz vs z.b zzgl"""
)
# These stand before a number, and are words or parts of the body otherwise.
_BEFORE_NUMBER = _words("abs art bd ch chap col eq eqs fig figs kap n no nos nr p pp s sec sect tab v vol vols")
# These may end a sentence as well: it does where the next word is one that begins sentences.
_MAY_BE_LAST = _words(
    """al apr aug ave blvd bros co corp dec dept ed eds est etc feb gen inc jan jr ltd nov oct op rd sep sept sr st str
    univ usw"""
)
_BEGIN = _words(
    """a after all although an and as at because both but by each even every for from he her here his how however i if
    in is it its many most my no not now on one or our over she since so some such that the their then there these they
    this those though thus to two under until we what when where which while who why with yet you your"""
)


def is_abbreviation(before: str, following: str) -> bool:
    """Tell whether a full stop ends no sentence, but an abbreviation or an initial.

    Args:
        before: What stands before it, a line of it is enough.
        following: What stands behind it and the white space.
    """
    found = _LAST_WORD.search(before)
    word = found[0] if found else ""
    known = word.lower()
    if known in _BEFORE_NUMBER and following[:1].isdigit():
        return True
    if known in _MAY_BE_LAST or _DOTTED.fullmatch(word) or _is_initial(word):
        return known in _NEVER_LAST or not _begins_sentence(following)
    return known in _NEVER_LAST


def _is_initial(word: str) -> bool:
    """Tell the "J" of a name; "I" is a word."""
    return len(word) == 1 and word.isupper() and word != "I"


def _begins_sentence(following: str) -> bool:
    found = _NEXT_WORD.match(following)
    # "A." after "J." is another initial.
    return found is not None and not found[2] and found[1][:1].isupper() and found[1].lower() in _BEGIN

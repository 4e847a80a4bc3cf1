"""Detects violent descriptions: selects motions to forget, and is a part of `request_words`."""

import re

_VIOLENT = re.compile(
    r"\b(?:punch\w*|kick\w*|fist[- ]?fight\w*|fight\w*|fought|attack\w*|stab(?:s|bed|bing)?"
    r"|slash\w*|slap(?:s|ped|ping)?|jab(?:s|bed|bing)?|uppercuts?|head-?butt\w*"
    r"|boxing|boxers?|shadow[- ]?box\w*|kick-?box\w*|box(?:es)? (?:with|against|the air)"
    r"|karate|kung[- ]?fu|taekwondo|judo|jiu[- ]?jitsu|ninjutsu|martial|kata|spar(?:s|ring)"
    r"|violen\w*|threaten\w*|chok(?:e|es|ed|ing)|strangl\w*|assault\w*|murder\w*|kill\w*"
    r"|beat(?:s|ing)? (?:up|someone|somebody|a|the|an)|sword\w*|fencing"
    r"|hit(?:s|ting)? (?:some\w+|him|her|a (?:person|man|woman)|the (?:air|other))"
    r"|stri(?:ke|kes|king)|struck"
    r"|(?:push|shov)(?:e|es|ed|ing)? (?:a|the|an|another|some)? ?"
    r"(?:person|man|woman|body|one|child|opponent|enemy)(?: away| over| down)?"
    r"|bassai|empi|heian\w*|oiduki|gedanbarai|mawashi\w*|syutouuke|yokogeri)\b",
    re.IGNORECASE,
)
"""Violent words, and names of karate forms and techniques used as titles of recordings."""
_HARMLESS = re.compile(
    r"\b(?:kick\w* (?:a |the )?(?:foot|soccer )?ball|kick ?flip\w*|hand ?stand ?kicks?"
    r"|avoid\w* (?:an? |the )?attack\w*"
    r"|stri(?:ke|kes|king) (?:a )?pose|punch\w* (?:bowl|card|hole)s?)\b",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[_\d]+|(?<=[a-z])(?=[A-Z])")


def is_violent(text: str) -> bool:
    """Whether a sentence, or the title of a recording (``Left_Punch_01``), describes violence."""
    spaced = " ".join(_SEPARATORS.sub(" ", text).split())
    return _VIOLENT.search(_HARMLESS.sub(" ", spaced)) is not None

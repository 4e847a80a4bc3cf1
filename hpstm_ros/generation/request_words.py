"""Words by which a request for violent motion is rejected.

They extend those of `violent_words`, which also select motions for training and stay as they were
when the released networks were trained.
"""

import re
import unicodedata
from typing import Final

from hpstm_ros.generation.violent_words import is_violent

_ARTICLE: Final = r"(?:an?|the|his|her|their|another|some|one)"
_PERSON: Final = (
    rf"(?:some(?:one|body)|him|people|others|her(?= (?:in|on|to|down|away|over|hard|out)\b|$)"
    rf"|(?:{_ARTICLE} )?(?:\w+ )?(?:person|people|man|men|woman|women|child|children|kids?|boys?"
    r"|girls?|baby|opponents?|enem(?:y|ies)|guy|victims?|attackers?|partner|friend|dog|cat))"
)
_ENDING: Final = r"(?:e?[sd]|e|[tp]?(?:ed|ing))?"
_TARGET: Final = r"(?:stomach|face|head|chin|groin|jaw|ribs?|throat|nose|guts?|belly|temple)"

_VIOLENT: Final = re.compile(
    rf"\b(?:(?:smash|crush|hit|knock|whip|trip|elbow|bash|batter|tackl|shoot|beat|slam|stomp|trampl"
    rf"|bit|spank|hurt|harm|injur|wound|ambush|lash|thrash|throttl|suffocat|drown|whack|smack"
    rf"|pummel|shot){_ENDING} (?:at |on |over |down |out |up )?{_PERSON}"
    rf"|knee(?:s|d|ing)? {_PERSON}"
    rf"|(?:push|shov){_ENDING} (?:over|down|away|off|into|against) {_PERSON}"
    rf"|(?:person|man|woman|boy|girl|someone|somebody|he|she|human|athlete)"
    r" (?:is |who )?box(?:es|ed)?(?! (?:up|step|jump)\w*)"
    r"|(?:people|men|women|they|persons) box|box(?:es)? (?:hard|fast|quickly|like)"
    r"|(?:starts?|begins?|likes?|learns?|tries|try) to box"
    r"|(?:left|right) hooks?|(?:throw\w*|threw|land(?:s|ed|ing)?) (?:\w+ ){0,3}hooks?"
    r"|hit(?:s|ting)? (?:\w+ ){0,2}hard"
    r"|(?:knee|elbow|fist|blow)s?(?: \w+)? (?:to|into|in|on|against)"
    rf" (?:\w+ )?(?:\w+'?s )?{_TARGET}"
    r"|knock(?:s|ed|ing)?[- ]?outs?|head[- ]?locks?|haymakers?|roundhouses?|karateka|judoka"
    r"|brawl\w*|(?<!arm )wrestl\w*|duel(?:s|ed|ing|ling|led)?|combat\w*|tortur\w*|lynch\w*"
    r"|behead\w*|rap(?:e|es|ed|ing)|muay thai|krav maga|boxt|schlagen|prügel\w*"
    r"|(?:hand|shot)?guns?|rifles?|pistols?|revolvers?|weapons?|machetes?|bayonets?|daggers?"
    r"|grenades?)\b"
)
_HARMLESS: Final = re.compile(
    r"\b(?:beat(?:s|ing)? (?:an? |the |some )?(?:\w+ )?(?:eggs?|drums?|carpets?|rugs?|dough|cream"
    r"|batter|heat|clock|traffic|rhythm|tambourine|dust)"
    r"|str(?:ike|ikes|iking|uck) (?:an? |the )?(?:match(?:es)?|balance|chords?|notes?|bells?|gongs?"
    r"|poses?|keys?)"
    r"|kill(?:s|ing)? (?:the |some )?(?:time|lights?|engine|hour)|sword danc\w*"
    r"|f(?:ight|ights|ighting|ought) (?:for|to keep|to regain) (?:\w+ )?(?:balance|breath|footing)"
    r"|f(?:ight|ights|ighting|ought) (?:the |off |against )*(?:sleep|wind|cold|gravity|tears)"
    r"|(?:glue|nail|water|spray|heat|massage|price) guns?"
    r"|hit(?:s|ting)? (?:an? |the )?(?:\w+ )?(?:balls?|drums?|nails?|buttons?|keys?|puck"
    r"|shuttlecock)(?: hard)?"
    r"|(?:on|onto|to|from|off|over) (?:an?|the) (?:left|right) hooks?"
    r"|push\w* (?:an? |the )?(?:child|person|man|woman|one) (?:on|in) (?:an? |the )?"
    r"(?:swing|wheelchair|stroller|pram|cart|sled)"
    r"|(?:touch|bring|rais|lift|pull|rest|plac|put|press|bend|tuck|lean)\w* (?:\w+ ){0,4}"
    r"(?:knee|elbow|fist)s?(?!.*(?:opponent|enemy|some(?:one|body)|attacker|victim)))\b"
)
_WITHIN_WORD: Final = re.compile(r"(?<=\w)[^\w\s']+(?=\w)")
_SPELLED: Final = re.compile(r"\b(?:\w ){2,}\w\b")


def asks_for_violence(text: str) -> bool:
    """Whether a request describes violence in words, also if they are spelled with hyphens."""
    letters = unicodedata.normalize("NFKC", text).lower()
    letters = "".join(c for c in letters if unicodedata.category(c) != "Cf")
    joined = _WITHIN_WORD.sub("", letters)
    spelled = _SPELLED.sub(lambda found: found[0].replace(" ", ""), letters)
    split = _WITHIN_WORD.sub(" ", letters)
    return any(_violent(form) for form in (text, letters, joined, spelled, split))


def _violent(text: str) -> bool:
    """Whether a text describes violence, apart from idioms."""
    spaced = " ".join(text.split())
    rest = _HARMLESS.sub(" ", spaced)
    return is_violent(rest) or _VIOLENT.search(" ".join(rest.split())) is not None

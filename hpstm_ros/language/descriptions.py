"""Descriptions of the library's clips, in several phrasings, from texts and labels of the packs.

Sources: the CMU text of a trial (or of its subject), the sentences of the KIT Motion-Language data
set for 529 trials, and phrases for the labels of the Bandai-Namco and CMU action packs. Compound
descriptions are split by rules (commas, "then", "and" before a verb) with a list of the verbs that
occur, without a part-of-speech tagger.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import load_json
from pallas_ros.files.npz import load_npz

SENTENCES: Final = "cmu_sentences.json"

LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "raise-up-left-hand": (
        "raise the left hand",
        "lift the left arm",
        "reach up with the left hand",
    ),
    "raise-up-right-hand": (
        "raise the right hand",
        "lift the right arm",
        "reach up with the right hand",
    ),
    "raise-up-both-hands": (
        "raise both hands",
        "lift both arms",
        "reach up with both hands",
        "arms raised",
    ),
    "wave-left-hand": ("wave the left hand", "wave with the left arm"),
    "wave-right-hand": ("wave the right hand", "wave with the right arm"),
    "wave-both-hands": ("wave both hands", "wave with both arms"),
    "walk-turn-left": ("walk and turn left", "walk, turn to the left"),
    "walk-turn-right": ("walk and turn right", "walk, turn to the right"),
    "walk": ("walk", "walk forward"),
    "walk-back": ("walk backward", "step back"),
    "walk-left": ("walk to the left", "step sideways to the left"),
    "walk-right": ("walk to the right", "step sideways to the right"),
    "run": ("run", "run forward"),
    "dash": ("dash", "run fast"),
    "bow": ("bow", "bend the upper body forward to bow"),
    "bye": ("wave goodbye", "wave the hand to say goodbye"),
    "byebye": ("wave goodbye", "wave the hand to say goodbye"),
    "guide": ("guide someone", "show the way with the hand"),
    "call": ("call someone over", "beckon with the hand"),
    "punch": ("punch", "throw a punch"),
    "slash": ("slash with a sword", "slash"),
    "kick": ("kick",),
    "dance-short": ("dance",),
    "respond": ("respond", "nod in response"),
    "basketball": ("play basketball", "dribble and throw a ball"),
    "basketball_signal": ("give basketball referee signals with the arms",),
    "directing_traffic": ("direct traffic with the arms", "signal to traffic"),
    "jumping": ("jump",),
    "running": ("run",),
    "soccer": ("kick a soccer ball", "play soccer"),
    "walking": ("walk",),
    "walking_extra": ("walk",),
    "washwindow": ("wash a window", "wipe a window with the hand"),
}
"""Phrases for the labels of `bandai_namco` and `cmu_actions`."""

STYLES: Final[Mapping[str, str]] = {
    "active": "actively",
    "feminine": "in a feminine way",
    "youthful": "youthfully",
    "masculine": "in a masculine way",
    "masculinity": "in a masculine way",
    "exhausted": "exhaustedly",
    "tired": "tiredly",
    "elderly": "like an elderly person",
    "old": "like an old person",
    "angry": "angrily",
    "childish": "childishly",
    "chimpira": "like a thug",
    "giant": "like a giant",
    "happy": "happily",
    "musical": "rhythmically",
    "not-confident": "without confidence",
    "proud": "proudly",
    "sad": "sadly",
}

_EMPTY: Final = re.compile(
    r"unknown|story|clean|no movie"
    r"|movie and trial dont match|bad amc|\d+ \d+\.amc|lost marker|sequesnce"
    r"|(dynamic |subject )?calibration|motion|long ?sequence ?good"
    r"|bad start sequnce|alaskan? vacation|start"
    r"|up ?right ?sequence",
)
"""Texts that do not describe the motion ("story" shows all kinds of gestures)."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERBS: Final = _words(
    """act adjust answer attack avoid balance bang bend boil bounce bow box brush buy call carry
    cartwheel cast catch chop chug clap clean climb close coil comb come comfort crawl creep
    crouch cry curtsey cut dance dash dial dig direct dive drag dribble drink drive drop drum
    duck eat explain fall fidget fish flex flip follow freeze get give go grab guide hammer hang
    high-five hike hit hobble hold hop investigate jab jog jump kick kneel knock laugh lay lean
    leap lie lift limp link loosen look lower lunge make march mix moonwalk mope move navigate
    nod open overstep paint pass pause peep perform pick pivot plant play point poke pound pull
    punch push put quarrel raise rake reach respond rest roll rotate row run rush say saw screw
    search sew shake shave shelter shoot show shrug shuffle sidestep signal sing sip sit skip
    slash slice slide slip sneak spin squat stand stare start step stop strafe stretch stroll
    stumble swat sweep swim swing take talk teach throw tighten tiptoe touch trip turn twist
    type unscrew vacuum veer walk wander wash wave weave whirl whistle wipe work write yawn"""
)
"""Verbs that occur in the descriptions; used to split compounds and to inflect phrases."""
_IRREGULAR: Final = {"lie": "lying", "get": "getting", "put": "putting", "wave": "waving"}
_DOUBLED: Final = _words(
    """bat chop clap cut dig drag drop drum flip get grab hit hop jab jog knot nod plan put rub run
    shrug sip sit skip slip spin squat step stop swim tap tip trip"""
)
_SUBJECT: Final = re.compile(
    r"^(?:(?:an?|the|i|one) )?(?:\w+ )?"
    r"(?:person|human|man|woman|subject|character|people|child|someone|somebody)"
    r"(?: [ab])?\s+(?:is |are |who is )?|^(?:he|she|it)\s+(?:is )?"
)
_MOVES: Final = "walk|run|jump|hop|dance|turn|crawl|swim|march"
_MANNER: Final = re.compile(rf"^([a-z-]+(?: [a-z-]+)?) ({_MOVES})$")
"""A manner and an action: "shy walk", "too cool walk"."""
_KARATE: Final[Mapping[str, str]] = {
    "yokogeri": "karate side kick",
    "mawashigeri": "karate roundhouse kick",
    "gedanbarai": "karate low block",
    "oiduki": "karate lunge punch",
    "syutouuke": "karate knife-hand block",
    "bassai": "karate kata with kicks and punches",
    "empi": "karate kata with kicks and punches",
    "heiansyodan": "karate kata with blocks and punches",
}


class Labelled(Protocol):
    """Interface of a clip with labels, such as `pallas_ros.data.library.LibraryClip`."""

    @property
    def pack(self) -> str:
        """Name of the pack."""
        ...

    @property
    def name(self) -> str:
        """Name of the clip; in `cmu_full` ``SS_TT`` or ``SS_TT.N``."""
        ...

    @property
    def content(self) -> str:
        """Content label of the pack."""
        ...

    @property
    def style(self) -> str:
        """Style label of the pack."""
        ...


@dataclass(frozen=True)
class Description:
    """A description of a clip.

    Attributes:
        text: the original description, cleaned.
        phrasings: paraphrases, including ``text``.
        sentence: whether it is a sentence written by a person who saw the motion.
        meaning: key shared by texts of equal meaning (the relevant words, in order).
    """

    text: str
    phrasings: tuple[str, ...]
    sentence: bool
    meaning: str

    @property
    def first(self) -> str:
        """The first action of a compound description."""
        return first_action(self.text)


@dataclass(frozen=True)
class Descriptions:
    """The descriptions for the packs of a data folder.

    Attributes:
        trials: CMU text by clip name.
        sentences: KIT sentences by trial.
    """

    trials: Mapping[str, str] = field(default_factory=dict)
    sentences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path) -> "Descriptions":
        """Read the texts in a data folder; missing files are skipped.

        Raises:
            PallasError: a file is damaged.
        """
        folder = Path(folder)
        trials = {}
        sentences = {}
        if (pack := folder / "cmu_full.npz").is_file():
            arrays = load_npz(pack, "motion pack", only=("clip", "text"))
            if not {"clip", "text"} <= arrays.keys():
                raise PallasError(
                    f"{pack}: it contains no 'clip' and 'text'; give the motion pack cmu_full"
                )
            trials = {str(c): str(t) for c, t in zip(arrays["clip"], arrays["text"])}
        if (path := folder / SENTENCES).is_file():
            rows = load_json(path, "mapping of trials to sentences")
            if not isinstance(rows, dict):
                raise PallasError(f"{path}: not a mapping of trials to sentences")
            sentences = {
                str(trial): tuple(str(s) for s in row)
                for trial, row in rows.items()
                if isinstance(row, list)
            }
        return cls(trials, sentences)

    def of(self, clip: Labelled) -> tuple[Description, ...]:
        """Descriptions of a clip, sentences written by people first; empty if there are none."""
        if clip.pack != "cmu_full":
            return label_descriptions(clip.content, clip.style)
        found = [
            describe(clean, sentence=True)
            for text in self.sentences.get(clip.name.split(".")[0], ())
            if (clean := clean_text(text))
        ]
        if text := clean_text(self.trials.get(clip.name, ""), clip.content):
            found.append(describe(text))
        return tuple(found)


def label_descriptions(content: str, style: str = "") -> tuple[Description, ...]:
    """Descriptions for a label of `bandai_namco` or `cmu_actions`; empty for other labels."""
    phrases = LABELS.get(content, ())
    if not phrases:
        return ()
    how = STYLES.get(style, "")
    plain = tuple(p for phrase in phrases for p in phrasings(phrase))
    styled = tuple(f"{p} {how}" for p in plain) if how else ()
    return (Description(phrases[0], plain + styled, False, meaning(phrases[0])),)


def describe(text: str, *, sentence: bool = False) -> Description:
    """Make a description from a cleaned text."""
    return Description(text, phrasings(text), sentence, meaning(text))


def clean_text(text: str, content: str = "") -> str:
    """Convert a text of a pack to plain words; empty if it does not describe the motion.

    Args:
        text: as in the pack ("Left_Front_Kicking001", "monkey (human subject)").
        content: description of the subject, used if the text is only a number or an animal.
    """
    animal = "(human subject)" in text or content.startswith("animal behaviors")
    if "subjects" in text:
        text = re.sub(r"\b([AB])\b", r"person \1", text)
    asides = r"\((?=[^()]*\))[^()]*subject[^()]*\)|cleaned ?grs"
    text = re.sub(asides, "", text, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " ")).lower()
    text = re.sub(r"(?<=[a-z])\s*8s?$", " in a figure eight", text)
    text = re.sub(r"(?<=[a-z])\d+$", "", text)  # 001 counts the trials
    text = " ".join(text.strip(" .,;").split())
    text = _KARATE.get(text, text)
    if not text or _EMPTY.fullmatch(text):
        return ""
    if re.fullmatch(r"\d+", text):
        return f"jump and turn {text} degrees" if "turn" in content else ""
    if animal and not _verb(text):
        return f"act like {'an' if text[0] in 'aeiou' else 'a'} {text}"
    if re.search("walk(s|ing styles)$", content, re.IGNORECASE) and re.fullmatch("[a-z]+", text):
        return text if _base(text) else f"{text} walk"
    return text


def phrasings(text: str) -> tuple[str, ...]:
    """Paraphrases of a description: the original, "a person walks", "walking" and others."""
    bare = _SUBJECT.sub("", text)
    if manner := _MANNER.match(bare):
        how, move = manner.groups()
        plain = how in ("forward", "backward", "sideways", "fast", "slow", "high")
        bare = f"{move} {how}" if plain else f"{move} in a {how} way"
    forms = [text]
    if _verb(bare):
        forms += [
            _inflect(bare, lambda verb: verb),
            f"a person {_inflect(bare, third_person)}",
            _inflect(bare, gerund),
            f"someone is {_inflect(bare, gerund)}",
        ]
    return tuple(dict.fromkeys(forms))


def actions(text: str) -> tuple[str, ...]:
    """The parts of a compound description, in order."""
    parts = re.split(
        r"\s*(?:[,;+]|\bbefore\b|\bwhile\b|\bafter that\b|\bthen\b|\bfollowed by\b)\s*", text
    )
    split: list[str] = []
    for part in parts:
        pieces = re.split(r"\s+(?:and|&)\s+", part)
        for piece in pieces:
            if split and piece in pieces[1:] and not _verb(piece):
                split[-1] += f" and {piece}"  # "hands and arms" is one action
            else:
                split.append(piece)
    cleaned = [re.sub(r"^(?:and|then)\s+", "", part.strip(" .")) for part in split]
    return tuple(part for part in cleaned if part)


def first_action(text: str) -> str:
    """The first action of a compound description ("sit, stand up": "sit")."""
    return (actions(text) or (text,))[0]


def meaning(text: str) -> str:
    """Key shared by texts of equal meaning: the relevant words, with uninflected verbs."""
    bare = _SUBJECT.sub("", text)
    words = [_base(word) or word for word in re.findall(r"[a-z]+|\d+", bare)]
    return " ".join(word for word in words if word not in _SMALL)


_SMALL: Final = _words("a an the his her their its with of on in to and is are be person")


def third_person(verb: str) -> str:
    """Third person singular of a verb: "walks" for "walk"."""
    if re.search(r"(s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + "s"


def gerund(verb: str) -> str:
    """Gerund of a verb: "walking" for "walk"."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    if re.search(r"[^eo]e$", verb):
        return verb[:-1] + "ing"
    return verb + "ing"


_FORMS: Final = {form(verb): verb for verb in sorted(VERBS) for form in (third_person, gerund)} | {
    verb: verb for verb in VERBS
}


def _base(word: str) -> str | None:
    return _FORMS.get(word.lower())


def _verb(text: str) -> str | None:
    """The verb a phrase begins with (after an adverb), uninflected."""
    words = text.split()[:2]
    if len(words) > 1 and words[0].endswith("ly"):
        words = words[1:]
    return _base(words[0].strip(",.;")) if words else None


def _inflect(text: str, form: Callable[[str], str]) -> str:
    """The text with each action's leading verb in another form."""

    def one(match: re.Match[str]) -> str:
        verb = _base(match.group(2))
        return match.group(1) + (form(verb) if verb else match.group(2))

    return re.sub(r"(^(?:\w+ly )?|, (?:and |then )?| and | then )([A-Za-z-]+)", one, text)

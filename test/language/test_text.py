"""The frozen encoders, the explicit features, and the wording of descriptions."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from hpstm_ros.language import encoder
from hpstm_ros.language.descriptions import (
    Descriptions,
    actions,
    clean_text,
    first_action,
    label_descriptions,
    meaning,
    phrasings,
)
from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.language.features import FEATURES, encode_features, explicit_features, mirror
from pallas_ros.body.errors import PallasError


@dataclass(frozen=True)
class Clip:
    """Labels of a clip."""

    pack: str
    name: str
    content: str = ""
    style: str = ""


def named(text: str) -> set[str]:
    return {name for name, value in zip(FEATURES, explicit_features(text)) if value}


def test_minilm_gives_the_published_similarity() -> None:
    encoder = TextEncoder.default()
    a, b, c = encoder.encode(
        ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    )
    # the example of the model's card: 0.943 and 0.257 by sentence-transformers
    assert a @ b == pytest.approx(0.943, abs=2e-3)
    assert a @ c == pytest.approx(0.257, abs=2e-3)


def test_vectors_do_not_depend_on_the_rest_of_the_batch() -> None:
    encoder = TextEncoder.default()
    texts = ["walk", "a person raises the left hand and then waves", "golf swing"]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    tokens = encoder.tokens(texts)
    assert tokens.features.shape == (3, tokens.mask.shape[1], 384)
    assert tokens.words[2] == ("[CLS]", "golf", "swing", "[SEP]")
    assert not tokens.features[~tokens.mask].any()


@pytest.mark.parametrize("text", ["", "  \n", "?!", "walk " * 300, "text \udcff"])
def test_texts_that_say_nothing_or_too_much_are_refused(text: str) -> None:
    with pytest.raises(PallasError, match="text"):
        TextEncoder.default().encode([text])


def tiny_clip(folder: Path, width: int = 16, layers: int = 2) -> Path:
    """A randomly initialised CLIP text tower in transformers format."""
    words = ["<pad>", "walk", "run", "left", "<start>", "<end>"]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 4), ("<end>", 5)]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "layer_norm_eps": 1e-5,
        "hidden_act": "quick_gelu",
        "eos_token_id": 5,
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": config}))
    shapes = {
        "embeddings.token_embedding": (len(words), width),
        "embeddings.position_embedding": (77, width),
        "final_layer_norm": (width,),
    }
    for i in range(layers):
        at = f"encoder.layers.{i}"
        shapes |= {f"{at}.self_attn.{n}_proj": (width, width) for n in ("q", "k", "v", "out")}
        shapes |= {f"{at}.layer_norm{n}": (width,) for n in (1, 2)}
        shapes |= {f"{at}.mlp.fc1": (4 * width, width), f"{at}.mlp.fc2": (width, 4 * width)}
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"text_model.{name}.weight"] = random.normal(size=shape).astype(np.float32)
        if "embedding" not in name:
            tensors[f"text_model.{name}.bias"] = random.normal(size=shape[:1]).astype(np.float32)
    tensors["text_projection.weight"] = random.normal(size=(width, width)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_local_clip_folder_has_the_same_interface(tmp_path: Path) -> None:
    encoder = TextEncoder(tiny_clip(tmp_path / "clip"))
    vectors = encoder.encode(["walk left", "run", "walk left"])
    assert vectors.shape == (3, encoder.width) == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    # attention is causal: what comes after a token does not change its state
    first, second = encoder.tokens(["walk left", "walk run"]).features
    np.testing.assert_allclose(first[:2], second[:2], atol=1e-5)


def test_damaged_encoders_are_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PallasError, match="do not match"):
        TextEncoder(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(PallasError, match="bert or clip"):
        TextEncoder(folder)
    with pytest.raises(PallasError, match="no such file"):
        TextEncoder(tmp_path)


def test_sides_belong_to_limbs_or_ways() -> None:
    assert "left_arm" in named("raise the left hand")
    assert {"right_arm", "left_leg"} <= named("punch with the right fist, kick with the left leg")
    assert named("walk, turn left") == {"left_way", "turn"}
    assert "both_arm" in named("wave with both hands")
    assert "three_times" in named("jump three times")
    assert "left_leg" in named("Left_Front_Kicking001")
    assert encode_features([]).shape == (0, len(FEATURES))


def test_mirrored_text_swaps_the_sides() -> None:
    assert mirror("Raise the Left hand, turn RIGHT") == "Raise the Right hand, turn LEFT"
    assert mirror("walk counterclockwise") == "walk clockwise"
    assert mirror("a counter clockwise circle") == "a clockwise circle"
    assert mirror("turn anti-clockwise") == "turn clockwise"
    assert mirror("the copyright is leftover") == "the copyright is leftover"
    left = explicit_features("kick with the left leg")
    right = explicit_features("kick, right leg")
    assert (left != right).any()


@given(st.lists(st.sampled_from(["left", "right", "walk", "clockwise", "turn", "the"]), max_size=8))
def test_mirroring_twice_changes_nothing(words: list[str]) -> None:
    text = " ".join(words)
    assert mirror(mirror(text)) == text


@pytest.mark.parametrize(
    ("text", "content", "expected"),
    [
        ("Left_Front_Kicking001", "", "left front kicking"),
        ("monkey (human subject)", "", "act like a monkey"),
        (
            "A pulls B; B resists (2 subjects - subject A)",
            "",
            "person a pulls person b; person b resists",
        ),
        ("ZombieWalk8", "", "zombie walk in a figure eight"),
        ("Childish", "Stylized Walks", "childish walk"),
        ("90", "walks and turns", "jump and turn 90 degrees"),
        ("Unknown", "", ""),
        ("106_15.amc", "", ""),
    ],
)
def test_texts_are_cleaned(text: str, content: str, expected: str) -> None:
    assert clean_text(text, content) == expected


@pytest.mark.parametrize("part", ["(", "(subject", "subject", " ", "and ", "1"])
def test_a_long_text_is_cleaned_in_proportion_to_its_length(part: str) -> None:
    begun = time.process_time()
    clean_text("walk (subject" + part * (50_000 // len(part)))
    assert time.process_time() - begun < 2


def test_descriptions_are_phrased_in_several_ways() -> None:
    assert phrasings("walk, turn in place") == (
        "walk, turn in place",
        "a person walks, turns in place",
        "walking, turning in place",
        "someone is walking, turning in place",
    )
    assert "run" in phrasings("a person is running")
    assert "walk in a shy way" in phrasings("shy walk")
    assert meaning("a human walks to the left") == meaning("walking left")


def test_the_first_action_of_a_compound() -> None:
    assert first_action("sit on stepstool, stand up") == "sit on stepstool"
    assert actions("walk and turn, then wave both hands and arms") == (
        "walk",
        "turn",
        "wave both hands and arms",
    )


def test_descriptions_of_clips(tmp_path: Path) -> None:
    np.savez(tmp_path / "cmu_full.npz", clip=["12_01.1", "12_02"], text=["walk", "Unknown"])
    (tmp_path / "cmu_sentences.json").write_text('{"12_01": ["A person walks slowly."]}')
    known = Descriptions.open(tmp_path)
    first = known.of(Clip("cmu_full", "12_01.1"))
    assert [d.text for d in first] == ["a person walks slowly", "walk"]
    assert [d.sentence for d in first] == [True, False]
    assert known.of(Clip("cmu_full", "12_02")) == ()
    (wave,) = known.of(Clip("bandai_namco", "x", "wave-left-hand", "happy"))
    assert "a person waves the left hand happily" in wave.phrasings
    assert label_descriptions("no-such-label") == ()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"eos_token_id": None}, "not the configuration"),
        ({"eos_token_id": float("inf")}, "not the configuration"),
        ({"num_hidden_layers": float("inf")}, "not the configuration"),
        ({"num_attention_heads": None}, "not the configuration"),
        ({"num_attention_heads": 32}, "heads"),
        ({"layer_norm_eps": float("inf")}, "not possible"),
    ],
)
def test_invalid_configurations_are_one_sentence(
    tmp_path: Path, changed: dict[str, object], match: str
) -> None:
    folder = tiny_clip(tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(changed)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PallasError, match=match):
        TextEncoder(folder)


def test_a_configuration_without_text_is_one_sentence(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    (folder / "config.json").write_text('{"model_type": "clip", "text_config": null}')
    with pytest.raises(PallasError, match="not the configuration"):
        TextEncoder(folder)


@pytest.mark.parametrize(("name", "rows"), [("position", 5), ("token", 4)])
def test_tables_that_are_too_small_are_refused(tmp_path: Path, name: str, rows: int) -> None:
    folder = tiny_clip(tmp_path / "clip")
    tensors = load_file(folder / "model.safetensors")
    key = f"text_model.embeddings.{name}_embedding.weight"
    tensors[key] = np.ascontiguousarray(tensors[key][:rows])
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(PallasError, match=f"{rows} (positions|words)"):
        TextEncoder(folder)


def replacing(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


TEXT_A = {"Sequence": {"id": "A", "type_id": 0}}


def template(single: list[object], *special: object) -> dict[str, object]:
    tokens = dict(zip("ef", special))
    kind = "TemplateProcessing"
    return {
        "post_processor": {"type": kind, "single": single, "pair": [], "special_tokens": tokens}
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"normalizer": replacing({"String": "c"}, "cc")},
        {"normalizer": replacing({"String": "c"}, "\ufdfa")},
        {"normalizer": replacing({"Regex": "x*"}, " ")},
        {"normalizer": {"type": "Prepend", "prepend": "c"}},
        {"normalizer": {"type": "ByteLevel"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 17}},
        {"normalizer": 3},
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
                ]
                * 2,
            }
        },
        template([TEXT_A] * 1000),
        template([TEXT_A] * 2),
        template([TEXT_A], {"id": "e", "ids": [0] * 200, "tokens": ["e"] * 200}),
        template([TEXT_A], {"id": "e", "ids": [], "tokens": []}),
        template([TEXT_A], 3),
        {"normalizer": {"type": []}},
        {"pre_tokenizer": {"type": {}}},
        {"post_processor": {"type": ["ByteLevel"]}},
    ],
)
def test_tokenizers_that_multiply_a_text_are_refused(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    """Regression: twenty replacements of c by cc made a text of a gigabyte."""
    folder = tiny_clip(tmp_path / "clip")
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(PallasError, match=r"not supported|too many steps"):
        TextEncoder(folder)


def test_an_encoding_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = TextEncoder(tiny_clip(tmp_path / "clip"))
    monkeypatch.setattr(encoder, "MAX_TOKENS", 3)
    with pytest.raises(PallasError, match="4 tokens for a text, more than 3"):
        found.tokens(["walk left"])


def test_the_steps_of_clips_tokenizer_are_taken(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    path = folder / "tokenizer.json"
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    changed = {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                replacing({"Regex": r"\s+"}, " "),
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": pattern},
                    "behavior": "Removed",
                    "invert": True,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            ],
        },
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    assert TextEncoder(folder).tokens(["Walk Left"]).words == (
        ("<start>", "walk", "left", "<end>"),
    )

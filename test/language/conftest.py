"""A small corpus of synthetic motion, and an untrained alignment with a replacement for MiniLM."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from language_samples import CONTENTS, WIDTH, StandIn, encode, swinging

from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.alignment.movement import movement
from hpstm_ros.language.descriptions import label_descriptions, meaning
from hpstm_ros.language.features import encode_features, mirror
from hpstm_ros.model.alignment import Alignment, AlignmentConfig
from hpstm_ros.train.alignment.corpus import Clip, Corpus
from hpstm_ros.train.alignment.released import export
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.data.library import LibraryClip


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """40 clips of eight contents; a quarter is for validation."""
    parts = []
    clips = []
    known = {}
    start = 0
    names = list(JOINT_INDEX)
    for i in range(40):
        content = CONTENTS[i % len(CONTENTS)]
        moved = movement(swinging((names[4 + i % 16],), 3.0 + i % 3))
        (description,) = label_descriptions(content)
        texts = description.phrasings[:3]
        ids = [known.setdefault(t, len(known)) for t in texts]
        flipped = [known.setdefault(mirror(t), len(known)) for t in texts]
        split = "validation" if i % 4 == 3 else "train"
        labels = LibraryClip("bandai_namco", f"clip{i}", content, "", split, 0, len(moved))
        stop = start + len(moved)
        clips.append(Clip(labels, start, stop, tuple(ids), 1, tuple(flipped)))
        parts.append(moved)
        start = stop
    numbers: dict[str, int] = {}
    texts = list(known)
    return Corpus(
        clips,
        np.concatenate([m.features for m in parts]).astype(np.float16),
        np.concatenate([m.points for m in parts]),
        np.concatenate([m.heading for m in parts]),
        texts,
        encode(texts),
        encode_features(texts),
        np.array([numbers.setdefault(meaning(t), len(numbers)) for t in texts]),
    )


@pytest.fixture(scope="session")
def model() -> Alignment:
    """A small untrained network."""
    torch.manual_seed(0)
    return Alignment(AlignmentConfig(width=16, dim=12, parts=2, sentence=WIDTH)).eval()


@pytest.fixture(scope="session")
def model_file(model: Alignment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported network."""
    document = {
        "calibration": {"text": [4.0, 0.0], "scene": [1.0, 1.0, 1.0, -2.0, -2.0, -2.0, 0.0]}
    }
    return export(model, tmp_path_factory.mktemp("alignment"), document)


@pytest.fixture(scope="session")
def aligner(model_file: Path) -> Aligner:
    """The opened network."""
    return Aligner(model_file, StandIn())  # type: ignore[arg-type]

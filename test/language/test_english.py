"""Requests in other languages are recognised, and English ones are not mistaken for them."""

import pytest

from hpstm_ros.language.english import _ENGLISH, _FOREIGN, is_english
from pallas_ros.body.resources import resource
from pallas_ros.files.npz import load_npz


@pytest.mark.parametrize(
    "text",
    [
        "mit der rechten Hand winken",
        "Eine Person geht vorwärts",
        "saluer de la main droite",
        "marcher en avant",
        "agitar la mano derecha",
        "salutare con la mano",
        "acenar com a mão direita",
        "ga vooruit en zwaai met de hand",
        "человек идёт вперёд",
        "右手を振る",
    ],
)
def test_other_languages_are_recognised(text):
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "wave with the right hand",
        "dance a pas de deux",
        "do tai chi",
        "en garde position",
        "la la la",
        "dance the cha-cha in a café",
        "walk",
    ],
)
def test_english_is_not_taken_for_another_language(text):
    assert is_english(text)


def test_every_description_of_the_training_is_english():
    texts = load_npz(resource("models/hpstm_gen_texts.npz"), "texts")["texts"]
    assert [str(t) for t in texts if not is_english(str(t))] == []


def test_no_word_is_in_both_lists():
    assert not _FOREIGN & _ENGLISH

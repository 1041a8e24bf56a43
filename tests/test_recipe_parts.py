"""Control nets and LoRAs as texts on the command line and tables in a recipe file."""

from __future__ import annotations

import pytest

from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control, Lora


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("canny", Control(kind="canny")),
        ("canny@.8", Control(kind="canny", scale=0.8)),
        ("tile:lllyasviel/tile@1", Control(kind="tile", model="lllyasviel/tile", scale=1)),
        ("pose:me@home/net", Control(kind="pose", model="me@home/net")),
        (
            "pose:net@0.6,hints=my poses.mp4,end=0.8,branches=text",
            Control(
                kind="pose", model="net", scale=0.6, hints="my poses.mp4", end=0.8, branches="text"
            ),
        ),
    ],
)
def test_a_control_net_is_read_from_its_text(text, value):
    assert Control.parse(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("look.safetensors", Lora(model="look.safetensors")),
        ("look.safetensors@-0.5", Lora(model="look.safetensors", weight=-0.5)),
        ("me/look@0.7,file=a.safetensors", Lora(model="me/look", weight=0.7, file="a.safetensors")),
    ],
)
def test_a_lora_is_read_from_its_text(text, value):
    assert Lora.parse(text) == value


def test_texts_and_tables_make_equal_recipes():
    texts = Recipe(instruction="x", control=["canny:net@0.4"], lora=["a@2"])  # type: ignore[arg-type]
    tables = Recipe.from_dict(
        {
            "instruction": "x",
            "control": [{"kind": "canny", "model": "net", "scale": 0.4}],
            "lora": [{"model": "a", "weight": 2}],
        }
    )
    assert texts == tables
    assert texts.fingerprint() == tables.fingerprint()

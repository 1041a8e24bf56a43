"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

import ip2p_batch

ROOT = Path(ip2p_batch.__file__).parent
MODULES = sorted(
    ".".join(("ip2p_batch", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.attempted and not results.failed

"""The compiled loops compute what their formulas say."""

import numba
import numpy as np
import pytest

from ip2p_batch.transfer import kernels


def test_luma_weighs_the_colours_as_bt601():
    red, green, blue = (np.full((2, 3), v, np.uint8) for v in (255, 0, 0))
    assert kernels.luma(red, green, blue, np.float32(1 / 255)) == pytest.approx(0.299)


def test_products_are_those_of_the_matrices():
    rng = np.random.default_rng(0)
    rows, others = rng.random((50, 4), dtype=np.float32), rng.random((50, 2), dtype=np.float32)
    assert np.allclose(kernels.products(rows, others), rows.T @ others, rtol=1e-5)
    assert np.array_equal(kernels.gram(rows), kernels.products(rows, rows))


def test_a_folder_without_write_access_only_costs_the_cache(monkeypatch):
    compile_function = numba.njit

    def refuse(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_function(**options)

    monkeypatch.setattr(numba, "njit", refuse)
    assert kernels.compiled(lambda x: x + 1)(1) == 2

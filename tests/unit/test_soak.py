"""What counts as growing: a line that rises after the warm-up, and nothing else."""

import pytest

from bench.soak import growth_mb


def test_what_rises_while_it_warms_up_and_then_stays_does_not_grow():
    had = [(second, min(50.0 + second, 70.0)) for second in range(100)]
    assert growth_mb(had) == pytest.approx(0, abs=0.01)


def test_what_leaks_grows_by_what_it_leaks_after_the_warm_up():
    had = [(second, 50.0 + second / 10 + second % 2) for second in range(100)]
    assert growth_mb(had) == pytest.approx(6.7, abs=0.2)

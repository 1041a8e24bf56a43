"""A fixed number of broken files of every kind; `make fuzz` runs for a given time."""

import pytest

from . import fuzz, seeds

#: Of each kind. About 0.15 s a case.
_CASES = 4


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_broken_files_come_out_or_are_refused_and_never_crash_or_hang():
    cases = [(kind, seed) for seed in range(_CASES) for kind in seeds.KINDS]
    faults, counts = fuzz.hunt(cases)
    assert not faults, "\n".join(map(str, faults))
    assert sum(counts.values()) == len(cases)
    # Neither is everything refused, nor nothing: the mutations hit, and do not only destroy.
    assert counts["refused"] > 5 and counts["edited"] + counts["warned"] > 5


def test_a_case_is_the_same_each_time():
    assert fuzz.case("png", 7) == fuzz.case("png", 7) != fuzz.case("png", 8)


def test_a_hang_and_a_dead_process_are_noticed_and_the_next_case_runs():
    faults, counts = fuzz.hunt([("png", 0), ("png", 1)], seconds=0)
    assert [f.seed for f in faults] == [0, 1] and all("hangs" in f.what for f in faults)
    assert counts == {"fault": 2}
    child = fuzz._Child()
    child._process.kill()
    child._process.wait()
    try:
        assert "-9" in child.run("png", 0, 60)
    finally:
        child.close()

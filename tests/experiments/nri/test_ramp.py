import pytest

from sstricks.experiments.nri.ramp import Ramp


def test_no_ramp_is_the_paper_s_decoder_from_the_first_step():
    assert Ramp()(0) == 1


def test_rises_in_a_straight_line_after_the_hold():
    ramp = Ramp(hold=10, length=4)
    assert [ramp(step) for step in (0, 9, 10, 11, 12, 13, 14, 10_000)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_without_length_it_jumps():
    assert [Ramp(hold=3)(step) for step in (2, 3)] == [0, 1]


@pytest.mark.parametrize("name", ["hold", "length"])
def test_negative_numbers_of_steps_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is -1"):
        Ramp(**{name: -1})

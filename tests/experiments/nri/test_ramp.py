import pytest

from sstricks.experiments.nri.ramp import Ramp
from sstricks.experiments.runs.decay import Decay


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


def test_the_rate_stays_and_then_declines_to_zero():
    decay = Decay(steps=100, share=0.3)
    assert [decay(step) for step in (0, 70, 85, 100)] == pytest.approx([1, 1, 0.5, 0])


def test_no_decline_keeps_the_rate():
    assert [Decay(steps=100)(step) for step in (0, 99, 100)] == [1, 1, 1]


def test_a_share_beyond_the_whole_is_refused():
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        Decay(steps=100, share=1.5)

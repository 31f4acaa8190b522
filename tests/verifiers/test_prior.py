"""The prior that is shipped."""

from __future__ import annotations

import pytest

from proxy.verifiers.features import NAMES
from proxy.verifiers.prior import from_members, read_prior


def test_it_speaks_of_every_feature_and_of_the_lapse():
    prior = read_prior()
    assert len(prior.mean) == len(prior.sd) == len(NAMES) + 1
    assert all(sd > 0 for sd in prior.sd)


def test_nearness_speaks_for_and_is_sure_to():
    prior = read_prior()
    place = NAMES.index("similarity")
    assert prior.mean[place] > 0


def test_one_that_lacks_a_feature_is_refused():
    with pytest.raises(KeyError):
        from_members({"mean": {"bias": 0.0}, "sd": {"bias": 1.0}})

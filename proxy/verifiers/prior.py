"""What is believed of a partition before it has labels: learned from public sets of labelled questions.

`prior.json` is made by `loadtests/train_prior.py`. The biases of sets differ widely and their other weights little: so
a partition finds out by a few labels whether matching by meaning is safe for it at all, and how far.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Final, NamedTuple

from proxy.verifiers.features import NAMES

LAPSE: Final = "lapse"
"""Logit of the share that is wrong however well all features look; stands behind the weights."""


class Prior(NamedTuple):
    """Independent normal distributions: of the weight of each feature, in the order of `features.NAMES`, then of the
    lapse."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]


def read_prior() -> Prior:
    """The one that is shipped."""
    text = resources.files("proxy.verifiers").joinpath("prior.json").read_text(encoding="utf-8")
    return from_members(json.loads(text))


def from_members(members: dict[str, dict[str, float]]) -> Prior:
    """From what `prior.json` holds: `{"mean": {name: number}, "sd": {...}}`. KeyError when a feature is missing."""
    names = (*NAMES, LAPSE)
    return Prior(tuple(members["mean"][name] for name in names), tuple(members["sd"][name] for name in names))

"""Make the prior of the learned policy from sets of labelled questions: `python loadtests/train_prior.py [FOLDER]`.

Each set has weights of its own, drawn from one normal distribution for each feature; that distribution is what is kept
(empirical Bayes, by expectation and maximisation with Laplace's approximation). `proxy/verifiers/prior.json` is of all
sets; `loadtests/priors.json` has one more for each set, made without it, with which `make quality` looks at that set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from quality_pairs import compared
from quality_sets import read
from quality_streams import Prepared, unserved
from quality_vectors import embed

from proxy.evidence import Comparison
from proxy.verifiers.features import NAMES, RISING, features
from proxy.verifiers.posterior import Belief, Evidence, Noise, fit
from proxy.verifiers.prior import LAPSE

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "proxy/verifiers/prior.json"
WITHOUT = ROOT / "loadtests/priors.json"
CACHE = ROOT / ".cache/quality"

SEED = 5
FEWEST, MOST = 100, 3000
"""Pairs of a set: with fewer it says nothing, and none is to outweigh the others."""
ROUNDS = 25
LEAST_SD = {"bias": 2.0, "similarity": 0.6}
LEAST_SD_OF_OTHERS = 0.6
"""A handful of sets does not show how far others may lie: questions to a bank have no use for the canonical tier, those
to an assistant live by it."""
LAPSE_PRIOR = (-3.6, 0.7)
"""Mean and sd of its logit: 0.7 % to 10 %, mostly about 2.7 %. Sets cannot tell it from mistakes in their labels, so it
is not learned from them."""
CLEAN = Noise(0.5, 999.5)
"""Labels of the sets are taken as they are."""


def main(folder: Path) -> None:
    sets = evidence_of(folder)
    names = sorted({name for name, _ in sets})
    SHIPPED.write_text(json.dumps(trained([each for _, each in sets]), indent=1) + "\n", encoding="utf-8")
    without = {name: trained([each for other, each in sets if other != name]) for name in names}
    WITHOUT.write_text(json.dumps(without, indent=1) + "\n", encoding="utf-8")


def evidence_of(folder: Path) -> list[tuple[str, Evidence]]:
    """Name and pairs of each set; of a set with two kinds of labels, both."""
    streams, pairs = read(folder)
    found: list[tuple[str, Evidence]] = []
    for stream in streams:
        prepared = Prepared(stream, embed(stream.texts, "int8", CACHE))
        found += _of(stream.name, unserved(prepared, stream.order(SEED)[:4000]))
    for each in pairs:
        found += _of(each.name, compared(each, "int8", CACHE))
    return found


def _of(name: str, labelled: list[tuple[Comparison, bool]]) -> list[tuple[str, Evidence]]:
    print(f"{name}: {len(labelled)} pairs")
    if len(labelled) < FEWEST:
        return []
    phi = np.array([features(comparison) for comparison, _ in labelled[:MOST]])
    right = np.array([float(right) for _, right in labelled[:MOST]])
    ones = np.ones(len(right))
    return [(name, Evidence(phi, right, ones, np.zeros(len(right), np.bool_), ones))]


def trained(sets: list[Evidence]) -> dict[str, dict[str, float]]:
    """Mean and sd of each feature's weight over the sets."""
    names = (*NAMES, LAPSE)
    mean, sd = np.zeros(len(names)), np.full(len(names), 1.5)
    least = np.array([LEAST_SD.get(name, LEAST_SD_OF_OTHERS) for name in NAMES])
    mean[-1], sd[-1] = LAPSE_PRIOR
    for _ in range(ROUNDS):
        found = [fit(each, Belief(mean.copy(), sd.copy(), CLEAN, CLEAN, RISING)) for each in sets]
        modes = np.array([each.weights for each in found])
        spreads = np.array([np.diag(each.spread)[: len(NAMES)] for each in found])
        mean[:-1] = modes.mean(0)
        sd[:-1] = np.sqrt(((modes - mean[:-1]) ** 2 + spreads).mean(0))
    sd[:-1] = np.maximum(sd[:-1], least)
    return {
        "mean": dict(zip(names, mean.round(3).tolist(), strict=True)),
        "sd": dict(zip(names, sd.round(3).tolist(), strict=True)),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "../shared/data")

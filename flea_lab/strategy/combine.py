"""Independent alphas into one conviction."""

from math import nan

from flea_lab.compiled import compiled
from flea_lab.signal.kernel import Floats


@compiled
def combine(opinions: Floats, weights: Floats, min_confidence: float) -> float:
    """Weighted mean of direction x confidence over the alphas that are confident enough, in [-1, 1].

    `opinions` has shape `(n_alphas, 2)`: direction, confidence. NaN while any alpha is not ready, 0 when none is
    confident. Weights of the alphas left out do not count in the mean. Source: the brief's strategy engine.
    """
    total = 0.0
    weight = 0.0
    for k in range(opinions.shape[0]):
        direction, confidence = opinions[k, 0], opinions[k, 1]
        if not (direction == direction and confidence == confidence):
            return nan
        if confidence >= min_confidence:
            total += direction * confidence * weights[k]
            weight += weights[k]
    return total / weight if weight > 0.0 else 0.0

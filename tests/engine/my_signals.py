"""Signals of a user, for the tests: plain functions over the int32 features."""


def lean(features):
    """The imbalance less a part of the position."""
    return features[2] - features[16] // 4


def raises_now_and_then(features):
    """Refuses when the last digit of the imbalance says so."""
    if features[2] % 5 == 0:
        raise ValueError("not now")
    return features[2]


def slow(features):
    """Keeps its shard busy for a few milliseconds at each decision, as a signal should not."""
    x = features[2]
    for i in range(4_000_000):
        x = (x * 1103515245 + 12345 + i) & 0x7FFFFFFF
    return features[2] + (x & 1)

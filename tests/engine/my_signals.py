"""Signals of a user, for the tests: plain functions over the int32 features."""

import ctypes

_usleep = ctypes.CDLL(None).usleep
_usleep.argtypes = [ctypes.c_uint]
_usleep.restype = ctypes.c_int


def lean(features):
    """The imbalance less a part of the position."""
    return features[2] - features[16] // 4


def raises_now_and_then(features):
    """Refuses when the last digit of the imbalance says so."""
    if features[2] % 5 == 0:
        raise ValueError("not now")
    return features[2]



def slow(features):
    """Sleeps for milliseconds at each decision, as a signal should not."""
    _usleep(3000)
    return features[2]

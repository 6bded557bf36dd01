"""Signals that do on the engine's thread what its loop must never do: for the test that such a thing is noticed."""

import ctypes

import numpy as np

_libc = ctypes.CDLL(None)
_lock, _unlock = _libc.pthread_mutex_lock, _libc.pthread_mutex_unlock
for _f in (_lock, _unlock):
    _f.argtypes, _f.restype = [ctypes.c_size_t], ctypes.c_int
_getppid = _libc.getppid
_getppid.argtypes, _getppid.restype = [], ctypes.c_int
_mutex = ctypes.create_string_buffer(64)
MUTEX_AT = ctypes.addressof(_mutex)


def allocates(features):
    """A list of values on the heap."""
    values = np.empty(features[2] % 7 + 64, np.int32)
    for i in range(values.size):
        values[i] = features[0] + i
    return np.int32(np.sort(values)[3])


def locks(features):
    """A mutex taken and given back."""
    return np.int32(_lock(MUTEX_AT) + _unlock(MUTEX_AT)) + features[2]


def calls_the_kernel(features):
    """A system call that is not a socket's, and that no interposer of libc's common names knows."""
    return np.int32(_getppid() % 3) + features[2]

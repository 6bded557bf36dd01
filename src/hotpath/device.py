"""`device.h` from Python: one class over every backend, numpy in, plain values out.

    with Device("cpu") as device:
        device.load(0, [network], version=7)
        device.swap(0)
        answer = device.ask(inputs)            # int8[n] or int32[n]: the dtype is the request's kind

What each call may return, and when, stands in drivers/include/device.h; an error there is a DeviceError here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hotpath._device import ffi, lib
from hotpath.policy.oracle import Network

TRANSPORTS = {"auto": lib.PGD_TRANSPORT_AUTO, "push": lib.PGD_TRANSPORT_PUSH, "ring": lib.PGD_TRANSPORT_RING}
KINDS = {np.dtype(np.int8): lib.PGD_KIND_INT8, np.dtype(np.int32): lib.PGD_KIND_FEATURES}
CAP_FLAGS = {"exclusive": lib.PGD_CAP_EXCLUSIVE, "interrupts": lib.PGD_CAP_INTERRUPTS, "registers": lib.PGD_CAP_REGISTERS}


class DeviceError(Exception):
    """A negative result: `name` as in device.h in lower case (e.g. "would_block"), `found` and `hint` in words."""

    def __init__(self, result: int, found: str = "", hint: str = "") -> None:
        self.result = result
        self.name = _text(lib.pgd_result_name(result))
        self.found = found or _text(lib.pgd_result_text(result))
        self.hint = hint
        super().__init__(f"{self.name}: {self.found}")


@dataclass(frozen=True)
class Answer:
    """A completion. `status` "ok" or why not; `logits` are the first 8; cycles are the core's own, 0 on a cpu."""

    tag: int
    status: str
    action: int
    logits: tuple[int, ...]
    outputs: int
    slot: int
    version: int
    cycles: int


class Device:
    """An open device. Not to be used by two threads at a time.

    backend "cpu", "vfio" or a path to a shared library with one; kernel (cpu) one of the engine's kernels, None = the
    fastest; address (vfio) a PCI address; sys (vfio) a `struct pgd_sys*` as an integer, for tests; other keywords are
    the members of `struct pgd_options`. Raises DeviceError with the hint when it cannot be opened.
    """

    def __init__(self, backend: str = "cpu", **options: Any) -> None:
        self._device = ffi.NULL
        self._backend = table(backend)
        self._options, self._keep = _options(options)
        reason, out = ffi.new("struct pgd_reason*"), ffi.new("struct pgd_device**")
        _check(self._backend.open(self._options, out, reason), reason)
        self._device = out[0]
        self._completion = ffi.new("struct pgd_completion*")
        self._tag = ffi.new("uint64_t*")
        self._caps = ffi.new("struct pgd_caps*")
        _check(self._backend.caps(self._device, self._caps))

    @property
    def caps(self) -> dict[str, Any]:
        """What it can do: the members of `struct pgd_caps`, names for numbers where there are names."""
        caps = _members(self._caps)
        caps["flags"] = [name for name, bit in CAP_FLAGS.items() if bit & self._caps.flags]
        caps["time_unit"] = "cycles" if self._caps.time_unit == lib.PGD_TIME_CYCLES else "ns"
        caps["transport"] = {1: "push", 2: "ring"}.get(self._caps.transport, "none")
        caps["variant"] = "loadable" if self._caps.variant else "baked"
        return caps

    def load(self, bank: int, networks: Sequence[Network], version: int) -> None:
        """Send networks to a bank; network k answers slot k. Their feature_index is not used: inputs come in order."""
        described, keep = policy_set(networks, version)
        reason = ffi.new("struct pgd_reason*")
        _check(self._backend.load_policy(self._open, bank, described, reason), reason)
        del keep

    def swap(self, bank: int) -> None:
        """From the next request on this bank answers."""
        _check(self._backend.swap(self._open, bank))

    def submit(self, inputs: np.ndarray, slot: int = 0) -> int:
        """Hand over a request, int8[n] or int32[n]; returns its tag."""
        array = np.ascontiguousarray(inputs)
        kind = KINDS.get(array.dtype, 255)
        data = ffi.from_buffer(array)
        _check(self._backend.submit(self._open, slot, kind, data, min(array.size, 0xFFFFFFFF), self._tag))
        return int(self._tag[0])

    def poll(self) -> Answer | None:
        """An answer that is there, or None."""
        return self._answer() if _check(self._backend.poll(self._open, self._completion)) else None

    def wait(self, timeout: int = 1_000_000_000) -> Answer:
        """The next answer, within `timeout` of caps' time_unit."""
        _check(self._backend.wait(self._open, self._completion, timeout))
        return self._answer()

    def ask(self, inputs: np.ndarray, slot: int = 0, timeout: int = 1_000_000_000) -> Answer:
        """One round trip with nothing else in flight."""
        self.submit(inputs, slot)
        return self.wait(timeout)

    def cancel(self, tag: int) -> None:
        """Ask that a request be answered `cancelled`, if that is still possible."""
        _check(self._backend.cancel(self._open, tag))

    def reset(self) -> None:
        """Forget all requests and banks; the next epoch begins."""
        _check(self._backend.reset(self._open))

    def stats(self) -> dict[str, int]:
        """The members of `struct pgd_stats`."""
        stats = ffi.new("struct pgd_stats*")
        _check(self._backend.stats(self._open, stats))
        return _members(stats)

    def arm(self) -> int:
        """An eventfd that becomes readable when an answer is or becomes unread, once."""
        fd = ffi.new("int*")
        _check(self._backend.arm(self._open, fd))
        return int(fd[0])

    def register(self, offset: int) -> int:
        """A 32-bit register."""
        value = ffi.new("uint32_t*")
        _check(self._backend.read_register(self._open, offset, value))
        return int(value[0])

    def round_trips(self, rows: np.ndarray, samples: int, batch: int, slot: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(ns uint64[samples], core cycles uint32[samples]) of `batch` round trips each over rows int8 or int32[N, n]."""
        load, keep = _load(rows, slot)
        ns, cycles = np.zeros(samples, np.uint64), np.zeros(samples, np.uint32)
        _check(lib.pgd_measure_round_trips(self._backend, self._open, load, samples, batch, _out("uint64_t[]", ns),
                                           _out("uint32_t[]", cycles)))  # fmt: skip
        del keep
        return ns, cycles

    def stream_ns(self, rows: np.ndarray, requests: int, slot: int = 0) -> int:
        """Nanoseconds that `requests` requests take with as many in flight as fit."""
        load, keep = _load(rows, slot)
        ns = ffi.new("uint64_t*")
        _check(lib.pgd_measure_stream(self._backend, self._open, load, requests, ns))
        del keep
        return int(ns[0])

    def close(self) -> None:
        """Stop the device and give everything back; again is good."""
        if self._device != ffi.NULL:
            self._backend.close(self._device)
            self._device = ffi.NULL

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def _open(self) -> Any:
        if self._device == ffi.NULL:
            raise DeviceError(lib.PGD_E_STATE, "the device is closed")
        return self._device

    def _answer(self) -> Answer:
        c = self._completion
        return Answer(
            tag=int(c.tag), status=_text(lib.pgd_status_name(c.status)), action=int(c.action),
            logits=tuple(c.logits[i] for i in range(min(c.outputs, lib.PGD_COMPLETION_LOGITS))), outputs=int(c.outputs),
            slot=int(c.slot), version=int(c.policy_version), cycles=int(c.cycles),
        )  # fmt: skip


def kernel_ns(network: Network, rows: np.ndarray, samples: int, batch: int, kernel: str | None = None) -> np.ndarray:
    """Nanoseconds uint64[samples] of `batch` decisions each by the kernel alone, without a device around it."""
    chosen = _kernel(kernel)
    load, keep = _load(rows, 0)
    described, also = policy_set([network], 0)
    ns = np.zeros(samples, np.uint64)
    _check(lib.pgd_measure_kernel(chosen, described.policy, load, samples, batch, _out("uint64_t[]", ns)))
    del keep, also
    return ns


def table(backend: str) -> Any:
    """The function table of a backend by name, or of a shared library by path. Raises DeviceError."""
    found = lib.pgd_backend_by_name(backend.encode())
    if found == ffi.NULL:
        reason = ffi.new("struct pgd_reason*")
        if "/" not in backend:
            raise DeviceError(lib.PGD_E_UNAVAILABLE, f"no backend called {backend}", "take cpu, vfio or a library's path")
        found = lib.pgd_backend_load(str(Path(backend)).encode(), reason)
        if found == ffi.NULL:
            raise DeviceError(lib.PGD_E_UNAVAILABLE, _text(reason.found), _text(reason.hint))
    return found


def probe(backend: str, **options: Any) -> DeviceError | None:
    """None when the backend could be opened here, else why not."""
    try:
        found = table(backend)
        given, keep = _options(options)
        reason = ffi.new("struct pgd_reason*")
        _check(found.probe(given, reason), reason)
        del keep
    except DeviceError as err:
        return err
    return None


def policy_set(networks: Sequence[Network], version: int) -> tuple[Any, list[Any]]:
    """`struct pgd_policy_set*` of networks, and what must live as long as it is used."""
    keep: list[Any] = []

    def pointer(kind: str, array: np.ndarray, dtype: Any) -> Any:
        held = ffi.from_buffer(f"{kind}[]", np.ascontiguousarray(array, dtype))
        keep.append(held)
        return held

    policies = ffi.new("struct pgd_policy[]", max(len(networks), 1))
    for policy, network in zip(policies, networks, strict=False):
        layers = ffi.new("struct pgd_layer[]", max(len(network.layers), 1))
        keep.append(layers)
        for out, layer in zip(layers, network.layers, strict=False):
            out.inputs, out.outputs, out.relu = layer.inputs, layer.outputs, int(layer.relu)
            out.weights = pointer("int8_t", layer.weights, np.int8)
            out.bias = pointer("int32_t", layer.bias, np.int32)
            out.shift = ffi.NULL if layer.shift is None else pointer("uint8_t", layer.shift, np.uint8)
        policy.n_inputs, policy.n_layers, policy.layer = len(network.quant_m), len(network.layers), layers
        policy.quant_m = pointer("int16_t", network.quant_m, np.int16)
        policy.quant_s = pointer("uint8_t", network.quant_s, np.uint8)
    described = ffi.new("struct pgd_policy_set*")
    described.version, described.n_policies, described.policy = version, len(networks), policies
    return described, [*keep, policies]


def image(networks: Sequence[Network], caps: dict[str, int]) -> np.ndarray:
    """uint32[words]: what a loadable core of these caps (slots, banks, lanes, max_*) takes. Raises DeviceError."""
    described, keep = policy_set(networks, 0)
    core = ffi.new("struct pgd_caps*", {name: value for name, value in caps.items() if isinstance(value, int)})
    words, count = np.zeros(1 << 18, np.uint32), ffi.new("uint32_t*")
    reason = ffi.new("struct pgd_reason*")
    target = ffi.from_buffer("uint32_t[]", words, require_writable=True)
    _check(lib.pgd_image_pack(described, core, target, len(words), count, ffi.NULL, reason), reason)
    del keep
    return words[: count[0]].copy()


def crc32(data: bytes, crc: int = 0) -> int:
    """The drivers' CRC-32, continued from `crc`."""
    return int(lib.pgd_crc32(crc, data, len(data)))


def _options(given: dict[str, Any]) -> tuple[Any, list[Any]]:
    options = ffi.new("struct pgd_options*")
    keep: list[Any] = []
    options.kernel = _kernel(given.get("kernel"))
    for name, value in given.items():
        if name == "kernel":
            continue
        if name == "transport":
            options.transport = TRANSPORTS[value] if isinstance(value, str) else value
        elif name == "address":
            keep.append(ffi.new("char[]", value.encode()))
            options.address = keep[-1]
        elif name == "sys":
            options.sys = ffi.cast("struct pgd_sys*", value)
        else:
            setattr(options, name, value)
    return options, keep


def _kernel(name: str | None) -> Any:
    found = lib.peregrine_device_kernel(ffi.NULL if name is None else name.encode())
    if found == ffi.NULL:
        raise DeviceError(lib.PGD_E_UNAVAILABLE, f"kernel {name}: this machine has no such", "take scalar")
    return found


def _load(rows: np.ndarray, slot: int) -> tuple[Any, list[Any]]:
    array = np.ascontiguousarray(rows)
    load = ffi.new("struct pgd_load*")
    held = ffi.from_buffer(array)
    load.slot, load.kind, load.rows, load.count = slot, KINDS[array.dtype], array.shape[0], array.shape[1]
    load.inputs, load.timeout = held, 1_000_000_000
    return load, [array, held]


def _out(kind: str, array: np.ndarray) -> Any:
    return ffi.from_buffer(kind, array, require_writable=True)


def _check(result: int, reason: Any = None) -> int:
    if result < 0:
        raise DeviceError(result, *((_text(reason.found), _text(reason.hint)) if reason is not None else ()))
    return result


def _members(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name, _ in ffi.typeof(record).item.fields}
    return {n: v if isinstance(v, int) else _text(v) for n, v in values.items()}


def _text(value: Any) -> str:
    return str(ffi.string(value).decode(errors="replace"))

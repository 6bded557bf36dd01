"""Does this machine's clock agree with the world's, who says so, and by how much it may be wrong.

Asked in this order; the first that answers is the source:

    chrony    chronyc -c tracking            offset of the last measurement, its root dispersion and delay
    ptp4l     pmc -u -b 0 'GET …'            offset from the master; the state of the port
    kernel    adjtimex(2), reading only      is it kept in step at all (STA_UNSYNC), estimated and greatest error

Sources: chronyc(1), pmc(8), adjtimex(2), RFC 5905 for what dispersion and delay mean. Times are in nanoseconds; an offset
above 0 says that our clock is ahead. Nothing is set here, and no answer takes longer than `TIMEOUT_S`.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 1.0
STA_UNSYNC = 0x0040
STA_NANO = 0x2000
TIME_ERROR = 5
NS = 1_000_000_000

#: runs a command and gives its output, None when it is not there or fails
Run = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class ClockSync:
    """How well the clock is kept; None where the source does not tell."""

    source: str  # chrony, ptp4l, kernel, none
    synchronised: bool
    offset_ns: int | None = None
    error_ns: int | None = None  # the most it may be wrong, as the source has it
    reference: str = ""  # server, master or what the kernel says
    stratum: int | None = None
    frequency_ppb: int | None = None  # by which it is made to run faster; below 0: slower
    hardware_clocks: tuple[str, ...] = ()  # /dev/ptp*: cards that stamp packets

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict."""
        return {**asdict(self), "hardware_clocks": list(self.hardware_clocks)}

    def line(self) -> str:
        """In a line for a person."""
        if self.source == "none":
            return "nobody says whether the clock is right"
        parts = [f"{'kept in step' if self.synchronised else 'not synchronised'} by {self.source}" + (f" ({self.reference})" if self.reference else "")]
        parts += [f"{self.offset_ns / 1000:+.1f} us off"] if self.offset_ns is not None else []
        parts += [f"at most {self.error_ns / 1000:.0f} us wrong"] if self.error_ns is not None else []
        return ", ".join(parts)


@dataclass(frozen=True)
class KernelTime:
    """What adjtimex(2) gives back, errors in microseconds."""

    state: int
    status: int
    maxerror_us: int
    esterror_us: int
    offset: int  # ns with STA_NANO, else us
    freq: int  # ppm with 16 fractional bits


def read_clock(run: Run | None = None, kernel: Callable[[], KernelTime | None] | None = None, root: Path = Path("/")) -> ClockSync:
    """Ask who there is to ask. Never raises."""
    run, kernel = run or _run, kernel or adjtimex
    cards = tuple(sorted(p.name for p in (root / "dev").glob("ptp*") if p.name[3:].isdigit()))
    found = from_chrony(run(["chronyc", "-c", "tracking"])) or from_ptp4l(
        run(["pmc", "-u", "-b", "0", "GET TIME_STATUS_NP", "GET PORT_DATA_SET"])
    )
    if found is None:
        state = kernel()
        found = from_kernel(state) if state else ClockSync("none", False)
    return ClockSync(**{**found.__dict__, "hardware_clocks": cards})


def from_chrony(text: str | None) -> ClockSync | None:
    """`chronyc -c tracking`: reference id, name, stratum, reference time, correction, last offset, RMS offset, frequency ppm,
    residual ppm, skew ppm, root delay, root dispersion, update interval, leap status; times in seconds."""
    fields = (text or "").strip().split(",")
    if len(fields) < 14:
        return None
    try:
        correction_s, ppm, delay_s, dispersion_s = (float(fields[i]) for i in (4, 7, 10, 11))
        stratum = int(fields[2])
    except ValueError:
        return None
    if not all(math.isfinite(value) for value in (correction_s, ppm, delay_s, dispersion_s)):
        return None
    good = fields[13] != "Not synchronised" and stratum > 0
    # chrony's correction is what is still to be taken away from the clock: positive = the clock is slow
    return ClockSync("chrony", good, round(-correction_s * NS) if good else None, round((abs(correction_s) + dispersion_s + delay_s / 2) * NS) if good else None,
                     fields[1] or fields[0], stratum, round(-ppm * 1000))  # fmt: skip


def from_ptp4l(text: str | None) -> ClockSync | None:
    """Answers of ptp4l to pmc: lines of a name and a value."""
    values: dict[str, str] = {}
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) == 2:
            values.setdefault(words[0], words[1])
    if "master_offset" not in values or "portState" not in values:
        return None
    try:
        offset_ns = int(values["master_offset"])
    except ValueError:
        return None
    good = values["portState"] in ("SLAVE", "MASTER", "GRAND_MASTER") and values.get("gmPresent", "true") == "true"
    return ClockSync("ptp4l", good, offset_ns if good else None, None, values.get("gmIdentity", ""))


def from_kernel(state: KernelTime) -> ClockSync:
    """The kernel's own view: somebody disciplines the clock, or nobody does."""
    good = state.state != TIME_ERROR and not state.status & STA_UNSYNC
    offset_ns = state.offset if state.status & STA_NANO else state.offset * 1000
    return ClockSync("kernel", good, offset_ns if good else None, state.maxerror_us * 1000 if good else None,
                     "adjtimex" if good else "no daemon has set the clock", None, round(state.freq * 1000 / 65536))  # fmt: skip


class _Timex(ctypes.Structure):
    """struct timex of a 64-bit Linux, see adjtimex(2)."""

    _fields_ = [
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("constant", ctypes.c_long), ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long), ("time", ctypes.c_long * 2), ("tick", ctypes.c_long), ("rest", ctypes.c_byte * 128),
    ]  # fmt: skip


def adjtimex() -> KernelTime | None:
    """Read the kernel's clock state (modes 0 changes nothing); None where that is not to be had."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = _Timex()
        state = libc.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return KernelTime(state, timex.status, timex.maxerror, timex.esterror, timex.offset, timex.freq)


def _run(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

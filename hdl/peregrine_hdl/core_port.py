"""Where a core plugs into the device: words of a request in, an answer out, and commands for its weight banks.

A baked and a loadable core both have these four streams, all in the core's clock domain, and the device knows no other.

    i            one word a beat: an int32 feature, or four int8 inputs (input 0 in the low byte); slot, kind and count
                 stand in every beat; first and last mark a request. A request is never cut short.
    o            one answer a request, in the order of requests
    bank_cmd     start: the bank's image begins anew; word: its next word; swap: answer from this bank from the next
                 request on, once the core holds none. A core without banks takes them and replies not ok.
    bank_reply   one reply a command, in their order: words and CRC-32 (zlib, each word's bytes little endian) of the
                 bank's image as its memories took it

Counts, kinds and slots are checked by the core, since only it knows what its bank holds: a request it refuses is taken
to its last word and answered with the status.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from peregrine_hdl.registers import COMPLETION_LOGITS

OP_START, OP_WORD, OP_SWAP = 0, 1, 2

REQUEST_WORD = data.StructLayout(
    {
        "word": unsigned(32),
        "first": 1,
        "last": 1,
        "slot": unsigned(8),
        "kind": unsigned(8),
        "count": unsigned(8),
    }
)
ANSWER = data.StructLayout(
    {
        "status": unsigned(8), "action": unsigned(8), "outputs": unsigned(8), "bank": unsigned(4),
        "cycles": unsigned(32), "logits": data.ArrayLayout(signed(32), COMPLETION_LOGITS),
    }
)  # fmt: skip
BANK_COMMAND = data.StructLayout({"op": unsigned(2), "bank": unsigned(4), "data": unsigned(32)})
BANK_REPLY = data.StructLayout(
    {"op": unsigned(2), "bank": unsigned(4), "ok": 1, "words": unsigned(32), "crc": unsigned(32)}
)


class CorePort(wiring.Signature):
    """The four streams, and `parity_error`, high for one clock a word that failed its parity."""

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(REQUEST_WORD)),
                "o": Out(stream.Signature(ANSWER)),
                "bank_cmd": In(stream.Signature(BANK_COMMAND)),
                "bank_reply": Out(stream.Signature(BANK_REPLY)),
                "parity_error": Out(1),
            }
        )

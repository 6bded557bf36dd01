"""The device as software sees it, described once: registers, request line, descriptor, completion, bank stream.

Plain Python, no hardware library. The RTL takes its addresses from here; `describe.py` makes the C header
(`drivers/include/device_registers.h`) and the docs page (`docs/formats-device.md`) of it; software in Python imports it.
`MAP_HASH` names the whole description and stands in a register, so that a driver refuses gateware made from another one.

Two windows, both little endian. CSR: 32-bit registers behind a 32-bit AXI4-Lite port (BAR0). Push: request slots behind
a 64-bit AXI4-Lite port (BAR2), written only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

LAYOUT_VERSION = 1
DEVICE_ID = 0x4E524750  # "PGRN"

RO, RW, WO, W1C = "ro", "rw", "wo", "w1c"


@dataclass(frozen=True)
class Field:
    """Bits `lsb` to `lsb + bits - 1` of a register."""

    name: str
    lsb: int
    bits: int
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit word of the CSR window."""

    name: str
    offset: int
    access: str
    doc: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Member:
    """One member of a record in memory: `count` values of `bits` bits, at byte `offset`."""

    name: str
    offset: int
    bits: int
    doc: str
    count: int = 1
    signed: bool = False


def _counter(name: str, offset: int, doc: str) -> Register:
    return Register(name, offset, RO, f"{doc}; wraps; 0 after reset")


REGISTERS = (
    Register("id", 0x000, RO, "0x4E524750, the bytes PGRN"),
    Register("layout_version", 0x004, RO, "version of this description"),
    Register("map_hash", 0x008, RO, "first 32 bits of the SHA-256 of this description"),
    Register("caps_core", 0x00C, RO, "what the core is", (
        Field("variant", 0, 4, "0 = baked, 1 = loadable"),
        Field("slots", 4, 4, "policies a bank holds"),
        Field("banks", 8, 4, "weight banks; 0 = baked"),
        Field("push_slots", 12, 4, "request slots of the push window"),
        Field("lanes", 16, 16, "products a cycle; 0 = fully unrolled"),
    )),
    Register("caps_limits", 0x010, RO, "largest network", (
        Field("max_inputs", 0, 8, "inputs of the first layer"),
        Field("max_width", 8, 8, "outputs of a hidden layer"),
        Field("max_layers", 16, 8, "layers"),
        Field("max_outputs", 24, 8, "outputs of the last layer"),
    )),
    Register("caps_bank_words", 0x014, RO, "32-bit words of a bank's image at most"),
    Register("core_clock_khz", 0x018, RO, "core clock the build was made for, kHz"),
    Register("policy_lo", 0x01C, RO, "version of the active bank's policies, or of the baked set, low word"),
    Register("policy_hi", 0x020, RO, "the same, high word"),
    Register("control", 0x024, RW, "what the device may do", (
        Field("enable", 0, 1, "1 = take requests"),
        Field("reset", 1, 1, "write 1: forget all requests, rings and errors, both clock domains; reads 0 when done"),
        Field("irq_enable", 2, 1, "1 = raise the completion interrupt when armed"),
    )),
    Register("status", 0x028, RO, "what it is doing", (
        Field("enabled", 0, 1, "requests are taken"),
        Field("busy", 1, 1, "a request is in it"),
        Field("resetting", 2, 1, "a reset is not finished"),
        Field("swapping", 3, 1, "a swap waits for the request in the core"),
    )),
    Register("epoch", 0x02C, RW, "a request whose tag has another high word is answered stale_epoch"),
    Register("errors", 0x030, W1C, "sticky; write 1 to clear", (
        Field("dma_read", 0, 1, "AXI read answered with an error"),
        Field("dma_write", 1, 1, "AXI write answered with an error"),
        Field("descriptor", 2, 1, "descriptor malformed"),
        Field("push_address", 3, 1, "push write outside the slots, or to a slot in use"),
        Field("bank_address", 4, 1, "bank write outside the image, or to the active bank"),
        Field("bank_crc", 5, 1, "swap refused: CRC or word count differ"),
        Field("parity", 6, 1, "parity of weight memory"),
        Field("completion_full", 7, 1, "completion ring was full when one was due; it waits"),
        Field("ring_overrun", 8, 1, "producer written more than a ring ahead of the consumer"),
    )),
    Register("bank_select", 0x040, RW, "bank that bank_data writes go to; writing it starts its image anew"),
    Register("bank_data", 0x044, WO, "next 32-bit word of the selected bank's image"),
    Register("bank_words", 0x048, RO, "words written to the selected bank"),
    Register("bank_crc", 0x04C, RO, "CRC-32 (zlib) over the words as the weight memory took them, little endian"),
    Register("bank_version_lo", 0x050, RW, "version of the policies in the selected bank, low word"),
    Register("bank_version_hi", 0x054, RW, "high word"),
    Register("bank_expected_crc", 0x058, RW, "what the driver computed; swap refuses another bank_crc"),
    Register("bank_expected_words", 0x05C, RW, "what the driver wrote; swap refuses another count"),
    Register("bank_swap", 0x060, WO, "write the selected bank's number: it answers from the next request on"),
    Register("bank_active", 0x064, RO, "the answering bank", (
        Field("bank", 0, 4, "number"),
        Field("valid", 31, 1, "0 = none yet"),
    )),
    Register("ring_base_lo", 0x080, RW, "host address of the descriptor ring, 64-byte aligned, low word"),
    Register("ring_base_hi", 0x084, RW, "high word"),
    Register("ring_log2", 0x088, RW, "log2 of its descriptors, 1..12; 0 = off"),
    Register("ring_producer", 0x08C, RW, "doorbell: descriptors ever made, modulo 2^32"),
    Register("ring_consumer", 0x090, RO, "descriptors ever taken, modulo 2^32"),
    Register("completion_base_lo", 0x0A0, RW, "host address of the completion ring, 64-byte aligned, low word"),
    Register("completion_base_hi", 0x0A4, RW, "high word"),
    Register("completion_log2", 0x0A8, RW, "log2 of its completions, 1..12; 0 = off: nothing is answered"),
    Register("completion_producer", 0x0AC, RO, "completions ever written, modulo 2^32"),
    Register("completion_consumer", 0x0B0, RW, "completions ever read by the driver, modulo 2^32"),
    Register("completion_arm", 0x0B4, WO, "write 1: one interrupt when a completion is or becomes unread"),
    Register("cancel_lo", 0x0C0, RW, "tag to cancel, low word"),
    Register("cancel_hi", 0x0C4, WO, "tag to cancel, high word; writing it does it: if still waiting, it is answered cancelled"),
    _counter("count_push", 0x100, "requests taken from the push window"),
    _counter("count_ring", 0x104, "requests taken from the ring"),
    _counter("count_completions", 0x108, "completions written"),
    _counter("count_rejected", 0x10C, "completions whose status is not ok"),
    _counter("count_cancelled", 0x110, "requests cancelled"),
    _counter("count_dma_errors", 0x114, "AXI error answers"),
    _counter("count_parity", 0x118, "parity errors seen"),
    _counter("count_interrupts", 0x11C, "interrupts raised"),
    _counter("count_swaps", 0x120, "swaps done"),
    Register("last_cycles", 0x124, RO, "core cycles of the last answer"),
    Register("max_cycles", 0x128, RO, "most core cycles of any answer since reset"),
    _counter("busy_cycles", 0x12C, "core cycles with a request in the core"),
)  # fmt: skip

CSR_BYTES = 0x1000
PUSH_BYTES = 0x1000
PUSH_SLOT_BYTES = 512
LINE_BYTES = 64
MAX_LINES = 5
FIRST_BODY_BYTES, NEXT_BODY_BYTES = 44, 60
MAX_INPUTS, MAX_WIDTH, MAX_LAYERS, MAX_OUTPUTS, MAX_SLOTS = 64, 128, 6, 16, 8
COMPLETION_LOGITS = 8

KINDS = {"int8": 0, "features": 1}

# Answers other than ok carry no action. The order is the value.
STATUSES = (
    ("ok", "answered"),
    ("no_policy", "no valid bank, or nothing in this slot"),
    ("bad_kind", "kind unknown, or one that this core does not take"),
    ("bad_count", "count is not the policy's number of inputs, or 0, or over max_inputs"),
    ("bad_line", "a line's commit word is not the tag's low word, or reserved bytes are not 0"),
    ("bad_descriptor", "descriptor malformed: flags, length not the request's, address not 64-byte aligned"),
    ("stale_epoch", "the tag's high word is not the epoch register"),
    ("cancelled", "cancelled before the core took it"),
    ("parity", "weight memory failed its parity while answering"),
    ("dma_error", "the request could not be read: AXI error"),
    ("disabled", "control.enable was 0"),
)

# Line 0 of a request; body bytes go on in lines 1 to 4, each NEXT_BODY_BYTES of body and the commit word.
REQUEST = (
    Member("tag", 0, 64, "high word epoch, low word sequence"),
    Member("slot", 8, 8, "policy slot"),
    Member("kind", 9, 8, "0 = int8 inputs, 1 = int32 features"),
    Member("count", 10, 8, "inputs; lines follow from it"),
    Member("reserved", 11, 8, "0", count=5),
    Member("body", 16, 8, "inputs in order, little endian, rest 0", count=FIRST_BODY_BYTES),
    Member(
        "commit", 60, 32, "low word of the tag, in every line; acted on when all bytes of all lines are there"
    ),
)
DESCRIPTOR = (
    Member("address", 0, 64, "host address of the request's lines, 64-byte aligned"),
    Member("bytes", 8, 32, "64 times the request's lines"),
    Member("flags", 12, 32, "0"),
)
COMPLETION = (
    Member(
        "tag", 0, 64, "of the request; of a descriptor that named none: all ones above the descriptor's index"
    ),
    Member("policy_version", 8, 64, "of the bank that answered; 0 unless ok"),
    Member("status", 16, 8, "see statuses"),
    Member("action", 17, 8, "argmax, lowest index on ties; 0 unless ok"),
    Member("outputs", 18, 8, "outputs of the network, of which the first 8 are in logits; 0 unless ok"),
    Member("slot", 19, 8, "of the request"),
    Member("cycles", 20, 32, "core cycles from first input to answer"),
    Member("logits", 24, 32, "int32 logits, 0 beyond the outputs", count=COMPLETION_LOGITS, signed=True),
    Member("crc", 56, 32, "CRC-32 (zlib) over bytes 0 to 55"),
    Member("phase", 60, 32, "written last: laps of the ring begun, 1 on the first; 0 = never written"),
)
RECORDS = {"request": (REQUEST, 64), "descriptor": (DESCRIPTOR, 16), "completion": (COMPLETION, 64)}


def canonical() -> str:
    """The description as JSON with sorted keys and no spaces: what MAP_HASH is of."""
    constants = {
        name: globals()[name]
        for name in (
            "LAYOUT_VERSION", "DEVICE_ID", "CSR_BYTES", "PUSH_BYTES", "PUSH_SLOT_BYTES", "LINE_BYTES", "MAX_LINES",
            "FIRST_BODY_BYTES", "NEXT_BODY_BYTES", "MAX_INPUTS", "MAX_WIDTH", "MAX_LAYERS", "MAX_OUTPUTS", "MAX_SLOTS",
            "COMPLETION_LOGITS", "KINDS", "STATUSES",
        )
    }  # fmt: skip
    records = {name: [asdict(m) for m in members] for name, (members, _) in RECORDS.items()}
    described = {"constants": constants, "registers": [asdict(r) for r in REGISTERS], "records": records}
    return json.dumps(described, sort_keys=True, separators=(",", ":"))


MAP_SHA256 = hashlib.sha256(canonical().encode()).hexdigest()
MAP_HASH = int(MAP_SHA256[:8], 16)
OFFSET = {r.name: r.offset for r in REGISTERS}
STATUS = {name: value for value, (name, _) in enumerate(STATUSES)}


def lines_of(kind: int, count: int) -> int:
    """Lines of a request of `count` inputs: 1 to MAX_LINES."""
    body = count * (4 if kind == KINDS["features"] else 1)
    return 1 if body <= FIRST_BODY_BYTES else 1 + -(-(body - FIRST_BODY_BYTES) // NEXT_BODY_BYTES)

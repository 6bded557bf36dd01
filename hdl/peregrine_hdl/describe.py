"""The C header and the docs page of `registers.py`: `python -m peregrine_hdl registers --header FILE --docs FILE`.

Both are kept in the tree and tested to be what this makes, so that a driver builds without Python.
"""

from __future__ import annotations

from peregrine_hdl import registers as r

_NOTE = "Made by `python -m peregrine_hdl registers` from hdl/peregrine_hdl/registers.py; change that."
_CONSTANTS = (
    "LAYOUT_VERSION", "CSR_BYTES", "PUSH_BYTES", "PUSH_SLOT_BYTES", "LINE_BYTES", "MAX_LINES", "FIRST_BODY_BYTES",
    "NEXT_BODY_BYTES", "MAX_INPUTS", "MAX_WIDTH", "MAX_LAYERS", "MAX_OUTPUTS", "MAX_SLOTS", "COMPLETION_LOGITS",
)  # fmt: skip


def _c_type(member: r.Member) -> str:
    return f"{'' if member.signed else 'u'}int{member.bits}_t"


def _mask(field: r.Field) -> str:
    return f"0x{((1 << field.bits) - 1) << field.lsb:08X}u"


def header() -> str:
    """`device_registers.h`: C11 and C++; offsets, masks, records with their sizes and offsets asserted."""
    out = [
        f"// {_NOTE}",
        "#ifndef PEREGRINE_DEVICE_REGISTERS_H",
        "#define PEREGRINE_DEVICE_REGISTERS_H",
        "",
        "#include <assert.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f"#define PGD_DEVICE_ID 0x{r.DEVICE_ID:08X}u",
        f"#define PGD_MAP_HASH 0x{r.MAP_HASH:08X}u",
        *(f"#define PGD_{name} {getattr(r, name)}u" for name in _CONSTANTS),
        "",
    ]
    out += [f"#define PGD_KIND_{name.upper()} {value}u" for name, value in r.KINDS.items()]
    out += [""] + [
        f"#define PGD_STATUS_{name.upper()} {value}u  // {doc}"
        for value, (name, doc) in enumerate(r.STATUSES)
    ]
    out += ["", "// registers: byte offsets in the CSR window"]
    for reg in r.REGISTERS:
        out.append(f"#define PGD_REG_{reg.name.upper()} 0x{reg.offset:03X}u  // {reg.access}: {reg.doc}")
        for f in reg.fields:
            name = f"PGD_REG_{reg.name.upper()}_{f.name.upper()}"
            out.append(f"#define {name}_SHIFT {f.lsb}u")
            out.append(f"#define {name}_MASK {_mask(f)}  // {f.doc}")
    for name, (members, size) in r.RECORDS.items():
        out += ["", f"struct pgd_{name} {{"]
        for m in members:
            array = f"[{m.count}]" if m.count > 1 else ""
            out.append(f"  {_c_type(m)} {m.name}{array};  // {m.offset}: {m.doc}")
        out += ["};", f'static_assert(sizeof(struct pgd_{name}) == {size}, "layout");']
        out += [
            f'static_assert(offsetof(struct pgd_{name}, {m.name}) == {m.offset}, "layout");' for m in members
        ]
    return "\n".join([*out, "", "#endif", ""])


def docs() -> str:
    """`docs/formats-device.md`."""
    out = [
        "# Formats: the device",
        "",
        f"{_NOTE}",
        "",
        "Everything is little endian. What a driver and the gateware share has one hash, "
        f"`{r.MAP_SHA256[:16]}…`; its first word stands in the register `map_hash`, and a driver refuses another one.",
        "",
        "## CSR window: 32-bit registers (BAR0)",
        "",
        "| offset | register | access | meaning |",
        "|--:|---|---|---|",
    ]
    for reg in r.REGISTERS:
        out.append(f"| 0x{reg.offset:03X} | `{reg.name}` | {reg.access} | {reg.doc} |")
        for f in reg.fields:
            bits = str(f.lsb) if f.bits == 1 else f"{f.lsb + f.bits - 1}:{f.lsb}"
            out.append(f"| | `.{f.name}` | {bits} | {f.doc} |")
    out += [
        "",
        "## Push window: request slots (BAR2)",
        "",
        f"Slot n is bytes n × {r.PUSH_SLOT_BYTES} on; line k of a request is its bytes k × {r.LINE_BYTES} on. Writes of 1 to 8",
        "bytes, in any order. The device takes the request when every byte of all its lines was written; the slot is free again",
        "when the request's completion is there.",
    ]
    titles = {
        "request": f"Request: 1 to {r.MAX_LINES} lines of {r.LINE_BYTES} bytes, this is line 0",
        "descriptor": "Descriptor of the request ring",
        "completion": "Completion",
    }
    for name, (members, _) in r.RECORDS.items():
        out += ["", f"## {titles[name]}", "", "| byte | field | type | meaning |", "|--:|---|---|---|"]
        for m in members:
            array = f"[{m.count}]" if m.count > 1 else ""
            out.append(f"| {m.offset} | `{m.name}` | {'i' if m.signed else 'u'}{m.bits}{array} | {m.doc} |")
        if name == "request":
            out += [
                "",
                f"Lines 1 to {r.MAX_LINES - 1} are {r.NEXT_BODY_BYTES} more bytes of body and the commit word.",
                f"{r.MAX_INPUTS} int8 inputs are {r.lines_of(0, r.MAX_INPUTS)} lines, 22 features {r.lines_of(1, 22)}, "
                f"{r.MAX_INPUTS} features {r.lines_of(1, r.MAX_INPUTS)}.",
            ]
    out += ["", "## Statuses", "", "| value | status | meaning |", "|--:|---|---|"]
    out += [f"| {value} | `{name}` | {doc} |" for value, (name, doc) in enumerate(r.STATUSES)]
    return "\n".join([*out, ""])

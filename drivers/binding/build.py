"""Makes the C source of `hotpath._device` from the public headers: `python drivers/binding/build.py OUT.c`.

cffi reads declarations, no preprocessor: comments, includes, guards and static asserts are taken out, and a macro's value
is left to the compiler.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADERS = Path(__file__).resolve().parents[1] / "include"
READ = ("device_registers.h", "device.h", "device_kernel.h", "device_measure.h")


def declarations(text: str) -> str:
    """What cffi's cdef takes of a header."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.S)
    text = re.sub(r"^static_assert\(.*?\);\n", "", text, flags=re.M)
    constants = re.findall(r"^#define (PGD_\w+)[ \t]+\S", text, flags=re.M)
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    return "".join(f"#define {name} ...\n" for name in constants) + text


def source() -> tuple[str, str]:
    """(declarations, the C text in front of the generated code)."""
    cdef = "".join(declarations((HEADERS / name).read_text()) for name in READ)
    return cdef, "".join(f'#include "{name}"\n' for name in READ)


def main(argv: list[str]) -> int:
    """Writes the file when it would change."""
    from cffi import FFI

    ffi = FFI()
    cdef, preamble = source()
    ffi.cdef(cdef)
    ffi.set_source("hotpath._device", preamble)
    out = Path(argv[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    ffi.emit_c_code(str(out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

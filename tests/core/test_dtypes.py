"""numpy's idea of each layout equals the compiler's."""

import re
from pathlib import Path

import numpy as np
import pytest

from hotpath import _core
from hotpath.core import dtypes


@pytest.mark.parametrize(("dtype", "layout"), [
    (dtypes.EVENT_DTYPE, _core.event_layout()),
    (dtypes.RECORD_HEADER_DTYPE, _core.record_header_layout()),
])
def test_offsets_and_sizes_equal_the_compilers(dtype, layout):
    assert dtype.itemsize == layout.pop("__sizeof__")
    assert {name: (offset, field.itemsize) for name, (field, offset) in dtype.fields.items()} == layout


def test_layouts_have_no_holes_for_stale_bytes():
    for dtype in (dtypes.EVENT_DTYPE, dtypes.RECORD_HEADER_DTYPE):
        assert sum(np.dtype(field).itemsize for field, _ in dtype.fields.values()) == dtype.itemsize


def test_event_kinds_are_named_as_in_the_header():
    header = Path(__file__).resolve().parents[2] / "src/hotpath/market/event.h"
    body = header.read_text().partition("enum class EventKind")[2].partition("};")[0]
    kinds = {int(number): name for name, number in re.findall(r"\bk(\w+) = (\d+)", body)}
    in_words = {number: re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for number, name in kinds.items()}
    assert in_words == dict(enumerate(dtypes.EVENT_KINDS))

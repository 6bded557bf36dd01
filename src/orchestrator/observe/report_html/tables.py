"""The tables beside the page: written row by row as the journal is read, as CSV and, with pyarrow there, as Parquet.

Integers stay integers (ticks, lots, money units, nanoseconds), so that a sum over a column is exact.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

Row = dict[str, Any]

#: table → column → i (int64), u (uint64), s (text)
TABLES: dict[str, dict[str, str]] = {
    "orders": {
        "shard": "i", "order": "i", "seq": "i", "ts_ns": "i", "symbol": "s", "side": "s", "kind": "s", "replaces": "i",
        "tif": "s", "price_ticks": "i", "qty_lots": "i", "filled_lots": "i", "filled_ticks_lots": "i", "fills": "i",
        "state": "s", "reason": "s", "answer_ns": "i", "done_ns": "i", "decision": "i", "action": "i", "policy_version": "s",
    },
    "fills": {
        "shard": "i", "seq": "i", "ts_ns": "i", "order": "i", "symbol": "s", "side": "s", "price_ticks": "i", "qty_lots": "i",
        "liquidity": "s", "fee_units": "i", "match": "u", "position_lots": "i",
    },
    "risk": {
        "shard": "i", "seq": "i", "ts_ns": "i", "symbol": "s", "action": "i", "reason": "s", "observed": "i", "limit": "i",
        "decision": "i",
    },
    "commands": {
        "shard": "i", "seq": "i", "ts_ns": "i", "command": "s", "detail": "s", "who": "s", "why": "s", "when_ns": "i", "id": "s",
        "key": "s", "repeated": "i",
    },
    "incidents": {
        "shard": "i", "seq": "i", "ts_ns": "i", "until_ns": "i", "what": "s", "detail": "s",
    },
    "latency": {
        "from_ns": "i", "to_ns": "i", "measure": "s", "count": "i", "p50_ns": "i", "p90_ns": "i", "p99_ns": "i", "p99_9_ns": "i",
        "max_ns": "i",
    },
    "curves": {
        "shard": "i", "symbol": "s", "curve": "s", "ts_ns": "i", "value": "i",
    },
    "symbols": {
        "shard": "i", "symbol": "s", "position_lots": "i", "bought_lots": "i", "sold_lots": "i", "fills": "i", "pnl_units": "i",
        "last_ticks": "i",
    },
}  # fmt: skip

BATCH_ROWS = 10_000
NO_PARQUET = "no Parquet: pyarrow is not installed (hint: pip install 'peregrine-engine[report]')"


def parquet_possible() -> bool:
    """Is pyarrow there?"""
    return importlib.util.find_spec("pyarrow") is not None


class Table:
    """One table on its way to disk: `add` rows, then `close`. Rows are held for a batch of Parquet, never for longer."""

    def __init__(self, folder: Path, name: str, *, parquet: bool) -> None:
        self.name = name
        self.columns = TABLES[name]
        self.rows = 0
        self.files = [f"{name}.csv"]
        self._file: TextIO = (folder / self.files[0]).open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, list(self.columns), restval="")
        self._csv.writeheader()
        self._batch: list[Row] = []
        self._parquet: Any = None
        if parquet:
            import pyarrow as pa
            import pyarrow.parquet as pq

            kinds = {"i": pa.int64(), "u": pa.uint64(), "s": pa.string()}
            self._schema = pa.schema([(column, kinds[kind]) for column, kind in self.columns.items()])
            self.files.append(f"{name}.parquet")
            self._parquet = pq.ParquetWriter(folder / self.files[1], self._schema, compression="zstd")

    def add(self, row: Row) -> None:
        """Write one row. A cell that starts a formula in a spreadsheet keeps it from being one."""
        self.rows += 1
        self._csv.writerow({name: _safe(value) for name, value in row.items()})
        if self._parquet is not None:
            self._batch.append(row)
            if len(self._batch) >= BATCH_ROWS:
                self._flush()

    def add_all(self, rows: Iterable[Row]) -> None:
        """Write several."""
        for row in rows:
            self.add(row)

    def close(self) -> None:
        """Write what is left and close the files."""
        self._file.close()
        if self._parquet is not None:
            self._flush()
            self._parquet.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batch:
            columns = {name: [row.get(name) for row in self._batch] for name in self.columns}
            self._parquet.write_table(pa.table(columns, schema=self._schema))
            self._batch.clear()


class Tables:
    """All of them, open together; a context manager. `files` and `rows` say afterwards what was written."""

    def __init__(self, folder: Path, *, parquet: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._tables = {name: Table(folder, name, parquet=parquet) for name in TABLES}

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for table in self._tables.values():
            table.close()

    @property
    def files(self) -> list[str]:
        """Names of the files, in the order of TABLES."""
        return [file for table in self._tables.values() for file in table.files]

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each table."""
        return {name: table.rows for name, table in self._tables.items()}


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value

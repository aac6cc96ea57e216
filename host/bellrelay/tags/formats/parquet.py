"""Parquet: columns `t` int64 ps and `channel` uint8; times delta coded, zstd compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .blocks import Block, ReadNotes, TagFile
from .tag_file_error import TagFileError

__all__ = ["read", "write"]

_SCHEMA = pa.schema([("t", pa.int64()), ("channel", pa.uint8())])


def read(path: Path) -> TagFile:
    """Open a Parquet file; it is read by batches of its row groups.

    Raises
    ------
    TagFileError
        No Parquet file, or a column missing, of another type, or with nulls.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, size = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise TagFileError(path, f"no Parquet file: {_line(error)}") from error
    for name in ("t", "channel"):
        if name not in schema.names:
            raise TagFileError(path, f"no column {name!r}")
        if not pa.types.is_integer(schema.field(name).type):
            raise TagFileError(path, f"column {name!r} is {schema.field(name).type}, no integer")
    notes = ReadNotes()

    def blocks(n: int) -> Iterator[Block]:
        row = 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=n, columns=["t", "channel"]):
                    t, channel = batch.column("t"), batch.column("channel")
                    if t.null_count or channel.null_count:
                        raise TagFileError(path, "a row without a value", row)
                    yield (
                        t.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64),
                        channel.cast(pa.uint8()).to_numpy(zero_copy_only=False).astype(np.uint8),
                    )
                    row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise TagFileError(path, _line(error), row) from error

    return TagFile(path, "parquet", size, notes, blocks)


def write(path: Path, blocks: Iterator[Block]) -> int:
    """Write a Parquet file, a row group per block; the number of tags."""
    total = 0
    with pq.ParquetWriter(
        path,
        _SCHEMA,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"t": "DELTA_BINARY_PACKED", "channel": "PLAIN"},
    ) as file:
        for t, channel in blocks:
            if t.size:
                file.write_table(pa.table({"t": t, "channel": channel}, schema=_SCHEMA))
            total += t.size
    return total


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

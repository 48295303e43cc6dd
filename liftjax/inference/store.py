"""Keeps rows on disk while they are made, so that memory does not grow with a video's length."""

from pathlib import Path

import numpy as np

from liftjax.writing import could_not_write


class RowStore:
    """A file of rows of one dtype, written inside a `with` block and then mapped into memory."""

    def __init__(self, path: Path, dtype: np.dtype):
        self._path, self._dtype, self._count = path, dtype, 0
        self._out = path.parent.parent  # which the user knows
        self._file = path.open("wb")

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self._file.close()
        except OSError as refused:
            if kind is None:  # else the first error is the one to report
                raise could_not_write(self._out, refused) from None

    def __len__(self) -> int:
        return self._count

    def append(self, rows: np.ndarray) -> None:
        """Adds rows (N,) at the end."""
        self._count += len(rows)
        try:
            self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        except OSError as error:
            raise could_not_write(self._out, error) from None

    def rows(self) -> np.ndarray:
        """All rows (N,), for reading and changing in place, after the block."""
        if not self._path.stat().st_size:
            return np.empty(0, self._dtype)
        return np.memmap(self._path, self._dtype, mode="r+")

"""Codes of several blocks packed into words, so that one look-up serves many variables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtmdx import _rows, _stats
from rtmdx.model.lanes import Lanes
from rtmdx.model.rows import RowTable

__all__ = ["EVERY_CODES", "GRAM_CODES", "LOOKUP_CODES", "Words"]

Float = NDArray[np.float64]

# Values of one word: joint tables of two words must stay in the second-level cache (128^2 doubles), and so must
# the look-up tables of the working set's words (four lanes). Of all variables there are only histograms, of four
# words at a time.
GRAM_CODES = 128
LOOKUP_CODES = 1024
EVERY_CODES = 4096


class Words:
    """Packed codes of the blocks of a set of columns; sums by word and their decoding.

    A block's codes are renumbered by what the columns can tell apart. Read-only once built, so threads may
    share one.

    Parameters
    ----------
    rows : RowTable
    columns : int array
        The columns told apart.
    max_codes : int
        Most values of one word (a single block may exceed it).
    at : int32 array, optional
        The rows whose words are made; all by default.

    Attributes
    ----------
    columns : int array
        The same columns in the order of all arrays here: by word, block and place in the block.
    words : uint16 array, shape (n_words, n_rows)
    """

    def __init__(
        self, rows: RowTable, columns: NDArray[np.intp], max_codes: int, at: NDArray[np.int32] | None = None
    ) -> None:
        layout = rows.layout
        wanted = np.zeros(layout.n_variables, dtype=bool)
        wanted[columns] = True
        blocks: list[tuple[int, int, list[int], list[int], NDArray[np.intp]]] = []
        for b, keys in enumerate(layout.keys):
            own = np.flatnonzero(wanted[layout.first[b] : layout.first[b + 1]])
            if not len(own):
                continue
            mask = sum(1 << int(k) for k in own)
            numbers: dict[int, int] = {}
            lut = [0] * len(keys)
            for code in rows.present[b]:
                lut[code] = numbers.setdefault(keys[code] & mask, len(numbers))
            blocks.append((len(numbers), b, list(numbers), lut, own))
        # First fit, largest first.
        blocks.sort(key=lambda block: (-block[0], block[1]))
        packed: list[list[int]] = []
        sizes: list[int] = []
        for i, (n, *_rest) in enumerate(blocks):
            w = next((w for w, size in enumerate(sizes) if size * n <= max_codes), len(sizes))
            if w == len(sizes):
                packed.append([])
                sizes.append(1)
            packed[w].append(i)
            sizes[w] *= n

        order = [blocks[i] for word in packed for i in word]
        self.width = np.array([len(word) for word in packed], dtype=np.int32)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        self.codes = np.concatenate([[0], np.cumsum([n for n, *_ in order])]).astype(np.int32)
        self.starts = np.concatenate([[0], np.cumsum([len(own) for *_, own in order])]).astype(np.int32)
        parts = [layout.first[b] + own for _, b, _, _, own in order]
        self.columns = np.concatenate(parts).astype(np.intp) if parts else np.zeros(0, np.intp)
        self.decode = np.zeros((int(self.codes[-1]), max((len(own) for *_, own in order), default=1)))
        for i, (n, b, bits, _, own) in enumerate(order):
            signs = layout.signs[layout.first[b] + own]
            on = np.array([[key >> int(k) & 1 for k in own] for key in bits], dtype=np.float64)
            self.decode[self.codes[i] : self.codes[i] + n, : len(own)] = on * signs

        digits = np.zeros((len(order), 256), dtype=np.uint16)
        word_of = np.repeat(np.arange(len(packed), dtype=np.int32), self.width)
        places = []
        i = 0
        for w, word in enumerate(packed):
            value = np.arange(sizes[w])
            stride = 1
            columns_of = []
            for _ in word:
                n, _, _, lut, _ = order[i]
                digits[i, : len(lut)] = np.array(lut) * stride
                columns_of.append(value // stride % n + self.codes[i])
                stride *= n
                i += 1
            places.append(np.stack(columns_of, axis=1).ravel())
        self.place = np.concatenate(places).astype(np.int32) if places else np.zeros(0, np.int32)
        self.words = np.empty((len(packed), rows.n_rows if at is None else len(at)), dtype=np.uint16)
        if self.words.size:
            used = np.array([b for _, b, *_ in order], dtype=np.int32)
            which = np.zeros(0, np.int32) if at is None else at
            _rows.build_words(rows.codes, used, word_of, digits, which, self.words)

    @property
    def n_entries(self) -> int:
        """Values of all words together."""
        return int(self.offsets[-1])

    def table(self, beta: Float) -> Float:
        """Return the linear predictor of each value of each word, shape (n_entries, 4), no intercept."""
        blocks = np.empty((len(self.decode), 4))
        _stats.decode_lanes(self.decode, self.codes, self.starts, beta, blocks)
        out = np.empty((self.n_entries, 4))
        _stats.lane_table(self.place, self.offsets, self.width, blocks, out)
        return out

    def keep(self, first: NDArray[np.int32]) -> None:
        """Keep the rows at `first` only."""
        self.words = np.ascontiguousarray(self.words[:, first])

    def sums(self, weight: Float) -> Float:
        """Return X'weight, shape (n_columns, 4), for a weight of the rows, shape (n_rows, 4)."""
        hist = np.empty((self.n_entries, 4))
        _stats.lane_histogram(self.words, self.offsets, weight, hist)
        return self._decoded(hist)

    def sums_of(self, pattern: NDArray[np.int32], value: Float, lanes: Lanes) -> Float:
        """Return X'(exposure * value[pattern]), shape (n_columns, 4), for a value of each pattern and lane."""
        hist = np.empty((self.n_entries, 4))
        _stats.lane_histogram_of(
            self.words,
            self.offsets,
            pattern,
            value,
            lanes.amount,
            lanes.groups,
            lanes.group,
            lanes.share,
            hist,
        )
        return lanes.unit * self._decoded(hist)

    def _decoded(self, hist: Float) -> Float:
        blocks = np.empty((len(self.decode), 4))
        _stats.lane_marginals(self.place, self.offsets, self.width, hist, blocks)
        out = np.empty((len(self.columns), 4))
        _stats.encode_lanes(self.decode, self.codes, self.starts, blocks, out)
        return out

    def grams(self, weight: Float, lanes: int, poll: Callable[[], None]) -> tuple[list[Float], Float]:
        """Return X'diag(weight)X of the first lanes, each (n_columns, n_columns), and X'weight, (n_columns, 4).

        `poll` is called before each word.
        """
        ends = np.concatenate([[0], np.cumsum(self.width)])
        starts = np.concatenate([[0], np.cumsum(np.diff(self.offsets).astype(np.int64) * self.width)])
        n = len(self.decode)
        joint = np.zeros((n, n, 4))
        for w in range(len(self.width)):
            poll()
            _stats.lane_joint(
                self.words, self.offsets, self.place, starts, self.width, self.codes[ends], weight, w, joint
            )
        out = []
        for f in range(lanes):
            gram = np.empty((len(self.columns), len(self.columns)))
            _stats.decode_joint(self.decode, self.codes, self.starts, f, joint, gram)
            out.append(gram)
        centre = np.empty((len(self.columns), 4))
        diagonal = np.ascontiguousarray(joint[np.arange(n), np.arange(n)])
        _stats.encode_lanes(self.decode, self.codes, self.starts, diagonal, centre)
        return out, centre

"""Convolutions of stride 1 as matrix products with fewer multiplications (Winograd 1980, Lavin and Gray 2015).

F(m, r) gives m neighbouring outputs of a filter of r taps from m + r - 1 inputs with as many products a pair of
channels, instead of m r. 3×3 filters are taken apart along both axes by F(4, 3), 36 products for 144, and 5×5 filters
by F(2, 5), 36 for 100; 1×7 and 7×1 filters along one axis by F(2, 7), 8 for 14. The products of all tiles and channels
are matrix products, which a CPU runs near its peak.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# By measurement on two cores.
MANY_TILES = 128


class Transform(NamedTuple):
    """F(m, r): y = output @ ((kernel @ filter) * (input @ x)) for m outputs y of m + r - 1 inputs x.

    Attributes:
        tile: m.
        input: `[m + r - 1, m + r - 1]`.
        kernel: `[m + r - 1, r]`.
        output: `[m, m + r - 1]`.
    """

    tile: int
    input: np.ndarray
    kernel: np.ndarray
    output: np.ndarray


def transform_of(tile: int, taps: int, points: tuple[float, ...]) -> Transform:
    """F(tile, taps) by Toom and Cook: polynomials are evaluated at the points and at infinity, the last row."""
    count = tile + taps - 1
    assert len(points) == count - 1
    inputs, kernel, output = np.zeros((count, count)), np.zeros((count, taps)), np.zeros((tile, count))
    for row, point in enumerate(points):
        others = np.delete(np.asarray(points), row)
        inputs[row, : count - 1] = np.poly(others)[::-1]
        kernel[row] = point ** np.arange(float(taps)) / np.prod(point - others)
        output[:, row] = point ** np.arange(float(tile))
    inputs[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = output[-1, -1] = 1
    return Transform(tile, inputs, kernel, output)


SQUARE = {taps: transform_of(7 - taps, taps, (0.0, 1.0, -1.0, 2.0, -2.0)) for taps in (3, 5)}
# Wider tiles save more and lose precision: F(4, 7) is off by 1e-4.
LINE = transform_of(2, 7, (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5))


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """`[3, 3, C, K]` or `[5, 5, C, K]` to `[36, C, K]`, `[1, 7, C, K]` or `[7, 1, C, K]` to `[8, C, K]`; float32."""
    exact = kernel.astype(np.float64)
    if kernel.shape[0] == kernel.shape[1]:
        along = SQUARE[kernel.shape[0]].kernel
        transformed = np.einsum("ai,bj,ijck->abck", along, along, exact)
    else:
        transformed = np.einsum("ai,ick->ack", LINE.kernel, exact.reshape(7, *kernel.shape[2:]))
    return transformed.reshape(-1, *kernel.shape[2:]).astype(np.float32)


def convolve(x: jax.Array, transformed: jax.Array, taps: int, padding: int) -> jax.Array:
    """A 3×3 or 5×5 convolution: `[N, H, W, C]` to `[N, H', W', K]`, float32.

    Args:
        x: `[N, H, W, C]`.
        transformed: `[36, C, K]`, from `transform_kernel`.
        taps: 3 or 5.
        padding: pixels of zeros on every side.
    """
    square = SQUARE[taps]
    batch, channels, width = x.shape[0], x.shape[3], transformed.shape[2]
    x, rows = _tiled(x, square, 1, padding)
    x, columns = _tiled(x, square, 2, padding)
    # Whole rows of pixels first: 6 arrays instead of 36 until the columns are taken apart too.
    lines = _combine(square.input, _strided(x, square, 1))
    tiles = [tile for line in lines for tile in _combine(square.input, _strided(line, square, 2))]
    products = _products([tile.reshape(-1, channels) for tile in tiles], transformed)
    shape = (batch, len(rows), len(columns), width)
    halves = [[row.reshape(shape) for row in _combine(square.output, products[6 * i : 6 * i + 6])] for i in range(6)]
    lines = [jnp.stack(line, axis=3).reshape(batch, len(rows), -1, width) for line in halves]
    size = (square.tile * len(rows), square.tile * len(columns))
    whole = jnp.stack(_combine(square.output, lines), axis=2).reshape(batch, *size, width)
    return whole[:, : rows.stop, : columns.stop]


def convolve_line(x: jax.Array, transformed: jax.Array, axis: int, padding: int) -> jax.Array:
    """A 1×7 (`axis` 2) or 7×1 (`axis` 1) convolution, as `convolve`; the padding is along that axis alone."""
    channels, width = x.shape[3], transformed.shape[2]
    x, tiles = _tiled(x, LINE, axis, padding)
    cut = _combine(LINE.input, _strided(x, LINE, axis))
    shape = (*cut[0].shape[:3], width)
    products = _products([part.reshape(-1, channels) for part in cut], transformed)
    outputs = [part.reshape(shape) for part in _combine(LINE.output, products)]
    whole = jnp.stack(outputs, axis=axis + 1)
    whole = whole.reshape(*whole.shape[:axis], -1, *whole.shape[axis + 2 :])
    return jax.lax.slice_in_dim(whole, 0, tiles.stop, axis=axis)


def _tiled(x: jax.Array, transform: Transform, axis: int, padding: int) -> tuple[jax.Array, range]:
    """`x` with zeros around, so that tiles fill it along an axis; and their first outputs, up to the last output."""
    taps = transform.kernel.shape[1]
    outputs = range(0, x.shape[axis] + 2 * padding - taps + 1, transform.tile)
    after = len(outputs) * transform.tile + taps - 1 - padding - x.shape[axis]
    widths = [(0, 0)] * 4
    widths[axis] = (padding, after)
    return jnp.pad(x, widths), outputs


def _strided(x: jax.Array, transform: Transform, axis: int) -> list[jax.Array]:
    """The first, second, … input of every tile along an axis."""
    count = transform.input.shape[0]
    last = x.shape[axis] - count
    return [jax.lax.slice_in_dim(x, i, i + last + 1, transform.tile, axis) for i in range(count)]


def _products(tiles: list[jax.Array], transformed: jax.Array) -> list[jax.Array]:
    """The matrix products: one call for few tiles, else one each, which then runs on all cores."""
    if tiles[0].shape[0] >= MANY_TILES:
        return [tile @ kernel for tile, kernel in zip(tiles, transformed, strict=True)]
    return list(jnp.matmul(jnp.stack(tiles), transformed))


def _combine(matrix: np.ndarray, arrays: list[jax.Array]) -> list[jax.Array]:
    """A sum of multiples of the arrays for each row of the matrix."""
    terms = [
        [_times(factor, array) for factor, array in zip(row, arrays, strict=True) if factor] for row in matrix.tolist()
    ]
    return [functools.reduce(operator.add, row) for row in terms]


def _times(factor: float, array: jax.Array) -> jax.Array:
    return array if factor == 1 else array * jnp.asarray(factor, array.dtype)

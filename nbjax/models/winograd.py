"""3×3 convolutions of stride 1 as matrix products: Winograd's F(4×4, 3×3) (Lavin and Gray 2015).

A 4×4 tile of the output follows from a 6×6 tile of the input with 36 products a pair of channels instead of 144. Here the
36 products of all tiles and channels are matrix products, which a CPU runs near its peak.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4
# By measurement on two cores.
MANY_TILES = 128
# For input tiles, kernels and output tiles; a row a result, a column an operand (the paper's B transposed, G and A
# transposed for the points 0, 1, -1, 2, -2 and infinity).
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """`[3, 3, C, K]` to `[36, C, K]`, float32."""
    transformed = np.einsum("ai,bj,ijck->abck", KERNEL, KERNEL, kernel.astype(np.float64))
    return transformed.reshape(36, *kernel.shape[2:]).astype(np.float32)


def convolve(x: jax.Array, transformed: jax.Array) -> jax.Array:
    """The convolution with one pixel of zeros around: `[N, H, W, C]` to `[N, H, W, K]`, float32.

    Args:
        x: `[N, H, W, C]`.
        transformed: `[36, C, K]`, from `transform_kernel`.
    """
    batch, height, width, channels = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    padding = ((0, 0), (1, TILE * rows + 1 - height), (1, TILE * columns + 1 - width), (0, 0))
    padded = jnp.pad(x, padding)
    # Whole rows of pixels first: 6 arrays instead of 36 until the columns are taken apart too.
    lines = _combine(INPUT, [padded[:, i : i + TILE * rows - TILE + 1 : TILE] for i in range(6)])
    span = TILE * columns - TILE + 1
    tiles = [_combine(INPUT, [line[:, :, j : j + span : TILE] for j in range(6)]) for line in lines]
    products = _products([[tile.reshape(-1, channels) for tile in line] for line in tiles], transformed)
    shape = (batch, rows, columns, transformed.shape[2])
    halves = [[one.reshape(shape) for one in _combine(OUTPUT, line)] for line in products]
    lines = [jnp.stack(line, axis=3).reshape(batch, rows, TILE * columns, -1) for line in halves]
    whole = jnp.stack(_combine(OUTPUT, lines), axis=2).reshape(batch, TILE * rows, TILE * columns, -1)
    return whole[:, :height, :width]


def _products(tiles: list[list[jax.Array]], transformed: jax.Array) -> list[list[jax.Array]]:
    """The 36 matrix products: one call for few tiles, else one each, which then runs on all cores."""
    if tiles[0][0].shape[0] >= MANY_TILES:
        return [[tiles[i][j] @ transformed[6 * i + j] for j in range(6)] for i in range(6)]
    products = jnp.matmul(jnp.stack([tile for line in tiles for tile in line]), transformed)
    return [[products[6 * i + j] for j in range(6)] for i in range(6)]


def _combine(matrix: np.ndarray, arrays: list[jax.Array]) -> list[jax.Array]:
    """A sum of multiples of the arrays for each row of the matrix."""
    terms = [
        [_times(factor, array) for factor, array in zip(row, arrays, strict=True) if factor] for row in matrix.tolist()
    ]
    return [functools.reduce(operator.add, row) for row in terms]


def _times(factor: float, array: jax.Array) -> jax.Array:
    return array if factor == 1 else array * jnp.asarray(factor, array.dtype)

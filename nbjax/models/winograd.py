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
MANY_TILES = 512
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
    last = TILE * rows - TILE + 1, TILE * columns - TILE + 1
    pixels = [[padded[:, i : i + last[0] : TILE, j : j + last[1] : TILE] for j in range(6)] for i in range(6)]
    tiles = _both_axes(INPUT, pixels)
    flat = [[tile.reshape(-1, channels) for tile in line] for line in tiles]
    products = _products(flat, transformed)
    results = _both_axes(OUTPUT, products)
    shape = (batch, rows, columns, 1, transformed.shape[2])
    lines = [jnp.concatenate([result.reshape(shape) for result in line], axis=3) for line in results]
    whole = jnp.stack(lines, axis=2).reshape(batch, TILE * rows, TILE * columns, -1)
    return whole[:, :height, :width]


def _products(flat: list[list[jax.Array]], transformed: jax.Array) -> list[list[jax.Array]]:
    """The 36 matrix products: one call for few tiles, else one each, which then runs on all cores."""
    if flat[0][0].shape[0] >= MANY_TILES:
        return [[flat[i][j] @ transformed[6 * i + j] for j in range(6)] for i in range(6)]
    stacked = jnp.stack([tile for line in flat for tile in line])
    products = jnp.matmul(stacked, transformed)
    return [[products[6 * i + j] for j in range(6)] for i in range(6)]


def _both_axes(matrix: np.ndarray, grid: list[list[jax.Array]]) -> list[list[jax.Array]]:
    """`matrix @ grid @ matrix.T`, of a grid of arrays, in plain additions."""
    columns = [_combine(matrix, [line[j] for line in grid]) for j in range(len(grid[0]))]
    return [_combine(matrix, [column[i] for column in columns]) for i in range(len(matrix))]


def _combine(matrix: np.ndarray, arrays: list[jax.Array]) -> list[jax.Array]:
    """A sum of multiples of the arrays for each row of the matrix."""
    terms = [
        [_times(factor, array) for factor, array in zip(row, arrays, strict=True) if factor] for row in matrix.tolist()
    ]
    return [functools.reduce(operator.add, row) for row in terms]


def _times(factor: float, array: jax.Array) -> jax.Array:
    return array if factor == 1 else array * jnp.asarray(factor, array.dtype)

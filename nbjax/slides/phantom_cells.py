"""The phantom's cells: small pictures drawn once a slide, then stamped wherever a cell lies."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

# Elongated cells come in this many orientations over half a turn.
ORIENTATIONS = 16


class Stamps(NamedTuple):
    """Pictures of one kind of cell; picture k has orientation `k % ORIENTATIONS`, in steps of pi / ORIENTATIONS.

    Attributes:
        through: float32 `[K, S, S, 1]`, the part of what lies below that stays visible.
        stain: float32 `[K, S, S, 2]`, the haematoxylin and eosin that the cell adds.
    """

    through: np.ndarray
    stain: np.ndarray


def stamps(cover: np.ndarray, haematoxylin: np.ndarray, eosin: np.ndarray) -> Stamps:
    """Stamps from float arrays `[K, S, S]`: how much a cell covers, in [0, 1], and the stain amounts where it does."""
    stain = np.stack([haematoxylin, eosin], axis=-1) * cover[..., None]
    return Stamps((1 - cover[..., None]).astype(np.float32), np.maximum(stain, 0).astype(np.float32))


def paint(canvas: np.ndarray, cells: Stamps, which: np.ndarray, points: np.ndarray) -> None:
    """Stamps cells onto a canvas, in place, the later ones on top.

    Args:
        canvas: float32 `[H, W, 2]`, haematoxylin and eosin amounts.
        cells: the pictures.
        which: int `[N]`, the picture of each cell.
        points: int `[N, 2]`, row and column of each centre; a cell that would cross the canvas's edge is cut there.
    """
    size = cells.through.shape[1]
    corners = points - size // 2
    inside = np.all((corners >= 0) & (corners + size <= canvas.shape[:2]), axis=1)
    for k, (row, column) in zip(which[inside].tolist(), corners[inside].tolist(), strict=True):
        region = canvas[row : row + size, column : column + size]
        region *= cells.through[k]
        region += cells.stain[k]
    for k, (row, column) in zip(which[~inside].tolist(), corners[~inside].tolist(), strict=True):
        top, left = max(-row, 0), max(-column, 0)
        region = canvas[max(row, 0) : max(row + size, 0), max(column, 0) : max(column + size, 0)]
        part = np.s_[k, top : top + region.shape[0], left : left + region.shape[1]]
        region *= cells.through[part]
        region += cells.stain[part]


def depth(
    rng: np.random.Generator, size: int, lengths: np.ndarray, widths: np.ndarray, angles: np.ndarray, roughness: float
) -> np.ndarray:
    """Signed distance, roughly in pixels and positive inside, from the outlines of rough ellipses.

    Args:
        rng: random numbers.
        size: side of a picture.
        lengths: `[K]`, half axes along `angles`, pixels.
        widths: `[K]`, half axes across them, pixels.
        angles: `[K]`, radians from the x axis towards the y axis.
        roughness: relative size of the outline's bumps.

    Returns:
        float32 `[K, size, size]`.
    """
    count = len(lengths)
    across = np.arange(size, dtype=np.float32) - size // 2
    shift = rng.uniform(-0.5, 0.5, (2, count, 1, 1)).astype(np.float32)
    y, x = across[:, None] + shift[0], across[None, :] + shift[1]
    a, b, cos, sin = np.array([lengths, widths, np.cos(angles), np.sin(angles)], np.float32)[..., None, None]
    along, aside = x * cos + y * sin, y * cos - x * sin
    turn = np.arctan2(aside / b, along / a)
    outline = np.ones_like(turn)
    for waves in (2, 3, 5):
        phase = rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
        height = rng.uniform(0.3, 1, (count, 1, 1)).astype(np.float32) * np.float32(roughness / np.sqrt(waves))
        outline += height * np.cos(waves * turn + phase)
    radius = np.hypot(along / a, aside / b)
    slope = np.hypot(along, aside) / np.maximum(radius, 1e-6)
    return (outline - radius) * np.where(radius < 1e-3, np.minimum(a, b), slope)


def grain(rng: np.random.Generator, count: int, size: int, sigma: float) -> np.ndarray:
    """Zero-mean, unit-variance noise `[count, size, size]` with grains of `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal((count, size, size), np.float32), (0, sigma, sigma))
    return noise / noise.std()


def edge(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 outside, 1 inside, over `softness` pixels."""
    return np.clip(distance / softness + 0.5, 0, 1)


def nuclei(
    rng: np.random.Generator, radius: float, elongation: float, darkness: float, texture: float, variants: int = 8
) -> Stamps:
    """Nuclei with coarse chromatin: small, dark, round (a neuroblast's, a lymphocyte's) or spindle-shaped.

    Args:
        rng: random numbers.
        radius: pixels, of a circle of the same area.
        elongation: length by width.
        darkness: haematoxylin amount.
        texture: relative contrast of the chromatin's grains.
        variants: pictures for each orientation.
    """
    count = variants * ORIENTATIONS
    radii = radius * np.exp(rng.normal(0, 0.11, count))
    stretch = np.sqrt(elongation * np.exp(rng.normal(0, 0.12, count)))
    angles = np.arange(count) % ORIENTATIONS * np.pi / ORIENTATIONS
    size = 2 * int(np.ceil(radius * np.sqrt(elongation) * 1.9)) + 1
    distance = depth(rng, size, radii * stretch, radii / stretch, angles, 0.1)
    level = darkness * np.exp(rng.normal(0, 0.16, (count, 1, 1)))
    rim = np.exp(-np.square((distance - 0.9) / 1.1))
    haematoxylin = level * (0.86 + texture * grain(rng, count, size, radius / 7) + 0.14 * rim)
    return stamps(0.95 * edge(distance, 1.6), np.clip(haematoxylin, 0.2, 1.8), np.full_like(distance, 0.2))


def maturing_cells(rng: np.random.Generator, radius: float, darkness: float, variants: int = 4) -> Stamps:
    """Differentiating neuroblasts: a paler, larger nucleus to one side of a little pink-purple cytoplasm."""
    count = variants * ORIENTATIONS
    size = 2 * int(np.ceil(radius * 2.6)) + 1
    angles = rng.uniform(0, np.pi, count)
    body_radius = radius * rng.uniform(1.4, 1.9, count)
    body = depth(rng, size, body_radius * 1.15, body_radius, angles, 0.12)
    aside = radius * 0.5
    nucleus = _moved(depth(rng, size, np.full(count, radius), np.full(count, radius * 0.9), angles, 0.08), rng, aside)
    inside = edge(nucleus, 1.6)
    rim = np.exp(-np.square((nucleus - 0.8) / 1.1))
    chromatin = darkness * (0.58 + 0.16 * grain(rng, count, size, radius / 7) + 0.35 * rim)
    haematoxylin = 0.22 * (1 - inside) + chromatin * inside
    eosin = (0.6 + 0.06 * grain(rng, count, size, 1.0)) * (1 - inside) + 0.2 * inside
    return stamps(np.maximum(0.85 * edge(body, 2.0), inside), haematoxylin, eosin)


def ganglion_cells(rng: np.random.Generator, radius: float, darkness: float, count: int = 32) -> Stamps:
    """Ganglion-like cells: ample pink-purple cytoplasm, an eccentric vesicular nucleus with a nucleolus, a pale cleft.

    Args:
        rng: random numbers.
        radius: of the cell's body, pixels.
        darkness: haematoxylin amount of the nuclear rim and the nucleolus.
        count: pictures.
    """
    size = 2 * int(np.ceil(radius * 1.75)) + 1
    radii, angles = radius * rng.uniform(0.72, 1.12, count), rng.uniform(0, np.pi, count)
    body = depth(rng, size, radii * rng.uniform(1.0, 1.3, count), radii * rng.uniform(0.85, 1.0, count), angles, 0.13)
    core = radii * rng.uniform(0.42, 0.5, count)
    nucleus = depth(rng, size, core, core * rng.uniform(0.85, 1.0, count), angles, 0.05)
    dot = depth(rng, size, core * 0.27, core * 0.27, angles, 0.1)
    nucleus, dot = _moved(np.stack([nucleus, dot], axis=1), rng, 0.36 * radius).swapaxes(0, 1)
    inside, spot = edge(nucleus, 1.6), edge(dot, 1.4)
    rim = np.exp(-np.square((nucleus - 0.9) / 1.1))
    chromatin = darkness * (0.3 + 0.09 * grain(rng, count, size, 1.1) + 0.5 * rim)
    # Nissl substance: blue-purple granules, denser towards the rim of the body.
    nissl = 0.16 + 0.08 * grain(rng, count, size, 1.3) + 0.1 * np.exp(-np.square((body - 3) / 4))
    haematoxylin = nissl * (1 - inside) + (chromatin * (1 - spot) + 1.1 * darkness * spot) * inside
    eosin = (rng.uniform(0.5, 0.8, (count, 1, 1)) + 0.06 * grain(rng, count, size, 1.6)) * (1 - inside) + (
        0.22 + 0.4 * spot
    ) * inside
    width = rng.uniform(0.7, 1.9, (count, 1, 1))
    cleft = 0.75 * np.exp(-np.square((body + width) / width)) * edge(grain(rng, count, size, radius / 3) - 0.3, 1.2)
    cell = edge(body, 2.6)
    return stamps(np.maximum(0.95 * cell, cleft), haematoxylin * cell, eosin * cell + 0.1 * (1 - cell))


def rosette_cores(rng: np.random.Generator, radius: float, count: int = 24) -> Stamps:
    """The fibrillary cores of Homer Wright rosettes: pink, with fibrils that run towards the centre."""
    size = 2 * int(np.ceil(radius * 1.6)) + 1
    radii, angles = radius * rng.uniform(0.8, 1.15, count), rng.uniform(0, np.pi, count)
    core = depth(rng, size, radii * 1.1, radii * 0.92, angles, 0.1)
    across = np.arange(size) - size // 2
    turn = np.arctan2(across[:, None], across[None, :])
    fibrils = sum(np.cos(k * turn + rng.uniform(0, 2 * np.pi, (count, 1, 1))) for k in (7, 11, 16, 23)) / 2
    tangle = 0.05 * fibrils + 0.06 * grain(rng, count, size, 0.9)
    return stamps(0.92 * edge(core, 4.0), np.full_like(core, 0.03), 0.42 + tangle)


def blood_cells(rng: np.random.Generator, radius: float) -> Stamps:
    """Red blood cells: small strongly eosinophilic discs without a nucleus, paler in the middle."""
    size = 2 * int(np.ceil(radius * 1.6)) + 1
    radii, angles = radius * rng.uniform(0.85, 1.1, ORIENTATIONS), rng.uniform(0, np.pi, ORIENTATIONS)
    disc = depth(rng, size, radii, radii * rng.uniform(0.75, 1.0, ORIENTATIONS), angles, 0.06)
    return stamps(edge(disc, 1.6), np.zeros_like(disc), 1.15 - 0.04 * np.clip(disc, 0, 5))


def _moved(pictures: np.ndarray, rng: np.random.Generator, reach: float) -> np.ndarray:
    """Each picture `[K, ..., S, S]` moved by `reach` pixels in a random direction."""
    moves = np.exp(1j * rng.uniform(0, 2 * np.pi, len(pictures))) * reach
    shifts = np.rint([moves.real, moves.imag]).astype(int).T
    return np.stack([np.roll(picture, shift, (-2, -1)) for picture, shift in zip(pictures, shifts, strict=True)])

"""The phantom's tissue: the look of a slide, its regions, fibres and cells, and the light that they absorb.

A slide is a picture of two stain amounts, haematoxylin and eosin; its colours follow from Beer and Lambert's law.
"""

from typing import NamedTuple

import numpy as np
import PIL.Image
from scipy import fft, ndimage, special

from nbjax.slides import phantom_cells as cells

# Regions vary slowly: they are drawn on a grid this many pixels wide and interpolated.
STEP = 4
# Side of the periodic fibre textures; a power of two, so that a bit mask wraps coordinates.
TEXTURE = 1024
# Rows drawn at a time: keeps the memory of a large slide low.
BAND = 512


class Look(NamedTuple):
    """What the patches of one slide share.

    Attributes:
        differentiation: in [0, 1], the share of the tissue that looks differentiated.
        softness: how gradually tissue turns from poorly differentiated to differentiated.
        stains: float `[2, 3]`, optical density in red, green and blue of one unit of haematoxylin and of eosin.
        light: float `[3]`, transmittance of bare glass.
        blur: standard deviation of the optical blur, pixels.
        radius: of a neuroblast's nucleus, pixels.
        spacing: between neuroblasts, in nuclear radii.
        darkness: haematoxylin amount of a nucleus.
        chromatin: contrast of its grains.
        angle: main direction of the fibres, radians.
        waviness: of the fibres, relative.
        stroma: share of differentiated tissue that is Schwannian stroma, the rest being neuropil.
        rosettes: chance of a rosette at each of its possible places.
        ganglia: the same for a ganglion-like cell.
        glass: share of the slide without tissue.
        pale: share of the tissue that is pale and acellular.
    """

    differentiation: float
    softness: float
    stains: np.ndarray
    light: np.ndarray
    blur: float
    radius: float
    spacing: float
    darkness: float
    chromatin: float
    angle: float
    waviness: float
    stroma: float
    rosettes: float
    ganglia: float
    glass: float
    pale: float


class Regions(NamedTuple):
    """Slow fields on the coarse grid, float32 `[H / STEP, W / STEP]`; shares are in [0, 1].

    Attributes:
        tissue: 1 where tissue covers the glass.
        mature: 0 poorly differentiated, 1 differentiated.
        stroma: 1 in Schwannian stroma and in fibrous septa.
        pale: 1 in acellular zones.
        along: fibre coordinate along the fibres, pixels.
        across: fibre coordinate across them, pixels.
    """

    tissue: np.ndarray
    mature: np.ndarray
    stroma: np.ndarray
    pale: np.ndarray
    along: np.ndarray
    across: np.ndarray


def draw_look(rng: np.random.Generator, differentiation: float) -> Look:
    """Draws a slide's look; nothing but `differentiation` tells the labels apart."""
    strength = np.exp(rng.uniform(np.log(0.45), np.log(1.6)))
    haematoxylin = np.array([rng.uniform(0.52, 0.76), rng.uniform(0.56, 0.74), rng.uniform(0.12, 0.36)])
    eosin = np.array([rng.uniform(0.06, 0.24), rng.uniform(0.38, 0.54), rng.uniform(0.08, 0.28)])
    brightness = rng.uniform(0.93, 0.99)
    return Look(
        differentiation=differentiation,
        softness=float(np.exp(rng.uniform(np.log(0.4), np.log(2.0)))),
        stains=np.stack([haematoxylin * strength, eosin * strength * rng.uniform(0.65, 1.35)]),
        light=brightness * rng.uniform(0.985, 1.01, 3),
        blur=rng.uniform(0.6, 1.3),
        radius=rng.uniform(5.2, 7.0),
        spacing=rng.uniform(2.3, 2.9),
        darkness=rng.uniform(0.95, 1.3),
        chromatin=rng.uniform(0.1, 0.24),
        angle=rng.uniform(0, np.pi),
        waviness=rng.uniform(0.5, 1.3),
        stroma=rng.uniform(0.35, 0.8),
        rosettes=rng.uniform(0.25, 0.85),
        ganglia=rng.uniform(0.25, 0.8),
        glass=float(rng.choice([0.01, 0.12, 0.43], p=[0.5, 0.2, 0.3]) * rng.uniform(0.6, 1.4)),
        pale=rng.uniform(0.0, 0.1),
    )


def draw_tissue(rng: np.random.Generator, look: Look, height: int, width: int) -> np.ndarray:
    """Draws a slide: uint8 `[height, width, 3]`, RGB."""
    regions = draw_regions(rng, look, height, width)
    canvas = draw_ground(rng, regions, height, width)
    draw_cells(rng, look, regions, canvas)
    return develop(rng, look, canvas)


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Zero-mean noise of about unit variance whose bumps are about `scale` pixels wide: float32 `[height, width]`."""
    rows, columns = height / scale, width / scale
    top, left = rng.uniform(1, 2, 2)
    coarse = rng.standard_normal((int(rows) + 6, int(columns) + 6)).astype(np.float32)
    box = (left, top, left + columns, top + rows)
    image = PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC, box)
    return np.asarray(image) / np.float32(0.8)


def fibre_texture(rng: np.random.Generator, along: float, across: float) -> np.ndarray:
    """Periodic noise of unit variance, `along` by `across` pixels long and wide: float32 `[TEXTURE, TEXTURE]`."""
    y = np.exp(-2 * np.square(np.pi * across * fft.fftfreq(TEXTURE))).astype(np.float32)
    x = np.exp(-2 * np.square(np.pi * along * fft.rfftfreq(TEXTURE))).astype(np.float32)
    spectrum = fft.rfft2(rng.standard_normal((TEXTURE, TEXTURE), np.float32)) * y[:, None] * x
    noise = fft.irfft2(spectrum, s=(TEXTURE, TEXTURE))
    return noise / noise.std()


def draw_regions(rng: np.random.Generator, look: Look, height: int, width: int) -> Regions:
    """Draws where there is glass, which tissue lies where, and how its fibres run."""
    rows, columns = -(-height // STEP), -(-width // STEP)

    def noise(*scales: float) -> np.ndarray:
        parts = [smooth_noise(rng, rows, columns, scale / STEP) * scale**0.7 for scale in scales]
        return sum(parts) / np.sqrt(sum(scale**1.4 for scale in scales))

    y = np.arange(rows, dtype=np.float32)[:, None] * STEP
    x = np.arange(columns, dtype=np.float32)[None, :] * STEP
    # Tissue ends at one side more often than in the middle.
    side = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(side) * (x / width - 0.5) + np.sin(side) * (y / height - 0.5)
    bare = noise(2000, 200, 60, 16) + rng.uniform(1, 4) * ramp
    level = np.quantile(bare, 1 - look.glass)
    crack = ndimage.gaussian_filter(np.abs(noise(260, 90)) - 0.04 * noise(400) + 0.04, 1.2)
    tissue = np.minimum(level - bare, crack * 6)
    mixture = noise(650, 260)
    # The mean of this over normal noise is `differentiation`, however soft the transition.
    centre = special.ndtri(look.differentiation) * np.hypot(1, look.softness)
    mature = special.ndtr((mixture + centre) / look.softness)
    patchy = noise(420, 150)
    schwannian = _share(patchy - np.quantile(patchy, 1 - look.stroma), 0.25)
    septa = _share(0.05 - np.abs(noise(420, 110)) + 0.05 * noise(500), 0.06)
    barren = noise(320, 120)
    sway = look.waviness * 34 * noise(260) + look.waviness * 7 * noise(60)
    return Regions(
        tissue=_share(tissue, 0.08),
        mature=mature,
        stroma=mature * schwannian + (1 - mature) * septa,
        pale=_share(barren - np.quantile(barren, 1 - look.pale), 0.7),
        along=np.cos(look.angle) * x + np.sin(look.angle) * y + 24 * noise(200) + 6 * noise(70),
        across=np.cos(look.angle) * y - np.sin(look.angle) * x + sway,
    )


def _share(field: np.ndarray, softness: float) -> np.ndarray:
    """0 where `field` is negative, 1 where positive, softly in between."""
    return np.clip(field / softness + 0.5, 0, 1).astype(np.float32)


def draw_ground(rng: np.random.Generator, regions: Regions, height: int, width: int) -> np.ndarray:
    """Draws what lies between the cells: neuropil, stroma, scanty cytoplasm; float32 `[height, width, 2]`."""
    long, short = fibre_texture(rng, 45, 3.0), fibre_texture(rng, 7, 1.6)
    images = [PIL.Image.fromarray(field.astype(np.float32)) for field in regions]
    canvas = np.empty((height, width, 2), np.float32)
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        box = (0, top / STEP, width / STEP, bottom / STEP)
        size = (width, bottom - top)
        fine = [np.asarray(image.resize(size, PIL.Image.Resampling.BILINEAR, box)) for image in images]
        canvas[top:bottom] = _ground(Regions(*fine), long, short)
    return canvas


def _ground(regions: Regions, long: np.ndarray, short: np.ndarray) -> np.ndarray:
    """The ground of a band of the slide, from its regions interpolated to pixels and two fibre textures."""
    tissue, mature, stroma, pale, along, across = regions

    def look_up(texture: np.ndarray, v: np.ndarray, u: np.ndarray, fineness: float) -> np.ndarray:
        index = (v * np.float32(fineness)).astype(np.int32) & (TEXTURE - 1)
        index *= TEXTURE
        index += (u * np.float32(fineness)).astype(np.int32) & (TEXTURE - 1)
        return texture.ravel()[index]

    bundles = 0.7 * look_up(long, across, along, 1.0) + 0.6 * look_up(long, across, along, 1.9)
    slant, turned = 0.5 * across + 0.87 * along, 0.87 * across - 0.5 * along
    tangle = 0.75 * look_up(short, turned, slant, 1.2) + 0.65 * look_up(short, slant + across, along - turned, 0.9)
    loose = np.clip((bundles + 2.1) / 0.7, 0.2, 1)
    neuropil = mature * (1 - stroma)
    packed = (1 - mature) * (1 - stroma)
    eosin = (
        stroma * (0.42 + 0.13 * bundles) * loose + neuropil * (0.3 + 0.08 * tangle) + packed * (0.25 + 0.075 * tangle)
    )
    haematoxylin = stroma * 0.04 + neuropil * (0.05 + 0.015 * tangle) + packed * (0.1 + 0.04 * tangle)
    kept = tissue * (1 - pale * (0.6 - 0.09 * tangle))
    return np.stack([haematoxylin * kept, np.maximum(eosin, 0) * kept], axis=-1)


def draw_cells(rng: np.random.Generator, look: Look, regions: Regions, canvas: np.ndarray) -> None:
    """Draws every cell onto the ground, in place."""
    living = regions.tissue * (1 - np.clip(2 * regions.pale, 0, 1))
    living = np.where(regions.tissue > 0.6, living, 0)
    packed = living * (1 - regions.mature) * (1 - regions.stroma)
    between = living * 2 * regions.mature * (1 - regions.mature) * (1 - regions.stroma)
    r = look.radius
    rows, columns = living.shape
    clusters = 0.6 + 0.8 * smooth_noise(rng, rows, columns, 180 / STEP)
    large = scatter(rng, living * regions.mature * np.clip(clusters, 0.02, 1) * look.ganglia, 9.5 * r)
    rosettes = scatter(rng, packed * np.clip(clusters + 0.3, 0.05, 1) * look.rosettes, 12.5 * r)
    taken = np.zeros(living.shape, bool)
    _mark(taken, large, 4.2 * r)
    _mark(taken, rosettes, 4.9 * r)
    free = np.where(taken, 0, 1)

    spindles = cells.nuclei(rng, 0.85 * r, 3.6, 0.9 * look.darkness, look.chromatin)
    points = scatter(rng, living * free * np.clip(regions.stroma * (1 - 0.3 * regions.mature), 0, 1), 4.2 * r)
    cells.paint(canvas, spindles, _oriented(rng, spindles, _fibre_angles(regions, points)), points)
    _paint_any(rng, canvas, cells.maturing_cells(rng, 1.3 * r, look.darkness), scatter(rng, between * free, 4.6 * r))
    glia = scatter(rng, living * free * regions.mature * (1 - regions.stroma) * 0.5, 5.5 * r)
    _paint_any(rng, canvas, cells.nuclei(rng, 0.9 * r, 1.5, 0.85 * look.darkness, look.chromatin), glia)

    blasts = cells.nuclei(rng, r, 1.22, look.darkness, look.chromatin)
    points = scatter(rng, packed * free * 0.93, look.spacing * r)
    _paint_any(rng, canvas, blasts, points)
    _paint_any(rng, canvas, cells.rosette_cores(rng, 3.2 * r), rosettes)
    rings = cells.nuclei(rng, r, 1.45, look.darkness, look.chromatin)
    points, angles = ring(rng, rosettes, 3.9 * r, 14)
    cells.paint(canvas, rings, _oriented(rng, rings, angles), points)
    _paint_any(rng, canvas, cells.ganglion_cells(rng, 4.0 * r, look.darkness), large)

    lymph = np.clip(smooth_noise(rng, rows, columns, 110 / STEP) - 1.7, 0, 0.7) + 0.01
    lymphocytes = cells.nuclei(rng, 0.72 * r, 1.1, 1.15 * look.darkness, 0.08)
    _paint_any(rng, canvas, lymphocytes, scatter(rng, living * lymph, 2.6 * r))
    bleed = np.clip(smooth_noise(rng, rows, columns, 90 / STEP) - 2.1, 0, 0.9)
    _paint_any(rng, canvas, cells.blood_cells(rng, 0.85 * r), scatter(rng, living * bleed, 1.9 * r))


def scatter(rng: np.random.Generator, chance: np.ndarray, spacing: float) -> np.ndarray:
    """Points about `spacing` pixels apart, each kept with the chance that the coarse field gives: int `[N, 2]`."""
    height, width = chance.shape[0] * STEP, chance.shape[1] * STEP
    rows = np.arange(-spacing, height + spacing, spacing * np.sqrt(3) / 2)
    columns = np.arange(-spacing, width + spacing, spacing)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    grid[1::2, :, 1] += spacing / 2
    points = grid.reshape(-1, 2) + rng.uniform(-0.36, 0.36, (grid.size // 2, 2)) * spacing
    # Bends the rows, which the eye would follow otherwise.
    y, x = points.T / spacing
    points += 0.7 * spacing * np.stack([np.sin(x / 5.3), np.cos(y / 4.1)], axis=1)
    points = np.rint(points).astype(int)
    points = points[np.all((points >= 0) & (points < (height, width)), axis=1)]
    kept = rng.random(len(points)) < chance[points[:, 0] // STEP, points[:, 1] // STEP]
    return rng.permutation(points[kept])


def ring(rng: np.random.Generator, centres: np.ndarray, radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """About `count` points around each centre, int `[N, 2]`, and the angles `[N]` at which they point to it."""
    turns = (np.arange(count) + rng.uniform(-0.3, 0.3, (len(centres), count))) * 2 * np.pi / count
    turns += rng.uniform(0, 2 * np.pi, (len(centres), 1))
    reach = radius * rng.uniform(0.9, 1.1, (len(centres), 1)) * np.exp(rng.normal(0, 0.09, turns.shape))
    points = centres[:, None, :] + np.stack([np.sin(turns), np.cos(turns)], axis=-1) * reach[..., None]
    kept = rng.random(turns.shape) < 0.93
    return np.rint(points[kept]).astype(int), turns[kept]


def _mark(taken: np.ndarray, points: np.ndarray, radius: float) -> None:
    """Marks the discs around points on the coarse grid."""
    for row, column in points // STEP:
        reach = int(radius / STEP) + 1
        top, left = max(row - reach, 0), max(column - reach, 0)
        region = taken[top : row + reach + 1, left : column + reach + 1]
        y, x = np.ogrid[: region.shape[0], : region.shape[1]]
        region |= np.hypot(y + top - row, x + left - column) * STEP < radius


def _paint_any(rng: np.random.Generator, canvas: np.ndarray, kind: cells.Stamps, points: np.ndarray) -> None:
    cells.paint(canvas, kind, rng.integers(len(kind.stain), size=len(points)), points)


def _oriented(rng: np.random.Generator, kind: cells.Stamps, angles: np.ndarray) -> np.ndarray:
    """For each angle, a random one of the pictures nearest to it."""
    jitter = rng.normal(0, 0.15, len(angles))
    direction = np.rint((angles + jitter) / np.pi * cells.ORIENTATIONS).astype(int) % cells.ORIENTATIONS
    return direction + cells.ORIENTATIONS * rng.integers(len(kind.stain) // cells.ORIENTATIONS, size=len(angles))


def _fibre_angles(regions: Regions, points: np.ndarray) -> np.ndarray:
    """Direction of the fibres at each point: across the gradient of the coordinate that counts fibres."""
    down, right = np.gradient(regions.across)
    row, column = points[:, 0] // STEP, points[:, 1] // STEP
    return np.arctan2(-right[row, column], down[row, column])


def develop(rng: np.random.Generator, look: Look, canvas: np.ndarray) -> np.ndarray:
    """Turns stain amounts `[H, W, 2]` into transmitted light, uint8 `[H, W, 3]` (Beer and Lambert)."""
    height, width, _ = canvas.shape
    uneven = 1 + 0.06 * smooth_noise(rng, height, width, 500)
    amounts = [ndimage.gaussian_filter(canvas[..., i], look.blur, truncate=3) * uneven for i in range(2)]
    decades = look.stains * -np.log(10)
    image = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        density = amounts[0] * np.float32(decades[0, channel]) + amounts[1] * np.float32(decades[1, channel])
        image[..., channel] = np.clip(255 * np.float32(look.light[channel]) * np.exp(density), 0, 255)
    return image

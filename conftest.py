"""Strict settings for every test, and the folder of shared material."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import PIL.Image
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# What a test says must not hang on how busy the machine is, on the order of tests, or on what an earlier run found.
hypothesis.settings.register_profile(
    "alike", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("alike")

SHARED = Path(__file__).parents[1] / "shared"

# Nor on what the user's cache folder holds, or on how a rule has sessions run: `NBJAX_CHOICE=map-16 make test`
# and the like try the others.
_home = tempfile.TemporaryDirectory(prefix="nbjax-tests-", ignore_cleanup_errors=True)
os.environ["NBJAX_HOME"] = _home.name
os.environ.setdefault("NBJAX_CHOICE", "vmap-1")


# A compiled program takes some memory maps, of which Linux gives a process 65,530; XLA aborts where they run out.
MOST_MAPS = 20_000


@pytest.fixture(scope="module", autouse=True)
def few_maps() -> Iterator[None]:
    """Forgets compiled programs after a file of tests that has left many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.is_file() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the builder's battery where it would be deselected: importing it loads TensorFlow."""
    return True if collection_path.name.endswith("builder_test.py") and config.option.markexpr == "not slow" else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared material beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared material is not at {SHARED}")
    return SHARED


def draw_slides(folder: Path, families: dict[str, int]) -> Path:
    """Noise slides of 520x520 pixels, two patches a side: a colour a family, blue for the first label, red for the
    second.
    """
    rng = np.random.default_rng(0)
    for channel, (label, count) in zip((2, 0, 1), families.items(), strict=False):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            tint = rng.integers(60, 140, 3)
            tint[channel] = 190
            pixels = np.clip(tint + rng.normal(0, 25, (520, 520, 3)), 0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(folder / label / f"slide {index}.png")
    return folder


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine slides of label A and six of label B, four patches each; not to be changed."""
    return draw_slides(tmp_path_factory.mktemp("slides"), {"A": 9, "B": 6})

"""The quickstart: EfficientNet-lite0, straightforward adaptation, on a small phantom or on your slides.

python -m experiments.quickstart
python -m experiments.study --config=configs/quickstart.py --slides=FOLDER --out=FOLDER
"""

from nbjax.config import StudyConfig
from nbjax.slides.phantom import SMALL


def get_config() -> StudyConfig:
    """Three learning rates, ten seeds each."""
    return StudyConfig(
        name="quickstart",
        phantom=SMALL,
        learning_rates=(3e-4, 1e-3, 3e-3),
        batch_sizes=(32,),
        epochs=25,
        seeds=10,
    )

"""The quickstart: EfficientNet-lite0, straightforward adaptation, on a small phantom or on your slides.

python -m experiments.quickstart
python -m experiments.study --config=configs/quickstart.py --slides=FOLDER --out=FOLDER
"""

from nbjax.config import StudyConfig
from nbjax.slides.phantom import SMALL


def get_config() -> StudyConfig:
    """The defaults: three learning rates, ten seeds each."""
    return StudyConfig(name="quickstart", phantom=SMALL)

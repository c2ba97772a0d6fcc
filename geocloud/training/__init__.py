"""Training and evaluation: data sets, augmentation, training loop, scores."""

from importlib.util import find_spec

from geocloud.errors import DependencyError


def require_extras() -> None:
    """Raises DependencyError if an optional dependency of training and evaluation is not installed."""
    if lost := [name for name in ("torch", "matplotlib", "tomli_w") if find_spec(name) is None]:
        raise DependencyError(f"training and evaluation need {', '.join(lost)}: pip install 'geocloud[train]'")

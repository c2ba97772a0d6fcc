"""What the channels of an ONNX file mean: told by metadata inside it, or by a TOML file beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError

NIR_MISSING = "nir_missing"
CHANNELS = (*BANDS, NIR_MISSING)
"""What a channel of the input may be. The last one is 1 in images without near-infrared, and 0 in others."""

OUTPUTS = ("sigmoid", "softmax", "probability")


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What the channels of a network's input and output mean. Raises CheckpointError.

    The input is ``(N, channels, H, W)``, float32, (reflectance − mean) / std; the output ``(N, outputs, H, W)``.
    """

    bands: tuple[str, ...]
    """Channels of the input, each one of `CHANNELS`."""
    mean: tuple[float, ...]
    """Of each band's reflectance, without `NIR_MISSING`."""
    std: tuple[float, ...]
    """Standard deviations, the same way."""
    output: str
    """What the network's output becomes probability by: sigmoid, softmax, or probability, if it is that already."""
    cloud: tuple[int, ...] = (0,)
    """Channels of the output, from 0, whose probabilities add up to that of cloud."""
    shadow: tuple[int, ...] = ()
    """The same for cloud shadow; empty: the network detects none."""
    threshold: float = 0.5
    """Pixels with a higher probability of cloud are cloud."""
    shadow_threshold: float = 0.5
    """Pixels with a higher probability of shadow are shadow."""
    pixel_size: float | None = None
    """In metres, that it was trained on; None: any."""
    clip: float | None = None
    """Highest reflectance that the network sees; None: no limit."""

    def __post_init__(self) -> None:
        named = [band for band in self.bands if band != NIR_MISSING]
        if not set(BANDS[:3]) <= set(named) <= set(BANDS) or len(set(self.bands)) < len(self.bands):
            raise CheckpointError(f"bands {list(self.bands)}: wanted each of red, green, blue once, and perhaps nir")
        if len(self.bands) > len(named) and "nir" not in named:
            raise CheckpointError(f"bands {list(self.bands)}: {NIR_MISSING} makes no sense without nir")
        if not len(self.mean) == len(self.std) == len(named) or not all(s > 0 for s in self.std):
            raise CheckpointError(f"wanted a mean and a positive std for each of {', '.join(named)}")
        if self.output not in OUTPUTS:
            raise CheckpointError(f"output {self.output!r}: wanted {', '.join(OUTPUTS)}")
        if not self.cloud or min((*self.cloud, *self.shadow)) < 0:
            raise CheckpointError("cloud and shadow: wanted numbers of output channels from 0, of cloud at least one")
        for threshold in (self.threshold, self.shadow_threshold):
            if not 0 < threshold < 1:
                raise CheckpointError(f"threshold {threshold}: wanted more than 0 and less than 1")
        for name in ("pixel_size", "clip"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise CheckpointError(f"{name} {value}: wanted more than 0")

    @property
    def optional_nir(self) -> bool:
        """Whether near-infrared may be missing."""
        return "nir" not in self.bands or NIR_MISSING in self.bands

    @property
    def classes(self) -> int:
        """Number of probabilities per pixel: 1 cloud, 2 cloud and shadow."""
        return 2 if self.shadow else 1

    @classmethod
    def of(cls, said: dict[str, Any]) -> Meaning:
        """From the values of a TOML file or of metadata. Raises CheckpointError."""
        known = {field.name for field in fields(cls)}
        if unknown := set(said) - known:
            raise CheckpointError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        if lost := [name for name in ("bands", "mean", "std", "output") if name not in said]:
            raise CheckpointError(f"{' and '.join(lost)} not said")
        try:
            lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
            numbers = {name: tuple(float(value) for value in said[name]) for name in ("mean", "std")}
            return cls(**{**said, **lists, **numbers})
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"a value of the wrong type ({error})") from error

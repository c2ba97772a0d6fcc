"""Metadata of a model, stored in its ONNX file and its safetensors file."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from geocloud.bands import BANDS
from geocloud.errors import CheckpointError, ModelNotFoundError
from geocloud.options import explained

KEY = "geocloud"
"""Name of the entry in a model file that holds the metadata as JSON."""

FORMAT = 2
"""Version of the metadata format."""

ARCHITECTURES = ("fast", "unet", "attention-unet")
"""Names of the networks in `geocloud.models.network.NETWORKS`, repeated here because that module needs torch."""

INPUTS, ACTIVATIONS = ("reflectance", "normalised"), ("sigmoid", "softmax", "none")


@explained
@dataclass(frozen=True, slots=True, eq=False)
class ModelMetadata:
    """Metadata of a model: its input, output, thresholds and provenance. Raises CheckpointError."""

    name: str = "custom"
    """Name of the model, for messages and for the tags of results."""
    bands: tuple[str, ...] = BANDS
    """Input bands in order: red, green and blue, and nir if the model takes it."""
    input: str = "reflectance"
    """reflectance: TOA reflectance, NaN where there is no data; nir is all NaN if the image has none and
    ``optional_nir`` is True. normalised: (reflectance − mean) / std, without NaN."""
    mean: tuple[float, ...] = ()
    """Mean reflectance of each band, for normalisation."""
    std: tuple[float, ...] = ()
    """Standard deviation of each band's reflectance, for normalisation."""
    clip: float | None = None
    """Maximum to which reflectance is clipped before normalisation; None: no clipping."""
    activation: str = "none"
    """Activation applied to the network's output: sigmoid, softmax, or none if the output is probability."""
    cloud: tuple[int, ...] = (0,)
    """Output channels, counted from 0, whose probabilities are summed to that of cloud."""
    shadow: tuple[int, ...] = ()
    """Output channels whose probabilities are summed to that of cloud shadow; empty: no shadow class."""
    threshold: float = 0.5
    """Probability of cloud above which a pixel is cloud."""
    shadow_threshold: float = 0.5
    """Probability of shadow above which a pixel is shadow, unless it is cloud."""
    pixel_size: float | None = None
    """Pixel size in metres that the model was trained on; None: any."""
    optional_nir: bool = False
    """True if near-infrared may be missing (NaN over the whole image)."""
    architecture: str = ""
    """Name of the network, one of `ARCHITECTURES`; empty: another program's network."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture."""
    training: dict[str, Any] = field(default_factory=dict)
    """Provenance: configuration of the training run, and scores."""
    licence: str = ""
    """SPDX identifier of the licence of the weights."""
    sha256: str = ""
    """SHA-256 of the trained weights, as computed by `geocloud.models.network.digest`."""

    def __post_init__(self) -> None:
        sizes = {len(self.mean), len(self.std)}
        is_normalised = sizes == {len(self.bands)} or (sizes == {0} and self.input == "reflectance")
        share, positive = "more than 0 and less than 1", "more than 0"
        for name, is_valid, wanted in (
            (
                "bands",
                sorted(self.bands) in (sorted(BANDS), sorted(BANDS[:3])),
                "red, green, blue once, and perhaps nir",
            ),
            ("input", self.input in INPUTS, ", ".join(INPUTS)),
            ("activation", self.activation in ACTIVATIONS, ", ".join(ACTIVATIONS)),
            ("mean", is_normalised, f"a mean for each of {', '.join(self.bands)}, and a std"),
            ("std", all(std > 0 for std in self.std), "positive numbers"),
            ("cloud", self.cloud and min(self.cloud) >= 0, "numbers of output channels from 0, at least one"),
            ("shadow", min(self.shadow, default=0) >= 0, "numbers of output channels from 0"),
            ("threshold", 0 < self.threshold < 1, share),
            ("shadow_threshold", 0 < self.shadow_threshold < 1, share),
            ("pixel_size", self.pixel_size is None or 0 < self.pixel_size < math.inf, positive),
            ("clip", self.clip is None or 0 < self.clip < math.inf, positive),
        ):
            if not is_valid:
                raise CheckpointError(f"{name} {getattr(self, name)!r}: wanted {wanted}")

    @property
    def classes(self) -> int:
        """Number of probabilities per pixel: 1 cloud, 2 cloud and shadow."""
        return 2 if self.shadow else 1

    def to_json(self) -> str:
        """The metadata as JSON, as stored in model files."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelMetadata:
        """Metadata from JSON or TOML values. Raises CheckpointError."""
        names = {known.name for known in fields(cls)}
        if unknown := set(values) - names:
            raise CheckpointError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        try:
            numbers = {name: tuple(float(v) for v in values[name]) for name in ("mean", "std") if name in values}
            return cls(**{**values, **lists, **numbers})
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"a value of the wrong type ({error})") from error


def from_json(text: str) -> ModelMetadata:
    """Metadata from the JSON in a model file. Raises CheckpointError, or ValueError for invalid JSON."""
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(f"wanted metadata of format {FORMAT}; another version of geocloud wrote this file")
    return ModelMetadata.from_dict(values)


def from_toml(path: Path) -> ModelMetadata:
    """Metadata from a TOML file beside another program's ONNX file. Raises CheckpointError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if missing := [name for name in ("bands", "mean", "std", "activation") if name not in values]:
            raise CheckpointError(f"{' and '.join(missing)} missing")
        return ModelMetadata.from_dict({"name": path.stem, "input": "normalised", **values})
    except (CheckpointError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_safetensors(path: Path) -> ModelMetadata:
    """Metadata of a safetensors file, read without weights or torch. Raises ModelNotFoundError or CheckpointError."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            entry = (file.metadata() or {}).get(KEY)
        if entry is None:
            raise CheckpointError("a safetensors file, but not one that geocloud wrote")
        return from_json(entry)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or a damaged one ({error})") from error
    except (CheckpointError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from error

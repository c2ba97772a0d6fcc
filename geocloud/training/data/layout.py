"""Data sets on disk: 38-Cloud and 95-Cloud as distributed, and folders of images with masks.

https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset
https://github.com/SorourMo/95-Cloud-An-Extension-to-38-Cloud-Dataset
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from geocloud.bands import BANDS, Units
from geocloud.errors import DatasetError, OptionError
from geocloud.readers import ReadOptions
from geocloud.readers.cloud38 import Patch, parse_patch
from geocloud.training.data.chips import CLASSES, ChipSource, LabelMap, read_codes

FOLDER = re.compile(r"(?P<part>train|test)_(?P<band>red|green|blue|nir|gt)(?P<more>_additional_to38cloud)?", re.I)
PAIRS = "images with masks"
IMAGE_SUFFIXES = {".tif", ".tiff", ".jp2", ".vrt"}

INFORMATIVE = 0.8
"""Minimum share of pixels with data in an informative patch, as set by 38-Cloud's authors."""

LEVEL1 = ReadOptions(units=Units.LANDSAT_L1, sun_elevation=90)
"""Reading options of 38-Cloud: Level-1 digital numbers, not corrected for the sun elevation, which is unknown."""


@dataclass(frozen=True, slots=True)
class TestScene:
    """A test scene: patches by (row, column), counted from 1, and the truth mask of the whole scene (> 0 is cloud)."""

    name: str  # Landsat product ID
    patches: dict[tuple[int, int], ChipSource]
    truth: Path

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of patches."""
        return max(row for row, _ in self.patches), max(col for _, col in self.patches)

    @property
    def missing(self) -> list[str]:
        """Missing patches, such as "row 1 column 2"."""
        rows, cols = self.shape
        places = [(row, col) for row in range(1, rows + 1) for col in range(1, cols + 1)]
        return [f"row {row} column {col}" for row, col in places if (row, col) not in self.patches]

    def as_chip(self) -> ChipSource:
        """The whole scene as one chip; `geocloud.readers` mosaics the patches."""
        patch = next(iter(self.patches.values()))
        options = replace(patch.options, scene_id=self.name)
        return replace(patch, name=self.name, image=patch.image.parent.parent, mask=self.truth, options=options)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set on disk."""

    root: Path
    kind: str  # 38-Cloud, 95-Cloud or images with masks
    training: tuple[ChipSource, ...] = ()
    testing: tuple[TestScene, ...] = ()
    informative: frozenset[str] | None = None  # chip names on the authors' list of informative ones; None: no list
    problems: tuple[str, ...] = ()  # messages of one line each

    def worth_training(self) -> tuple[ChipSource, ...]:
        """The informative chips: those on the authors' list or, without one, with data in more than 80 % of pixels."""
        if self.informative is not None:
            return tuple(source for source in self.training if source.name in self.informative)
        if self.kind == PAIRS:
            return self.training
        return tuple(s for s in self.training if np.mean(read_codes(s.image) != 0) > INFORMATIVE)


def open_dataset(root: Path, classes: LabelMap | None = None, options: ReadOptions | None = None) -> DataSet:
    """Opens the data set in a folder. ``classes`` and ``options`` apply to images with masks. Raises DatasetError."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; wanted 38-Cloud, 95-Cloud, or images with masks")
    options = options or ReadOptions()
    folders = [(match, path) for path in _below(root) if (match := FOLDER.fullmatch(path.name))]
    if folders and (classes is not None or options != ReadOptions()):
        raise DatasetError(
            f"{root}: 38-Cloud's layout defines its values; leave out classes, units and other reading options"
        )
    dataset = _cloud38(root, folders) if folders else _pairs(root, classes or CLASSES["geocloud"], options)
    if not dataset.training and not dataset.testing:
        raise DatasetError(
            f"{root}: contains neither 38-Cloud's folders (train_red …, test_red …) nor images with masks "
            "(images/NAME.tif and masks/NAME.tif)"
        )
    return dataset


def hold_out(
    sources: Sequence[ChipSource], count: int, by: str = "scenes", seed: int = 0
) -> tuple[list[ChipSource], list[ChipSource]]:
    """Splits chips into training and validation.

    Random scenes are held out until they contain about ``count`` chips; at least one scene stays on each side. With
    ``by="patches"`` single chips are held out, whose scores are too good, because patches of a scene are similar.
    Raises DatasetError, OptionError.
    """
    if not 0 < count < len(sources):
        raise OptionError(f"validation patches {count}: wanted more than 0 and fewer than all {len(sources)}")
    units = [source.scene if by == "scenes" else source.name for source in sources]
    names = sorted(set(units))
    if len(names) < 2:
        raise DatasetError(
            f"all {len(sources)} patches are from one scene ({names[0]}), so no whole scene can be held out; "
            "add scenes, or split by patches"
        )
    held: set[str] = set()
    for index in np.random.default_rng(seed).permutation(len(names))[:-1]:
        if sum(unit in held for unit in units) >= count:
            break
        held.add(names[int(index)])
    parts = [[s for s, unit in zip(sources, units, strict=True) if (unit in held) == out] for out in (False, True)]
    return parts[0], parts[1]


def _below(root: Path, depth: int = 2) -> Iterator[Path]:
    """A folder and its subfolders down to ``depth`` levels, sorted by name."""
    yield root
    if depth:
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield from _below(path, depth - 1)


def _files(root: Path, suffixes: set[str]) -> Iterator[Path]:
    for folder in _below(root):
        yield from (path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes)


def _cloud38(root: Path, folders: list[tuple[re.Match[str], Path]]) -> DataSet:
    files: dict[tuple[str, str], tuple[Patch, dict[str, Path]]] = {}  # (part, patch) → files by band
    for match, folder in folders:
        part, band = match["part"].lower(), match["band"].lower()
        for path in sorted(folder.iterdir()):
            word, _, rest = path.name.partition("_")
            if word.lower() == band and (patch := parse_patch(path.with_name(f"red_{rest}"))):
                files.setdefault((part, patch.name.lower()), (patch, {}))[1][band] = path
    problems: list[str] = []
    training: dict[str, ChipSource] = {}
    scenes: dict[str, dict[tuple[int, int], ChipSource]] = {}
    for (part, key), (patch, bands) in sorted(files.items(), key=lambda item: item[0]):
        wanted = (*BANDS, "gt") if part == "train" else BANDS
        if missing := ["truth mask (gt)" if band == "gt" else f"{band} file" for band in wanted if band not in bands]:
            problems.append(f"{patch.name}: no {' and no '.join(missing)}")
            continue
        source = ChipSource(patch.name, patch.scene, bands["red"], bands.get("gt"), CLASSES["38-cloud"], LEVEL1)
        if part == "train":
            training[key] = source
        else:
            scenes.setdefault(patch.scene, {})[patch.row, patch.col] = source
    patches = {source.name.lower() for scene in scenes.values() for source in scene.values()}
    informative: list[str] | None = None
    for path in _files(root, {".csv"}):
        stem = path.stem.lower()
        if stem.startswith(("training_patches_", "test_patches_")):
            table = pd.read_csv(path, dtype=str)
            if "name" not in table:
                raise DatasetError(f"{path}: no column 'name', wanted a list of patches; it has {list(table)}")
            listed, known = list(table["name"]), training.keys() if stem.startswith("training") else patches
            if stem.endswith("_nonempty"):
                informative = max(informative or [], listed, key=len)  # 95-Cloud's list includes 38-Cloud's
            elif (lost := [name for name in listed if name.lower() not in known]) and known:
                problems.append(f"{path.name}: lists {len(lost)} patches that are missing ({lost[0]} …)")
    testing: list[TestScene] = []
    truths = [path for path in _files(root, IMAGE_SUFFIXES) if path.parent.name.lower() == "entire_scene_gts"]
    for name, places in sorted(scenes.items()):
        truth = next((path for path in truths if path.stem.lower().endswith(name.lower())), None)
        if truth is None:
            problems.append(f"{name}: no truth mask of this test scene in Entire_scene_gts")
            continue
        testing.append(TestScene(name, places, truth))
        if missing := testing[-1].missing:
            problems.append(f"{name}: {len(missing)} test patches are missing ({missing[0]} …)")
    return DataSet(
        root,
        "95-Cloud" if any(match["more"] for match, _ in folders) else "38-Cloud",
        tuple(training.values()),
        tuple(testing),
        None if informative is None else frozenset(informative),
        tuple(problems),
    )


def _pairs(root: Path, classes: LabelMap, options: ReadOptions) -> DataSet:
    """Pairs of ``images/`` and ``masks/`` by file name, or of NAME.tif and NAME_mask.tif or NAME_label.tif."""
    folders = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    images, masks = folders.get("images", root), folders.get("masks", root)
    rasters = {path.stem: path for path in sorted(masks.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    endings = ("",) if images != masks else ("_mask", "_label", "_cloudmask")
    problems, sources = list[str](), list[ChipSource]()
    for path in sorted(images.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or (images == masks and path.stem.endswith(endings)):
            continue
        mask = next((rasters[path.stem + ending] for ending in endings if path.stem + ending in rasters), None)
        if mask is None:
            problems.append(f"{path.name}: no mask of this name in {masks}")
        else:
            scene = re.sub(r"_\d{3}_\d{3}$", "", path.stem)  # tiles cut by 'geocloud tile'
            sources.append(ChipSource(path.stem, scene, path, mask, classes, options))
    return DataSet(root, PAIRS, tuple(sources), problems=tuple(problems))

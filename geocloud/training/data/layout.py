"""Data sets on disk: 38-Cloud and 95-Cloud as their authors distribute them, and folders of images with masks.

https://github.com/SorourMo/38-Cloud-A-Cloud-Segmentation-Dataset
https://github.com/SorourMo/95-Cloud-An-Extension-to-38-Cloud-Dataset
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geocloud.bands import BANDS, LANDSAT_L1
from geocloud.errors import DatasetError, SceneReadError
from geocloud.readers import ReadOptions
from geocloud.readers.cloud38 import Patch, parse_patch
from geocloud.readers.stack import open_raster
from geocloud.training.data.chips import CLASSES, ChipSource, LabelMap, read_codes
from geocloud.training.data.cloud38 import INFORMATIVE

FOLDER = re.compile(r"(?P<part>train|test)_(?P<band>red|green|blue|nir|gt)(?P<more>_additional_to38cloud)?", re.I)
TRUTH_FOLDER = "entire_scene_gts"
PAIRS = "images with masks"
IMAGE_SUFFIXES = {".tif", ".tiff", ".jp2", ".vrt"}


@dataclass(frozen=True, slots=True)
class TestScene:
    """A test scene: its patches, and its truth mask."""

    name: str
    """Landsat product ID."""
    patches: dict[tuple[int, int], ChipSource]
    """Patches by (row, column), counted from 1."""
    truth: Path
    """Mask of the whole scene, > 0 is cloud."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return max(row for row, _ in self.patches), max(col for _, col in self.patches)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set on disk."""

    root: Path
    """Its folder."""
    kind: str
    """38-Cloud, 95-Cloud or images with masks."""
    training: tuple[ChipSource, ...] = ()
    """Training chips."""
    testing: tuple[TestScene, ...] = ()
    """Test scenes."""
    informative: frozenset[str] | None = None
    """Names of the training chips on the authors' list of informative ones; None: there is no such list."""
    problems: tuple[str, ...] = ()
    """Faults of the data set, a line each."""

    def worth_training(self) -> tuple[ChipSource, ...]:
        """The informative chips: those on the authors' list, or else those with data in more than 80 % of pixels."""
        if self.informative is not None:
            return tuple(source for source in self.training if source.name in self.informative)
        if self.kind == PAIRS:
            return self.training
        return tuple(source for source in self.training if share_of_data(source.image) > INFORMATIVE)


def open_dataset(root: Path, classes: LabelMap | None = None, options: ReadOptions | None = None) -> DataSet:
    """Finds the data set in a folder. ``classes`` and ``options`` are for images with masks. Raises DatasetError."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; wanted 38-Cloud, 95-Cloud, or images with masks")
    folders = _band_folders(root)
    if folders and (classes is not None or (options or ReadOptions()) != ReadOptions()):
        raise DatasetError(
            f"{root}: 38-Cloud's layout defines its values; leave out classes, units and other reading options"
        )
    found = _cloud38(root, folders) if folders else _pairs(root, classes or CLASSES["geocloud"], options)
    if not found.training and not found.testing:
        raise DatasetError(
            f"{root}: neither 38-Cloud's folders (train_red …, test_red …) nor images with masks "
            "(images/NAME.tif and masks/NAME.tif) are in it"
        )
    return found


def share_of_data(band: Path) -> float:
    """Share of a band's pixels that are not zero, in [0, 1]."""
    values = read_codes(band)
    return np.count_nonzero(values) / values.size


def _below(root: Path, depth: int = 2) -> Iterator[Path]:
    """A folder and its subfolders down to a depth, sorted by name."""
    yield root
    if depth:
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield from _below(path, depth - 1)


def _band_folders(root: Path) -> list[tuple[str, str, Path]]:
    """The folders named after a part (train, test) and a band or gt, as (part, band, folder)."""
    found = [(FOLDER.fullmatch(path.name), path) for path in _below(root)]
    return [(match["part"].lower(), match["band"].lower(), path) for match, path in found if match]


def _cloud38(root: Path, folders: list[tuple[str, str, Path]]) -> DataSet:
    problems: list[str] = []
    bands: dict[tuple[str, str, str], Patch] = {}  # part, patch, band
    truths: dict[str, Path] = {}
    for part, band, folder in folders:
        for path in sorted(folder.iterdir()):
            if band == "gt":
                if path.name.lower().startswith("gt_") and path.suffix.lower() in (".tif", ".tiff"):
                    truths[path.stem[3:].lower()] = path
            elif patch := parse_patch(path):
                bands[part, patch.name.lower(), patch.band] = patch
    sources: dict[str, dict[str, ChipSource]] = {"train": {}, "test": {}}
    places: dict[str, tuple[int, int]] = {}
    options = {p: _level1(patch.path for (part, _, _), patch in bands.items() if part == p) for p in sources}
    for part, key in sorted({(part, key) for part, key, _ in bands}):
        lacking = [band for band in BANDS if (part, key, band) not in bands]
        patch = next(bands[part, key, band] for band in BANDS if band not in lacking)
        if lacking:
            problems.append(f"{patch.name}: no {' and no '.join(lacking)} file")
        elif part == "train" and key not in truths:
            problems.append(f"{patch.name}: no truth mask (gt)")
        else:
            mask = truths[key] if part == "train" else None
            image = bands[part, key, "red"]
            sources[part][key] = ChipSource(
                image.name, image.scene, image.path, mask, CLASSES["38-cloud"], options[part]
            )
            places[key] = image.row, image.col
    names = {part: {s.name.lower(): s for s in found.values()} for part, found in sources.items()}
    for part, pattern in (("train", r"training_patches_(38|95)-cloud(_additional.*)?"), ("test", "test_patches.*")):
        for path in _lists(root, pattern):
            lost = [name for name in read_list(path) if name.lower() not in names[part]]
            if lost and sources[part]:
                problems.append(f"{path.name}: lists {len(lost)} patches that are missing ({lost[0]} …)")
    informative = [read_list(path) for path in _lists(root, r"training_patches_(38|95)-cloud_nonempty")]
    longest = max(informative, key=len, default=None)  # 95-Cloud's list includes 38-Cloud's
    extended = any("additional" in path.name.lower() for _, _, path in folders)
    return DataSet(
        root,
        "95-Cloud" if extended else "38-Cloud",
        tuple(sources["train"].values()),
        tuple(_test_scenes(root, sources["test"], places, problems)),
        None if longest is None else frozenset(longest),
        tuple(problems),
    )


def _level1(images: Iterable[Path]) -> ReadOptions:
    """Level-1 digital numbers. The sun's elevation is unknown; 8-bit copies hold the upper eight bits."""
    steps = 1
    for image in images:
        try:
            with open_raster(str(image), str(image)) as dataset:
                steps = 257 if dataset.dtypes[0] == "uint8" else 1
            break
        except SceneReadError:
            continue  # the next one will do; reading this one raises the error again
    return ReadOptions(scale=LANDSAT_L1.scale[0] * steps, offset=LANDSAT_L1.offset[0])


def _test_scenes(
    root: Path, patches: dict[str, ChipSource], places: dict[str, tuple[int, int]], problems: list[str]
) -> Iterator[TestScene]:
    truths: dict[str, Path] = {}
    for folder in _below(root):
        if folder.name.lower() == TRUTH_FOLDER:
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in (".tif", ".tiff"):
                    truths[path.stem.lower()] = path
    scenes: dict[str, dict[tuple[int, int], ChipSource]] = {}
    for key, source in patches.items():
        scenes.setdefault(source.scene, {})[places[key]] = source
    for name, mine in sorted(scenes.items()):
        truth = next((path for stem, path in truths.items() if stem.endswith(name.lower())), None)
        if truth is None:
            problems.append(f"{name}: no truth mask of this test scene in Entire_scene_gts")
            continue
        scene = TestScene(name, mine, truth)
        rows, cols = scene.shape
        lost = [(r, c) for r in range(1, rows + 1) for c in range(1, cols + 1) if (r, c) not in mine]
        if lost:
            problems.append(f"{name}: {len(lost)} test patches are missing (row {lost[0][0]}, column {lost[0][1]} …)")
        yield scene


def _lists(root: Path, pattern: str) -> list[Path]:
    """The CSV files whose stem matches, regardless of case."""
    wanted = re.compile(pattern, re.I)
    return [p for folder in _below(root) for p in sorted(folder.glob("*.[cC][sS][vV]")) if wanted.fullmatch(p.stem)]


def read_list(path: Path) -> list[str]:
    """The patch names of one of the authors' CSV files. Raises DatasetError."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if "name" not in (rows.fieldnames or []):
            raise DatasetError(f"{path}: no column 'name', wanted a list of patches; it has {rows.fieldnames}")
        return [row["name"] for row in rows]


def _pairs(root: Path, classes: LabelMap, options: ReadOptions | None) -> DataSet:
    """``images/`` and ``masks/`` with the same names, or NAME.tif beside NAME_mask.tif or NAME_label.tif."""
    split = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    images, masks = split.get("images", root), split.get("masks", root)
    rasters = {path.stem: path for path in sorted(masks.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    problems: list[str] = []
    sources = []
    endings = ("",) if images != masks else ("_mask", "_label", "_cloudmask")
    for path in sorted(images.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or (images == masks and path.stem.endswith(endings)):
            continue
        mask = next((rasters[path.stem + ending] for ending in endings if path.stem + ending in rasters), None)
        if mask is None:
            problems.append(f"{path.name}: no mask of this name in {masks}")
        else:
            scene = re.sub(r"_\d{3}_\d{3}$", "", path.stem)  # tiles cut by 'geocloud tile'
            sources.append(ChipSource(path.stem, scene, path, mask, classes, options or ReadOptions()))
    return DataSet(root, PAIRS, tuple(sources), problems=tuple(problems))

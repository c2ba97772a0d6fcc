"""Chips packed into two memory-mapped arrays, so that training neither opens nor decodes files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geocloud.errors import DatasetError, OutputError
from geocloud.training.data.chips import Chip, ChipSource

IMAGES, TARGETS, INDEX = "images.npy", "targets.npy", "index.json"
SCALE, MISSING = 10_000, -32_768


class PackedChips:
    """Chips from a folder that `pack` wrote, reflectance rounded to 0.0001. Each process opens the arrays itself."""

    def __init__(self, folder: Path, chosen: Sequence[int]) -> None:
        self.folder, self.chosen = folder, chosen
        self._arrays: tuple[Any, Any] | None = None
        about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self._names: list[str] = about["names"]
        self._metres: list[float] = about["metres"]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int, /) -> Chip:
        if self._arrays is None:
            self._arrays = np.load(self.folder / IMAGES, mmap_mode="r"), np.load(self.folder / TARGETS, mmap_mode="r")
        images, targets = self._arrays
        place = self.chosen[index]
        values = np.asarray(images[place])
        reflectance = np.where(values == MISSING, np.float32(np.nan), values.astype("float32") / SCALE)
        return Chip(self._names[place], reflectance, np.array(targets[place]), self._metres[place])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": None}  # an open memory map is not passed to another process


def pack(
    sources: Sequence[ChipSource], folder: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Reads every chip once and writes the arrays. An existing pack of exactly the same files is kept.

    Raises DatasetError if chips differ in size, SceneError, OutputError.
    """
    index = {"names": [s.name for s in sources], "files": [_fingerprint(s) for s in sources]}
    if (folder / INDEX).exists():
        there = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if {key: there.get(key) for key in index} == index and "metres" in there:
            return
    first = sources[0].read()
    height, width = first.target.shape[1:]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)  # written last: it marks the pack as complete
        images = _create(folder / IMAGES, "int16", (len(sources), 4, height, width))
        targets = _create(folder / TARGETS, "uint8", (len(sources), 2, height, width))
    except OSError as error:
        raise OutputError(f"{folder}: chips cannot be packed here ({error.strerror})") from error
    metres: list[float] = []
    for place, source in enumerate(sources):
        chip = source.read()
        if chip.target.shape[1:] != (height, width):
            raise DatasetError(
                f"{source.image}: {chip.target.shape[1]}×{chip.target.shape[2]} pixels, wanted {height}×{width} as "
                f"{sources[0].image.name} has; chips of different sizes cannot be packed, leave --pack out"
            )
        values = np.clip(np.rint(np.nan_to_num(chip.pixels()) * SCALE), MISSING + 1, -MISSING - 1)
        images[place] = np.where(np.isnan(chip.reflectance), MISSING, values)
        targets[place] = chip.target
        metres.append(chip.metres)
        report(place + 1, len(sources))
    images.flush()
    targets.flush()
    (folder / INDEX).write_text(json.dumps(index | {"metres": metres}), encoding="utf-8")


def packed(folder: Path, sources: Sequence[ChipSource]) -> PackedChips:
    """The chips of ``sources``, from a pack that holds them."""
    places = {name: i for i, name in enumerate(json.loads((folder / INDEX).read_text(encoding="utf-8"))["names"])}
    return PackedChips(folder, [places[source.name] for source in sources])


def _create(path: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _fingerprint(source: ChipSource) -> list[object]:
    """Key that changes with a chip's files or the way they are read."""
    stats = [path.stat() for path in (source.image, source.mask) if path is not None]
    return [str(source.image), [[s.st_size, s.st_mtime_ns] for s in stats], repr((source.classes, source.options))]

"""Chips held out of training for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geocloud.errors import DatasetError, OptionError
from geocloud.training.data.chips import ChipSource

SPLITS = ("scenes", "patches")


def hold_out(
    sources: Sequence[ChipSource], count: int, by: str = "scenes", seed: int = 0
) -> tuple[list[ChipSource], list[ChipSource]]:
    """Splits chips into training and validation.

    Whole scenes are held out at random until about ``count`` chips are. At least one scene stays on each side.

    Args:
        sources: The chips.
        count: Number of validation chips.
        by: scenes, or patches to hold out single chips. The latter makes scores too good, as patches of one scene
            resemble each other.
        seed: Of the random choice.

    Returns:
        Training chips, validation chips.

    Raises:
        GeocloudError: DatasetError or OptionError.
    """
    if by not in SPLITS:
        raise OptionError(f"split {by!r}: wanted {' or '.join(SPLITS)}")
    if not 0 < count < len(sources):
        raise OptionError(f"validation patches {count}: wanted more than 0 and fewer than all {len(sources)}")
    rng = np.random.default_rng(seed)
    if by == "patches":
        out = {int(i) for i in rng.permutation(len(sources))[:count]}
    else:
        scenes = sorted({source.scene for source in sources})
        if len(scenes) < 2:
            raise DatasetError(
                f"all {len(sources)} patches are from one scene ({scenes[0]}), so no whole scene can be held out; "
                "add scenes, or split by patches"
            )
        held: set[str] = set()
        for index in rng.permutation(len(scenes))[:-1]:
            if sum(source.scene in held for source in sources) >= count:
                break
            held.add(scenes[int(index)])
        out = {i for i, source in enumerate(sources) if source.scene in held}
    return [s for i, s in enumerate(sources) if i not in out], [s for i, s in enumerate(sources) if i in out]

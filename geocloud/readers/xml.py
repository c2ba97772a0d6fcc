"""Metadata in XML, which come from strangers: read by expat, and whatever has a DOCTYPE is refused.

Without one there are no entities but XML's own five, so none that grow and none from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn
from xml.parsers import expat

from geocloud.errors import SceneReadError

DEEPEST = 100
"""Elements within one another; real files have about ten."""


def parse_xml(
    data: str | bytes,
    label: str,
    kind: str,
    start: Callable[[str, dict[str, str]], object],
    end: Callable[[str], object],
    text: Callable[[str], object],
) -> None:
    """Calls ``start`` with each element's name (without its namespace's prefix) and attributes, ``text`` and ``end``.

    Raises SceneReadError for what is no XML, is cut off, has a DOCTYPE or is too deep; ``kind`` names what was wanted.
    """
    depth = 0

    def refuse(*_: object) -> NoReturn:
        raise SceneReadError(f"{label}: has a DOCTYPE, which no {kind} metadata have; it is not read")

    def opened(element: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        if depth >= DEEPEST:
            raise SceneReadError(f"{label}: over {DEEPEST} elements within one another, that is no metadata file")
        depth += 1
        start(element.rpartition(":")[2], attributes)

    def closed(element: str) -> None:
        nonlocal depth
        depth -= 1
        end(element.rpartition(":")[2])

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # LookupError: of an encoding
        raise SceneReadError(f"{label}: damaged or cut off, no valid XML ({error}); fetch the file again") from error

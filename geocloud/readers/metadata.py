"""Metadata files of products, parsed as untrusted input: groups of keys and text values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geocloud.errors import SceneReadError

Groups = dict[str, dict[str, str]]


def parse_xml(text: str, label: str, kind: str) -> Element:
    """Root element of an XML metadata file. Raises SceneReadError; ``kind`` is the product, for messages."""
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise SceneReadError(f"{label}: has a DOCTYPE, which no {kind} metadata have; it is not read") from error
    except (ParseError, LookupError, ValueError) as error:
        raise SceneReadError(f"{label}: damaged or cut off, no valid XML ({error}); fetch the file again") from error
    return root


@dataclass(frozen=True, slots=True)
class Metadata:
    """A metadata file. Groups are not flattened, since Landsat Level 2 has the same keys in two of them."""

    label: str = ""
    """Name of the file, for messages."""
    root: str = ""
    """Name of the outermost group."""
    groups: Groups = field(default_factory=dict)
    """Group → key → value; a repeated key keeps its first value."""

    @classmethod
    def parse(cls, text: str, label: str, kind: str, roots: Sequence[str]) -> Self:
        """Parses XML, JSON or ODL whose outermost group is in ``roots``. Raises SceneReadError."""
        start = text.lstrip("\ufeff \t\r\n")[:1]
        try:
            if start == "<":
                root, groups = _xml(parse_xml(text, label, kind))
            else:
                root, groups = _json(text, roots) if start == "{" else _odl(text)
        except (ValueError, RecursionError) as error:
            raise SceneReadError(f"{label}: damaged or cut off ({error}); fetch the file again") from error
        if root not in roots:
            wanted = f"{kind} metadata hold {' or '.join(roots)}, this holds {root[:50] or 'neither'}"
            raise SceneReadError(f"{label}: damaged or cut off, or another file: {wanted}")
        return cls(label, root, groups)

    def text(self, key: str, *groups: str) -> str | None:
        """Value from the first of the given groups (default: all) that has the key; None if it is missing."""
        return next((self.groups[g][key] for g in groups or self.groups if key in self.groups.get(g, {})), None)

    def number(self, key: str, *groups: str) -> float | None:
        """Value as a finite number; None if it is missing or NaN. Raises SceneReadError for other values."""
        value = self.text(key, *groups)
        try:
            number = math.nan if value is None else float(value)
        except ValueError:
            number = math.inf
        if math.isinf(number):
            raise SceneReadError(f"{self.label}: {key} is {value!r}, wanted a number")
        return None if math.isnan(number) else number

    def numbers(self, keys: Sequence[str], *groups: str) -> list[float]:
        """Values of several keys as numbers; an empty list if one is missing."""
        numbers = [self.number(key, *groups) for key in keys]
        return [] if None in numbers else [number for number in numbers if number is not None]


def _xml(root: Element) -> tuple[str, Groups]:
    """Name of the root, and element texts by parent; elements with a ``band_id`` also as KEY/ID."""
    groups: Groups = {}
    for parent in root.iter():
        for element in parent:
            values, key = groups.setdefault(_name(parent), {}), _name(element)
            for name in (key, f"{key}/{element.get('band_id')}"):
                values.setdefault(name, (element.text or "").strip())
    return _name(root), groups


def _name(element: Element) -> str:
    """Name of an element without namespace."""
    return str(element.tag).rpartition("}")[2]


def _json(text: str, roots: Sequence[str]) -> tuple[str, Groups]:
    tree = json.loads(text)
    root = next((name for name in roots if isinstance(tree.get(name), dict)), "")
    groups = {name: group for name, group in tree.get(root, {}).items() if isinstance(group, dict)}
    return root, {name: {key: str(group[key]) for key in group} for name, group in groups.items()}


def _odl(text: str) -> tuple[str, Groups]:
    groups, names = Groups(), list[str]()
    for line in text.splitlines():
        key, equals, value = (part.strip().strip('"') for part in line.partition("="))
        if key == "GROUP":
            names.append(value)
            groups.setdefault(value, {})
        elif key == "END_GROUP" and (not names or names.pop() != value):
            raise ValueError(f"END_GROUP = {value} closes no open group")
        elif equals and names:
            groups[names[-1]].setdefault(key, value)
    if names:
        raise ValueError(f"group {names[-1]} has no end")
    return next(iter(groups), ""), groups

"""Styles of results in a GIS: one colour scheme, as colour tables, QGIS styles and class names.

Cloud is vermilion, its shadow reddish purple, snow blue and thin cirrus yellow, from Okabe and Ito's palette. People
with any colour vision can distinguish them from each other and from land, sea and snow
(https://jfly.uni-koeln.de/color/). Clear and no data are transparent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from geocloud.masks.codes import CIRRUS, CLEAR, CLOUD, NO_DATA, SHADOW, SNOW

CLOUD_RGB = (213, 94, 0)
SHADOW_RGB = (204, 121, 167)
RGB = {CLOUD: CLOUD_RGB, SHADOW: SHADOW_RGB, SNOW: (0, 114, 178), CIRRUS: (240, 228, 66)}
CLASSES = {CLEAR: "clear", CLOUD: "cloud", SHADOW: "shadow", SNOW: "snow", CIRRUS: "cirrus"}
"""Names of the mask values, apart from no data."""

DEFAULT = (CLEAR, CLOUD)
"""Values of a mask without further classes."""

_ALL = {CLEAR: (0, 0, 0, 0), **{code: (*rgb, 255) for code, rgb in RGB.items()}, NO_DATA: (0, 0, 0, 0)}


def classes(codes: Collection[int] = DEFAULT) -> dict[int, str]:
    """The values that a mask may hold, and their names."""
    return {code: CLASSES[code] for code in codes}


def name_flags(codes: Collection[int]) -> dict[str, Any]:
    """Attributes that name the values of a mask, following section 3.5 of the CF conventions."""
    names = {**classes(codes), NO_DATA: "no_data"}
    return {"flag_values": list(names), "flag_meanings": " ".join(names.values()), "nodata": NO_DATA}


def colours(codes: Collection[int] = tuple(CLASSES)) -> dict[int, tuple[int, int, int, int]]:
    """A mask's colour table (red, green, blue, alpha), for programs that do not read style files."""
    return {code: colour for code, colour in _ALL.items() if code in codes or code == NO_DATA}


RAMP = ((0, (255, 255, 255, 0)), (25, (253, 231, 190, 90)), (50, (246, 170, 95, 150)), (100, (*CLOUD_RGB, 220)))
"""Probability in per cent → colour."""

_QGIS = (
    '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n'
    '<qgis version="3.22.0" styleCategories="AllStyleCategories">'
)
_PIPE_END = (
    '<brightnesscontrast brightness="0" contrast="0" gamma="1"/><huesaturation saturation="0" grayscaleMode="0" '
    'colorizeOn="0"/><rasterresampler maxOversampling="2"/>'
)


def _hex(colour: tuple[int, ...]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour[:3])


def mask_qml(codes: Collection[int] = DEFAULT) -> str:
    """A QGIS style for a mask: named classes, clear transparent, the others semi-transparent."""
    entries = "".join(
        f'<paletteEntry value="{value}" label="{label}" color="{_hex(_ALL[value])}" alpha="{128 if value else 0}"/>'
        for value, label in classes(codes).items()
    )
    return (
        f'{_QGIS}<pipe><rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">'
        f"<rasterTransparency/><colorPalette>{entries}</colorPalette></rasterrenderer>{_PIPE_END}</pipe></qgis>\n"
    )


def probability_qml() -> str:
    """A QGIS style for a probability in per cent: a ramp from transparent to the colour of cloud."""
    items = "".join(
        f'<item value="{value}" label="{value} %" color="{_hex(colour)}" alpha="{colour[3]}"/>'
        for value, colour in RAMP
    )
    return (
        f'{_QGIS}<pipe><rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" '
        'classificationMin="0" classificationMax="100" nodataColor=""><rasterTransparency/><rastershader>'
        '<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" minimumValue="0" '
        f'maximumValue="100" labelPrecision="0">{items}</colorrampshader></rastershader></rasterrenderer>'
        f"{_PIPE_END}</pipe></qgis>\n"
    )


FOOTPRINT_STEPS = ((0, 10), (10, 30), (30, 60), (60, 100))
"""Classes of cloud cover in per cent, (from, to)."""

CLEAR_RGB = (86, 180, 233)
"""Sky blue of the same palette, for a cloud-free scene."""


def polygons_qml(codes: Collection[int] = DEFAULT) -> str:
    """A QGIS style for polygons: an outline and a light fill, categorised by ``class`` if there are several."""
    if set(codes) <= set(DEFAULT):
        return _vector_qml('type="singleSymbol"', "", [CLOUD_RGB], 60)
    kinds = [code for code in codes if code != CLEAR]
    categories = "".join(
        f'<category value="{CLASSES[code]}" symbol="{index}" label="{CLASSES[code]}" render="true" type="string"/>'
        for index, code in enumerate(kinds)
    )
    renderer = 'type="categorizedSymbol" attr="class"'
    return _vector_qml(renderer, f"<categories>{categories}</categories>", [RGB[code] for code in kinds], 60)


def footprints_qml() -> str:
    """A QGIS style for scene footprints, graduated by cloud cover from sky blue to the colour of cloud."""
    ranges, colours = "", []
    for index, (low, high) in enumerate(FOOTPRINT_STEPS):
        share = index / (len(FOOTPRINT_STEPS) - 1)
        colours.append(tuple(round(a + (b - a) * share) for a, b in zip(CLEAR_RGB, CLOUD_RGB, strict=True)))
        label = f"{low} to {high} % cloud"
        ranges += f'<range lower="{low}" upper="{high}" symbol="{index}" label="{label}" render="true"/>'
    renderer = 'type="graduatedSymbol" attr="cloud_percent" graduatedMethod="GraduatedColor"'
    return _vector_qml(renderer, f"<ranges>{ranges}</ranges>", colours, 110)


def _vector_qml(renderer: str, classes: str, colours: Sequence[tuple[int, ...]], alpha: int) -> str:
    """A QGIS style of a vector layer, with a fill symbol for each class."""
    symbols = "".join(_fill(str(index), colour, alpha) for index, colour in enumerate(colours))
    return (
        f'{_QGIS}<renderer-v2 {renderer} symbollevels="0" enableorderby="0" forceraster="0">{classes}'
        f"<symbols>{symbols}</symbols></renderer-v2></qgis>\n"
    )


def _fill(name: str, colour: tuple[int, ...], alpha: int) -> str:
    """A QGIS fill symbol: an outline and a light fill."""
    red, green, blue = colour
    settings = {
        "color": f"{red},{green},{blue},{alpha}",
        "outline_color": f"{red},{green},{blue},255",
        "outline_style": "solid",
        "outline_width": "0.4",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    options = "".join(f'<Option name="{k}" type="QString" value={quoteattr(v)}/>' for k, v in settings.items())
    return (
        f'<symbol name="{name}" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">'
        f'<layer class="SimpleFill" enabled="1" locked="0" pass="0"><Option type="Map">{options}</Option></layer>'
        "</symbol>"
    )


def mask_aux_xml(codes: Collection[int] = DEFAULT) -> str:
    """GDAL's NAME.tif.aux.xml for a mask: category names and a raster attribute table."""
    names = "".join(f"<Category>{label}</Category>" for label in classes(codes).values())
    columns = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9))
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for i, (name, kind, usage) in enumerate(columns)
    )
    rows = "".join(
        f'<Row index="{i}">' + "".join(f"<F>{v}</F>" for v in (value, label, *_ALL[value])) + "</Row>"
        for i, (value, label) in enumerate(classes(codes).items())
    )
    return (
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames>'
        f'<GDALRasterAttributeTable tableType="thematic">{fields}{rows}</GDALRasterAttributeTable>'
        "</PAMRasterBand></PAMDataset>\n"
    )

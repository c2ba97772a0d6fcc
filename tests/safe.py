"""Small Sentinel-2 products in ESA's layout: lossless JPEG 2000, and metadata with real elements."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from conftest import geobox, write_tif
from numpy.typing import NDArray

from geocloud.io.gdal import open_quietly

L1C = "S2B_MSIL1C_20230823T095559_N0509_R122_T33UXP_20230823T120234"
L2A = "S2B_MSIL2A_20230823T095559_N0509_R122_T33UXP_20230823T124759"
OLD = "S2A_OPER_PRD_MSIL1C_PDMC_20160605T194300_R022_V20160605T100032_20160605T100032"
BANDS = ("B04", "B03", "B02", "B08")
IDS = {"B02": 1, "B03": 2, "B04": 3, "B08": 7}

PRODUCT = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <n1:General_Info>
    <{info}Product_Info>
      <PRODUCT_START_TIME>2023-08-23T09:55:59.024Z</PRODUCT_START_TIME>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
    </{info}Product_Info>
    <{info}Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      {quantification}
      {offsets}
      <Reflectance_Conversion>
        <U>0.97659423426857</U>
        <Solar_Irradiance_List>
          <SOLAR_IRRADIANCE bandId="3" unit="W/m²/µm">1512.79</SOLAR_IRRADIANCE>
        </Solar_Irradiance_List>
      </Reflectance_Conversion>
    </{info}Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level}_User_Product>
"""

QUANTIFICATION = {
    "1C": '<QUANTIFICATION_VALUE unit="none">{}</QUANTIFICATION_VALUE>',
    "2A": '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">{}</BOA_QUANTIFICATION_VALUE>'
    '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>',
    "old 2A": "<L1C_L2A_Quantification_Values_List>"
    '<L1C_TOA_QUANTIFICATION_VALUE unit="none">7</L1C_TOA_QUANTIFICATION_VALUE>'
    '<L2A_BOA_QUANTIFICATION_VALUE unit="none">{}</L2A_BOA_QUANTIFICATION_VALUE></L1C_L2A_Quantification_Values_List>',
}
OFFSETS = {
    "1C": ("Radiometric_Offset_List", "RADIO_ADD_OFFSET"),
    "2A": ("BOA_ADD_OFFSET_VALUES_LIST", "BOA_ADD_OFFSET"),
}

TILE = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{level}_Tile_Metadata.xsd">
  <n1:General_Info>
    <SENSING_TIME metadataLevel="Standard">2023-08-23T10:05:35.271949Z</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Angles metadataLevel="Standard">
      <Sun_Angles_Grid><Zenith><Values_List><VALUES>39.1 39.2</VALUES></Values_List></Zenith></Sun_Angles_Grid>
      <Mean_Sun_Angle>
        <ZENITH_ANGLE unit="deg">39.5</ZENITH_ANGLE>
        <AZIMUTH_ANGLE unit="deg">163.2</AZIMUTH_ANGLE>
      </Mean_Sun_Angle>
      <Mean_Viewing_Incidence_Angle_List>
        <Mean_Viewing_Incidence_Angle bandId="0">
          <ZENITH_ANGLE unit="deg">8.1</ZENITH_ANGLE>
        </Mean_Viewing_Incidence_Angle>
      </Mean_Viewing_Incidence_Angle_List>
    </Tile_Angles>
  </n1:Geometric_Info>
</n1:Level-{level}_Tile_ID>
"""


def product_text(level: str = "1C", offsets: Any = -1000, quantification: Any = 10000, baseline: str = "05.09") -> str:
    """Product metadata; ``offsets``: one for all bands, one per ``band_id``, or None."""
    offsets = dict.fromkeys(range(13), offsets) if isinstance(offsets, int) else offsets
    outer, inner = OFFSETS[level.removeprefix("old ")]
    listed = "".join(f'<{inner} band_id="{band}">{value}</{inner}>' for band, value in (offsets or {}).items())
    return PRODUCT.format(
        level=level.removeprefix("old "),
        info="L2A_" if level.startswith("old") else "",
        baseline=baseline,
        quantification=QUANTIFICATION[level].format(quantification),
        offsets=f"<{outer}>{listed}</{outer}>" if offsets else "",
    )


def write_jp2(path: Path, values: NDArray[Any], size: float = 10) -> Path:
    """Writes values ``(row, col)`` as lossless JPEG 2000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "JP2OpenJPEG", "count": 1, "dtype": values.dtype, "QUALITY": 100, "REVERSIBLE": "YES"}
    with open_quietly(path, "w", **profile, **geobox(*values.shape, size=size).profile) as dataset:
        dataset.write(values, 1)
    return path


def write_safe(
    folder: Path, values: NDArray[Any], name: str = L1C, text: str | None = None, tiles: tuple[str, ...] = ("T33UXP",)
) -> Path:
    """Writes a product of stored values ``(4, row, col)``: red, green, blue, nir. Its name sets level and layout."""
    level = "2A" if "MSIL2A" in name else "1C"
    root = folder / f"{name}.SAFE"
    old = "_PRD_" in name
    root.mkdir(parents=True)
    own = name.replace("_PRD_MSI", "_MTD_SAF") if old else f"MTD_MSIL{level}"
    (root / f"{own}.xml").write_text(text or product_text(level), encoding="utf-8")
    (root / "manifest.safe").write_text("<xfdu/>")
    write_jp2(root / "DATASTRIP" / "DS_1" / "QI_DATA" / "MSK_B04.jp2", values[0] * 0)
    for tile in tiles:
        granule = f"S2A_OPER_MSI_L1C_TL_SGS__20160605T150139_A004979_{tile}" if old else f"L{level}_{tile}_A033753"
        place = root / "GRANULE" / (f"{granule}_N02.02" if old else granule)
        stem = granule if old else f"{tile}_20230823T095559"
        for band, image in zip(BANDS, values, strict=True):
            ten = f"R10m/{stem}_{band}_10m.jp2" if level == "2A" else f"{stem}_{band}.jp2"
            write_jp2(place / "IMG_DATA" / ten, image)
            write_jp2(place / "QI_DATA" / f"MSK_DETFOO_{band}.jp2", image[:9, :9] * 0)
            if level == "2A":
                write_jp2(place / "IMG_DATA" / "R20m" / f"{stem}_{band}_20m.jp2", image[::2, ::2], 20)
        write_tif(place / "QI_DATA" / "four.tif", values)
        tile_file = f"{granule.replace('_MSI_', '_MTD_')}.xml" if old else "MTD_TL.xml"
        (place / tile_file).write_text(TILE.format(level=level), encoding="utf-8")
    return root


def pack(root: Path, path: Path, inside: str | None = None, how: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of a folder, in a top-level folder of its name or ``inside``."""
    inside = root.name if inside is None else inside
    with zipfile.ZipFile(path, "w", how) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, f"{inside}/{file.relative_to(root)}".lstrip("/"))
    return path


def numbers(
    reflectance: NDArray[np.float32], quantification: float = 10000, offset: float = -1000
) -> NDArray[np.uint16]:
    """Stored values by the formula of the product specification, an independent oracle."""
    return np.rint(reflectance * quantification - offset).astype("uint16")

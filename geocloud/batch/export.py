"""The manifest as a table, written as it is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from geocloud.batch.manifest import Entry
from geocloud.errors import DependencyError, OutputError
from geocloud.writers.staging import Staging

GROUP = 5000
"""Rows of a row group of Parquet, which are in memory at a time."""

NAMES = [field.name for field in fields(Entry)]


def export(entries: Iterable[Entry], path: Path) -> None:
    """Writes the manifest as a table: .csv, .json or .parquet. Raises OutputError, DependencyError."""
    if path.suffix not in FORMS:
        raise OutputError(f"{path}: wanted a name that ends in {', '.join(FORMS)}")
    records = (entry.record() for entry in entries)
    with Staging([path], overwrite=True) as staging:
        try:
            FORMS[path.suffix](records, staging.place(path))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        staging.publish()


def _write_csv(records: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, NAMES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def _write_json(records: Iterable[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, record in enumerate(records):
            file.write(f"{',' if number else ''}\n {json.dumps(record)}")
        file.write("\n]\n")


def _write_parquet(records: Iterable[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("Parquet needs pyarrow; run pip install 'geocloud[batch]'") from error
    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    columns = [(field.name, kinds.get(str(field.type).partition(" ")[0], pa.string())) for field in fields(Entry)]
    records = iter(records)
    with parquet.ParquetWriter(path, schema := pa.schema(columns)) as writer:
        while some := list(islice(records, GROUP)):
            writer.write_table(pa.Table.from_pylist(some, schema))


FORMS = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}

"""``python -m geocloud_cli``: the same as ``geocloud``."""

from geocloud_cli.main import cli

cli(prog_name="geocloud")

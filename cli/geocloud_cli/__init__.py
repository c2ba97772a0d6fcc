"""The command line of geocloud: one file per command; options.py holds shared options."""

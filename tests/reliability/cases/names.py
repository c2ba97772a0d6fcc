"""Names of files."""

from .case import masked, stack

NAMES = {name: name for name in ("a b.tif", "Wölkchen ☁.tif", 'it\'s "one".tif', "100%d %s.tif", "-dash.tif")}


@masked(each=NAMES | {"of 244 letters": "x" * 240 + ".tif"})
def a_file_named(folder, name):
    return ["--", stack(folder, name=name)]

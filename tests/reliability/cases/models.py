"""Model files."""

import os
import pickle
from pathlib import Path

from small import small

from .case import refused, stack


def model(folder, change=lambda data: data, network=None):
    """A scene, and a model file with changed bytes."""
    path = folder / "m.safetensors"
    (network or small()).save(path)
    path.write_bytes(change(path.read_bytes()))
    return [stack(folder), "--model", path]


@refused("no bundled model of that name")
def no_model_of_that_name(folder):
    return [stack(folder), "--model", "best"]


@refused("no safetensors file, or a damaged one")
def a_checkpoint_that_is_cut_off(folder):
    return model(folder, lambda data: data[:-99])


@refused("damaged or tampered with")
def a_checkpoint_of_which_one_bit_is_flipped(folder):
    return model(folder, lambda data: data[:-5] + bytes([data[-5] ^ 0x10]) + data[-4:])


@refused("do not fit")
def weights_of_another_architecture(folder):
    network = small()
    network.body = small("unet").body
    return model(folder, network=network)


@refused("no architecture 'othe'")
def an_architecture_that_does_not_exist(folder):
    return model(folder, lambda data: data.replace(rb"architecture\": \"fast\"", rb"architecture\": \"othe\""))


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["GEOCLOUD_EVIL"]),))


@refused("no safetensors file", "a pickle, which would run code if it were loaded")
def evil(folder):
    os.environ["GEOCLOUD_EVIL"] = str(folder / "out" / "evil")
    (folder / "m.pt").write_bytes(pickle.dumps(Evil()))
    return [stack(folder), "--model", folder / "m.pt"]

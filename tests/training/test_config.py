"""Configurations as TOML, and invalid settings."""

import pytest

from geocloud.errors import OptionError
from geocloud.models import read_metadata
from geocloud.training.config import TrainConfig, update
from geocloud.training.data.augment import Augment


def test_a_file_gives_back_what_was_saved(tmp_path):
    config = TrainConfig(architecture="unet", options={"width": 8}, steps=5, loss="dice", augment=Augment(size=96))
    config.save(tmp_path / "c.toml")
    assert TrainConfig.load(tmp_path / "c.toml") == config
    (tmp_path / "part.toml").write_text("steps = 7\nlearning_rate = 1\n[augment]\nclouds = 0.0\n")
    part = TrainConfig.load(tmp_path / "part.toml")
    assert (part.steps, part.learning_rate, part.augment.clouds) == (7, 1.0, 0.0)
    assert part.augment.size == Augment().size


def test_a_run_from_a_model_sees_what_it_saw_and_a_file_may_say_otherwise(tmp_path):
    model = read_metadata("fast")
    like = TrainConfig.like(model)
    assert (like.architecture, like.options) == (model.architecture, model.options)
    assert (like.threshold, like.shadow_threshold) == (model.threshold, model.shadow_threshold)
    assert (like.brightest, like.pixel_size) == (model.clip, model.pixel_size)
    assert ((like.mean,) * 4, (like.std,) * 4) == (model.mean, model.std)
    path = tmp_path / "part.toml"
    path.write_text("threshold = 0.6\n")
    part = TrainConfig.load(path, like)
    assert (part.threshold, part.brightest) == (0.6, model.clip)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 7", "no setting 'stepz'; there are architecture"),
        ("steps = 'many'", "steps is 'many', wanted int such as 12000"),
        ("steps = 0", "steps 0: wanted more than 0"),
        ("architecture = 'vit'", "architecture 'vit': wanted fast, unet, attention-unet"),
        ("loss = 'iou'", "loss 'iou'"),
        ("split = 'tiles'", "split 'tiles': wanted scenes, patches"),
        ("threshold = 1.5", "threshold 1.5"),
        ("decay = 0.0", "decay 0.0: wanted more than 0"),
        ("[augment]\nsnows = 1.0", "augment: no setting 'snows'"),
        ("steps = ", "invalid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        TrainConfig.load(path)


def test_changes_leave_the_original_alone_and_a_lost_file_is_named(tmp_path):
    config = TrainConfig()
    assert update(config, {"workers": 0}, "options").workers == 0
    assert config.workers == 1
    with pytest.raises(OptionError, match=r"none.toml: cannot be read \(No such file"):
        TrainConfig.load(tmp_path / "none.toml")

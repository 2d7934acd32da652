"""Animations: which records become frames, what a frame shows, and the file."""

import numpy as np
import pytest
from PIL import Image

from superpose_cli.plots import moving
from superpose_cli.plots.registry import PLOTS, draw
from superpose_cli.plots.style import find_style
from superpose_cli.results.run import load_run
from superpose_cli.toy_model.theory import polygon
from tests.synthetic import write_run

LIGHT = find_style("light")


def learning(tmp_path, W, **more):
    """A run whose weights grow from 0 to W in a straight line."""
    path = write_run(tmp_path / "run", W, steps=[0, 10, 20, 30, 40], record_weights=True, **more)
    return load_run(path)


def test_frames_follow_what_moves() -> None:
    W = np.zeros((1000, 3, 2))
    W[100:120] = np.linspace(0, 1, 20)[:, None, None]
    W[120:] = 1
    chosen = moving.moments([W])
    assert chosen[0] == 0
    assert chosen[-1] == 999
    assert len(chosen) <= moving.MOST_FRAMES
    assert sum(100 <= at <= 120 for at in chosen) >= moving.MOST_FRAMES // 3
    assert max(np.diff(chosen)) < 100, "and time goes on"
    assert moving.moments([np.ones((5, 3, 2))]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_a_frame_shows_the_weights_of_its_record(tmp_path, m: int) -> None:
    W = np.pad(polygon(5), ((0, 0), (0, 2)))[:, :m]
    data = PLOTS["trajectories"].select(learning(tmp_path, [W]))
    reach, titles = [], []
    with LIGHT.active():
        for figure in moving.frames(data, LIGHT, "title"):
            top, bottom = figure.axes
            titles.append([text.get_text() for text in top.texts])
            assert len(bottom.lines) == 2
            if m > 3:
                (image,) = top.images
                reach.append(float(np.asarray(image.get_array()).max()))
            else:
                reach.append(max(float(np.hypot(*line.get_xydata().T).max()) for line in top.lines))
    assert titles == [[f"step {step}"] for step in (0, 10, 20, 30, 40)]
    power = 2 if m > 3 else 1  # W W^T grows as the square
    np.testing.assert_allclose(reach, np.linspace(0, 1, 5) ** power * reach[-1], atol=1e-6)
    if m < 3:
        assert reach[-1] == pytest.approx(np.linalg.norm(W, axis=1).max())


def test_the_file_repeats_and_waits_at_the_end(tmp_path) -> None:
    run = learning(tmp_path, [polygon(5)] * 2, axes={"data.feature_probability": [0.5, 0.1]})
    (path,) = draw(run, ["trajectories"], LIGHT, ("gif",), tmp_path / "figures")
    assert sorted(file.name for file in path.parent.iterdir()) == ["trajectories.gif", "trajectories.md"]
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 5, 0)
        assert image.info["duration"] == moving.MILLISECONDS
        image.seek(4)
        assert image.info["duration"] == moving.LAST_MILLISECONDS
    assert path.stat().st_size < 200_000
    both = draw(run, ["trajectories"], LIGHT, ("gif", "svg"), tmp_path / "figures")
    assert [file.suffix for file in both] == [".gif", ".svg"]

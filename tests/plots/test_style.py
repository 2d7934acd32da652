"""One look: colours that mean something, settings that do not leak, files that are whole and reproducible."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from superpose_cli.errors import ConfigError, SuperposeError
from superpose_cli.plots.style import FORMATS, STYLES, find_style, save_figure

EVERY_STYLE = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def test_there_are_three_styles_and_others_are_refused() -> None:
    assert list(STYLES) == ["light", "dark", "paper"]
    with pytest.raises(ConfigError, match=r"'neon'.*light, dark, paper"):
        find_style("neon")


@EVERY_STYLE
def test_corners_of_the_two_dimensional_map(style) -> None:
    superposition = np.array([0.0, 1.0, 0.0, 3.0, np.nan])
    norm = np.array([1.0, 1.0, 0.0, 2.0, 1.0])
    expected = [style.dedicated, style.superposed, style.background, style.superposed, style.muted]
    np.testing.assert_allclose(
        style.sharing_and_norm(superposition, norm), [to_rgb(colour) for colour in expected], atol=1e-6
    )


@EVERY_STYLE
def test_mixtures_stay_colours(style) -> None:
    """Rounding must not leave [0, 1], which Matplotlib refuses: stored norms are float32."""
    norm = np.geomspace(1e-20, 1, 5001, dtype=np.float32)
    colours = style.sharing_and_norm(np.linspace(0, 1, 5001), norm)
    assert 0 <= colours.min() <= colours.max() <= 1


@EVERY_STYLE
def test_diverging_map_is_background_at_zero_and_opposite_in_hue(style) -> None:
    low, zero, high = (np.array(style.diverging(x)[:3]) for x in (0.2, 0.5, 0.8))
    np.testing.assert_allclose(zero, to_rgb(style.background), atol=0.02)
    assert low[0] > low[2]  # red below
    assert high[2] > high[0]  # blue above


@EVERY_STYLE
def test_the_strong_end_of_the_ramp_contrasts_more(style) -> None:
    weak, strong = (
        np.abs(np.array(style.ordered(x)[:3]) - to_rgb(style.background)).sum() for x in (0.0, 1.0)
    )
    assert strong > weak > 0.3


def test_settings_do_not_leak() -> None:
    before = dict(mpl.rcParams)
    with find_style("dark").active():
        assert mpl.rcParams["font.size"] == find_style("dark").text
        assert not mpl.rcParams["text.usetex"]
    assert dict(mpl.rcParams) == before


def _figure(style):
    with style.active():
        figure = style.figure(3, 2, "A title")
        ax = figure.subplots()
        ax.plot([1, 2], [3, 4], label="x")
        ax.legend()
    return figure


@pytest.mark.parametrize("extension", FORMATS)
def test_the_same_figure_gives_the_same_bytes(tmp_path, extension: str) -> None:
    style = find_style("light")
    for name in ("a", "b"):
        save_figure(_figure(style), tmp_path / f"{name}.{extension}", style)
    first, second = ((tmp_path / f"{name}.{extension}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{extension}", f"b.{extension}"]


def test_saving_uses_the_size_and_resolution_of_the_style(tmp_path) -> None:
    style = find_style("paper")
    save_figure(_figure(style), tmp_path / "a.png", style)
    assert mpl.image.imread(tmp_path / "a.png").shape[:2] == (600, 900)


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch) -> None:
    style = find_style("light")
    path = tmp_path / "a.svg"
    path.write_text("old")
    figure = _figure(style)

    def fail(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(SuperposeError, match=r"a\.svg: No space left"):
        save_figure(figure, path, style)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_long_titles_wrap_and_only_screens_have_them() -> None:
    title = "A title that is far too long for one line of a narrow figure of this kind"
    with find_style("light").active():
        figure = find_style("light").figure(4, 3, title)
        suptitle = figure._suptitle
        assert suptitle.get_window_extent().x1 <= figure.bbox.x1
        assert suptitle.get_text().replace("\n", " ") == title
    assert find_style("paper").figure(4, 3, title)._suptitle is None


def test_pyplot_knows_of_no_figure() -> None:
    _figure(find_style("light"))
    assert plt.get_fignums() == []

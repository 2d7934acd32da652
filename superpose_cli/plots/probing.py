"""`probing`: how well k hidden neurons tell whether a feature is on."""

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpose_cli.plots.cells import Panels, panels
from superpose_cli.plots.panels import label_rows, panel_figure, write_note
from superpose_cli.plots.samples import Stored, fitted, stored_models
from superpose_cli.plots.stored import refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, note_sentence, number, sentence, shown_restart
from superpose_cli.results.run import Run

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MOST_PROBES = 1500
"""Probes of a figure; one takes about five milliseconds."""
DRAWN = 1 << 15
ROWS, FEWEST = 400, 50
"""Rows of either kind (on, off) that a probe is fitted and tested on, each half, at most; and at least."""
KINDS: tuple[str, ...] = ("dedicated", "superposed")


@dataclass(frozen=True, kw_only=True)
class Probing:
    """What `probing` draws: one panel per cell. The probes are fitted when the scores are first asked for."""

    panels: Panels
    stored: dict[int, Stored]
    learner: ModuleType
    restarts: int

    @cached_property
    def scores(self) -> dict[int, dict[str, F64]]:
        """By cell and kind of feature: (features, sizes(m)) balanced accuracies."""
        return {cell: _scores(stored, self.learner) for cell, stored in self.stored.items()}


def select(run: Run) -> Probing:
    """The best restart of each cell; RunError without scikit-learn, or where it would take too long."""
    layout = panels(run)
    stored = stored_models(run, layout.shown)
    count = sum(len(sizes(model.W.shape[1])) * len(model.W) for model in stored.values())
    if not stored:
        refuse("probing", run, "training diverged in every cell", "lower train.learning_rate")
    if count > MOST_PROBES:
        refuse(
            "probing", run, f"it takes {count:,} probes, more than {MOST_PROBES:,}",
            "fix an axis or lower model.n_features",
        )  # fmt: skip
    return Probing(panels=layout, stored=stored, learner=fitted("probing", run), restarts=run.restarts)


def sizes(n_hidden: int) -> list[int]:
    """Numbers of neurons that are probed: 1, 2, 3, 4, 6, 8, ... and all."""
    powers = [size for power in range(n_hidden.bit_length()) for size in (1 << power, 3 << power)]
    return sorted({n_hidden, *(size for size in powers if size < n_hidden)})


def _scores(stored: Stored, learner: ModuleType) -> dict[str, F64]:
    """(features, sizes(m)) of each kind; features that are hardly ever on, or off, are left out."""
    x = stored.rows(DRAWN)
    tried, m = sizes(stored.W.shape[1]), stored.W.shape[1]
    found: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for feature, kind in enumerate(stored.regime):
        rows = balanced(x[:, feature] != 0)
        if kind not in found or len(rows) < 2 * FEWEST:
            continue
        h, on = stored.hidden(x[rows]), x[rows, feature] != 0
        train, test = slice(0, len(rows) // 2), slice(len(rows) // 2, None)
        order = by_mean_difference(h[train], on[train])
        found[kind].append([learner.probe_score(h[:, order[:k]], on, train, test) for k in tried])
    return {kind: np.array(rows).reshape(-1, len(sizes(m))) for kind, rows in found.items()}


def balanced(on: npt.NDArray[np.bool_]) -> I64:
    """The numbers of as many rows that are on as off, one of each by turns, at most 2 ROWS of either."""
    there, absent = np.flatnonzero(on), np.flatnonzero(~on)
    count = min(len(there), len(absent), 2 * ROWS)
    return np.stack([there[:count], absent[:count]], axis=1).reshape(-1)


def by_mean_difference(h: F64, on: npt.NDArray[np.bool_]) -> I64:
    """The neurons by how far their mean moves when the feature is on (Gurnee et al. 2023), furthest first."""
    return np.argsort(-np.abs(h[on].mean(axis=0) - h[~on].mean(axis=0)), kind="stable")


def draw(data: Probing, style: Style, title: str) -> Figure:
    """A panel a model: a faint line for each feature, a strong one for the mean of each kind."""
    figure, axes = panel_figure(data.panels, style, title, aspect=1.0, bar=False, equal=False)
    colours: dict[str, str] = dict(zip(KINDS, (style.dedicated, style.superposed), strict=True))
    for ax, cell in zip(axes, data.panels.shown.tolist(), strict=True):
        if cell in data.scores:
            _panel(ax, data.scores[cell], sizes(data.stored[cell].W.shape[1]), colours, style)
    for ax in axes:
        ax.set(ylim=(0.45, 1.02), xlabel="neurons k")
        ax.axhline(0.5, color=style.muted, lw=0.6 * style.line, ls=(0, (4, 3)), zorder=1)
    label_rows(figure, axes, data.panels, "balanced accuracy", style)
    figure.legend(
        [Line2D([], [], color=colour) for colour in colours.values()],
        [f"{kind} features" for kind in KINDS],
        loc="outside lower right" if data.panels.note == "" else "outside upper right", ncols=2,
    )  # fmt: skip
    write_note(figure, data.panels.note, style)
    return figure


def _panel(ax: Axes, scores: dict[str, F64], tried: list[int], colours: dict[str, str], style: Style) -> None:
    for kind, rows in scores.items():
        for row in rows:
            ax.plot(tried, row, color=colours[kind], lw=0.5 * style.line, alpha=0.35, zorder=2)
        if len(rows):
            ax.plot(tried, rows.mean(axis=0), "o-", color=colours[kind], ms=2.6 * style.line, zorder=3)
    ax.set_xticks(tried if len(tried) <= 7 else tried[::2])


def words(data: Probing) -> Words:
    """What one neuron tells of a feature, and what all do."""
    heads = _heads(data.panels)
    told = [_tell(heads[cell], scores, data.stored[cell].W.shape[1]) for cell, scores in data.scores.items()]
    return Words(
        title=_title(data, heads),
        paragraphs=(f"{shown_restart(data.restarts)} {' '.join(told)}" + note_sentence(data.panels.note),),
        reading=(
            "A probe is a logistic regression (scikit-learn) of whether a feature is on, on the k hidden "
            "neurons whose means differ most between on and off; its balanced accuracy is that on other rows "
            "than it was fitted to (0.5, dashed: chance). Blue: features with a dimension of their own; "
            "vermilion: superposed ones; faint: single features. The kinds compare inside one model: across "
            "models the density and the hidden layer differ too. Where the hidden layer has no ReLU its "
            "neurons are arbitrary axes, and even a dedicated feature takes several of them."
        ),
        source=(
            "“Finding Neurons in a Haystack” (Gurnee et al. 2023): sparse probing, in toy models; compare "
            "“Superposition in a Privileged Basis”."
        ),
    )


def _title(data: Probing, heads: dict[int, str]) -> str:
    """Both kinds of one model: with a hidden ReLU if there is one, then with most of either kind."""
    both = {cell: min(len(scores[kind]) for kind in KINDS) for cell, scores in data.scores.items()}
    cell = max(both, key=lambda c: (both[c] > 0, data.stored[c].model.hidden_activation == "relu", both[c]))
    if not both[cell]:
        return "Probes of single neurons and more: no model has features of both kinds"
    means = [f"{number(float(data.scores[cell][kind][:, 0].mean()))} for {kind}" for kind in KINDS]
    return f"Probes of one neuron: accuracy {' and '.join(means)} features of one model ({heads[cell]})"


def _heads(layout: Panels) -> dict[int, str]:
    """Each shown cell's row and place as a sentence begins with them."""
    rows = {cell: layout.row_labels[row] for row, cells in enumerate(layout.cells.tolist()) for cell in cells}
    return {cell: f"{rows[cell]}, {place}" if rows[cell] else place for cell, place in layout.places.items()}


def _tell(head: str, scores: dict[str, F64], n_hidden: int) -> str:
    parts = [
        f"{counted(len(rows), f'{kind} feature')} {number(float(rows[:, 0].mean()))} from one neuron, "
        f"{number(float(rows[:, -1].mean()))} from all {n_hidden}"
        for kind, rows in scores.items()
        if len(rows)
    ]
    return f"{sentence(head)}: {'; '.join(parts) or 'no feature that is both on and off often enough'}."

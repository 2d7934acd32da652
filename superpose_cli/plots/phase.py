"""`phase`: what becomes of an extra feature, trained beside theory, over sparsity and relative importance."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superpose_cli.plots.cells import Coordinate, coordinates
from superpose_cli.plots.curves import edges, set_horizontal, set_scale
from superpose_cli.plots.panels import write_note
from superpose_cli.plots.stored import best_cells, best_features, refuse
from superpose_cli.plots.style import Style
from superpose_cli.plots.words import Words, counted, listed, note_sentence, number, share
from superpose_cli.results.run import Run
from superpose_cli.toy_model.theory import best_solution, phase_2_in_1, phase_3_in_2

F64 = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]

THEORY = {(2, 1): phase_2_in_1, (3, 2): phase_3_in_2}
REGIME_OF = {"others_superposed": "dedicated"}
"""What becomes of the extra feature in a solution that is not named after it."""
CLEAR = 1.10
"""Cells whose second best solution costs at least this times the best are counted on their own."""
FAILED = 1.1
"""A trained loss above this times the cheapest theoretical one, whose norms are not free, is told, if by more
than three standard errors."""
NOISY = 0.10
"""A standard error above this share of the loss is told."""
_FINE = 301
_REGIONS = {
    "ignored": "not represented",
    "dedicated": "dedicated",
    "superposed": "in superposition",
    "others_superposed": "dedicated\n(the others in superposition)",
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What `phase` draws. Arrays are (importance, density), both ascending along 1/(1-S) and r."""

    x: Coordinate
    """1/(1-S)."""
    y: Coordinate
    """Relative importance r of the last feature."""
    n_features: int
    n_hidden: int
    norm: F64
    """||W|| of the last feature in the best restart; NaN where there is none."""
    interference: F64
    regime: Names
    """ignored, dedicated or superposed; '' where there is none."""
    excess: F64
    """Best restart's loss over that of the cheapest theoretical solution; NaN where there is none."""
    noise: F64
    """Standard error of that trained loss over the loss, 0 where it is exact; NaN where there is none."""
    restarts: int

    def theory(self, p: F64, r: F64) -> dict[str, F64]:
        """Losses of the candidate solutions."""
        return THEORY[self.n_features, self.n_hidden](p, r)


def select(run: Run) -> Phase:
    """The last feature of each cell's best restart; RunError unless the grid is density x last importance."""
    axes = {axis.name: (k, axis) for k, axis in enumerate(coordinates(run))}
    remedy = "use experiment=phase_2_in_1 or phase_3_in_2, or draw success"
    if (
        set(axes) != {"feature_probability", "last_importance"}
        or not axes["feature_probability"][1].is_density
    ):
        there = listed([axis.name for _, axis in axes.values()]) or "none"
        needed = "data.feature_probability and importance.last_importance"
        refuse("phase", run, f"it needs the two axes {needed}, and there are: {there}", remedy)
    setting = ["n_features", "n_hidden", "output_activation", "data_kind", "value", "signed", "high"]
    best = best_cells(run, [*setting, "loss", "loss_stderr"])
    shapes = set(zip(best["n_features"].tolist(), best["n_hidden"].tolist(), strict=True))
    if len(shapes) != 1 or not shapes <= set(THEORY) or set(best["output_activation"]) != {"relu"}:
        told = listed([f"n_features={n}, n_hidden={m}" for n, m in sorted(shapes)])
        refuse(
            "phase",
            run,
            f"theory is known for ReLU outputs with 2 features in 1 dimension or 3 in 2, not {told}",
            remedy,
        )
    if set(best["data_kind"]) != {"independent"}:
        refuse("phase", run, "theory is known for independent features only", remedy)
    if set(best["value"]) != {"uniform"} or best["signed"].any():
        refuse("phase", run, "theory is known for values that are uniform and positive only", remedy)
    (n, m), first = shapes.pop(), axes["feature_probability"][0]
    x, y = axes["feature_probability"][1], axes["last_importance"][1]
    rows = best_features(run, ["norm", "interference", "regime"])
    extra = rows["feature"] == n - 1
    by_x, by_y = np.argsort(x.positions), np.argsort(y.positions)

    def grid(values: npt.NDArray[Any], missing: Any) -> npt.NDArray[Any]:
        cells = np.full(run.n_cells, missing, dtype=values.dtype)
        cells[best["cell"]] = values
        cells = cells.reshape(len(x), len(y)).T if first == 0 else cells.reshape(len(y), len(x))
        return cells[np.ix_(by_y, by_x)]

    x, y = x[by_x], y[by_y]
    candidates = THEORY[n, m](*np.meshgrid(1 / x.positions, y.positions))
    cheapest = np.min(np.stack(list(candidates.values())), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Stored losses are means over the features, theory's are sums, of values up to 1.
        excess = grid(best["loss"] * n / np.square(best["high"]), np.nan) / cheapest
        noise = grid(best["loss_stderr"] / best["loss"], np.nan)
    return Phase(
        x=x,
        y=y,
        n_features=n,
        n_hidden=m,
        norm=grid(rows["norm"][extra], np.nan),
        interference=grid(rows["interference"][extra], np.nan),
        regime=grid(rows["regime"][extra].astype(object), "").astype(np.str_),
        excess=excess,
        noise=noise,
        restarts=run.restarts,
    )


def expected(data: Phase) -> tuple[Names, F64]:
    """What theory says of the extra feature in each cell, and second best loss / best loss over its fates."""
    p, r = np.meshgrid(1 / data.x.positions, data.y.positions)
    losses = data.theory(p, r)
    best = best_solution(losses)
    fates: dict[str, F64] = {}
    for name, loss in losses.items():
        fate = REGIME_OF.get(name, name)
        fates[fate] = np.minimum(fates[fate], loss) if fate in fates else loss
    ranked = np.sort(np.stack(list(fates.values())), axis=0)
    names = best.astype(object)
    for name, fate in REGIME_OF.items():
        names[best == name] = fate
    return names.astype(np.str_), ranked[1] / ranked[0]


def draw(data: Phase, style: Style, title: str) -> Figure:
    """The trained map, the theoretical one with its regions named, and the 2-D colour legend."""
    figure = style.figure(style.double, style.double * 0.435, title)
    trained, theory, legend = figure.subplots(1, 3, width_ratios=[1, 1, 0.34])
    colours = style.sharing_and_norm(data.interference, data.norm)
    _map(trained, data, edges(data.x), edges(data.y), colours, style)
    fine_x, fine_y = (_fine(axis) for axis in (data.x, data.y))
    losses = data.theory(*np.meshgrid(1 / np.maximum(fine_x, 1.0), fine_y))
    best = best_solution(losses)
    fate = np.vectorize(lambda name: REGIME_OF.get(name, name))(best)
    ideal = style.sharing_and_norm((fate == "superposed").astype(float), (fate != "ignored").astype(float))
    _map(theory, data, _midpoints(fine_x), _midpoints(fine_y), ideal, style)
    for ax in (trained, theory):
        _boundaries(ax, fine_x, fine_y, losses, style)
    _name_regions(theory, fine_x, fine_y, best, style)
    best_of = f", best of {data.restarts}" if data.restarts > 1 else ""
    trained.set_title(f"trained{best_of}", fontsize=style.text)
    theory.set_title("theory: the cheapest solution", fontsize=style.text)
    trained.set_ylabel("relative importance r of the extra feature")
    theory.tick_params(labelleft=False)
    _legend(legend, style)
    write_note(figure, _missing(data), style)
    return figure


def words(data: Phase) -> Words:
    """How far training and theory agree, and where they do not."""
    x, y = data.x.positions, data.y.positions
    dimensions = counted(data.n_hidden, "dimension")
    chosen = f"best of {data.restarts} restarts" if data.restarts > 1 else "one training"
    return Words(
        title=f"The fate of an extra feature: {data.n_features} features in {dimensions}",
        paragraphs=(
            _agreement(data),
            _losses(data),
            f"The map spans 1/(1−S) = {number(x[0])} to {number(x[-1])} and relative importance r = "
            f"{number(y[0])} to {number(y[-1])} and shows the {chosen} of each cell. Theory is the solution "
            f"of lowest loss among {len(data.theory(x[:1], y[:1]))} candidates with norms of 1. Trained, the "
            "extra feature counts as ignored if ‖W‖² ≤ 0.25, else as dedicated if its dimensionality D is at "
            "least 0.9, else as superposed." + note_sentence(_missing(data)),
        ),
        reading=(
            "The last feature has importance r, every other 1. Blank: it is not represented. Blue: it has a "
            "dimension of its own. Orange: it shares one. Paler is shorter ‖W‖. Lines are the borders "
            "between the theoretical solutions, in both maps; trained borders lie at slightly higher p, as "
            "theory holds the norms at 1."
        ),
        source="“Superposition as a Phase Change”: the phase diagrams and the theory beside them.",
    )


def _agreement(data: Phase) -> str:
    """The share of cells whose trained regime is the theory's, over all and over the clear ones."""
    said, clarity = expected(data)
    there = data.regime != ""
    agrees = there & (data.regime == said)
    clear = there & (clarity >= CLEAR)
    text = (
        "Training and theory agree on what becomes of the extra feature in "
        f"{share(int(agrees.sum()), int(there.sum()))} of the cells"
    )
    if clear.any():
        text += (
            f", and in {share(int((agrees & clear).sum()), int(clear.sum()))} of those where the next best "
            f"fate costs at least {number(100 * (CLEAR - 1))} % more"
        )
    fates = [
        f"{fate} in {share(int((data.regime == fate).sum()), int(there.sum()))}"
        for fate in ("ignored", "dedicated", "superposed")
        if (data.regime == fate).any()
    ]
    text += f". Trained, it is {listed(fates)}."
    wrong = there & ~agrees
    if wrong.any():
        pairs = list(zip(data.regime[wrong].tolist(), said[wrong].tolist(), strict=True))
        (trained, theory), cells = Counter(pairs).most_common(1)[0]
        text += (
            f" Where they differ, it is most often {trained} instead of {theory} ({counted(cells, 'cell')})."
        )
    return text


def _losses(data: Phase) -> str:
    """Where training plainly failed, and where the choice of the best restart is partly chance."""
    there = np.isfinite(data.excess)
    if not there.any():
        return "No cell has a finite loss."
    row, column = np.unravel_index(int(np.where(there, data.excess, -1.0).argmax()), data.excess.shape)
    worst = f"{data.x.inline[column]}, r = {number(data.y.positions[row])}"
    most = number(float(data.excess[row, column]))
    above = data.excess > FAILED * (1 + 3 * np.where(np.isfinite(data.noise), data.noise, 0))
    failed, limit = int(above[there].sum()), number(FAILED)
    if failed:
        runs = "all restarts" if data.restarts > 1 else "training"
        text = (
            f"In {counted(failed, 'cell')} the trained loss is more than {limit} times that of the cheapest "
            f"theoretical solution, though trained norms are free: {runs} failed there. The worst is "
            f"{worst}: {most} times."
        )
    else:
        text = (
            f"In no cell is the trained loss more than {limit} times that of the cheapest theoretical "
            f"solution; it is at most {most} times ({worst})."
        )
    measured = data.noise[there]
    if not (measured > 0).any():
        return text
    noisy, limit = int((measured > NOISY).sum()), number(100 * NOISY)
    text += f" The standard error of the best restart's loss exceeds {limit} % of it in "
    if not noisy:
        return f"{text}no cell."
    chance = ": there the choice of the best restart is partly chance" if data.restarts > 1 else ""
    return f"{text}{counted(noisy, 'cell')}{chance}."


def _missing(data: Phase) -> str:
    missing = int((data.regime == "").sum())
    return f"{counted(missing, 'cell')} not trained yet, shown grey" if missing else ""


def _fine(axis: Coordinate) -> F64:
    borders = edges(axis)
    return np.geomspace(borders[0], borders[-1], _FINE)


def _midpoints(values: F64) -> F64:
    """Borders of fine pixels centred on `values`, a geometric sequence."""
    step = np.sqrt(values[1] / values[0])
    return np.append(values / step, values[-1] * step)


def _map(ax: Axes, data: Phase, x: F64, y: F64, colours: F64, style: Style) -> None:
    ax.pcolormesh(x, y, colours, rasterized=True, linewidth=0)
    set_horizontal(ax, data.x)
    set_scale(ax, data.y, "y")
    ax.spines[:].set_visible(True)


def _boundaries(ax: Axes, x: F64, y: F64, losses: dict[str, F64], style: Style) -> None:
    """Where a solution costs as much as the best of the others."""
    for name, loss in losses.items():
        rest = np.min([other for key, other in losses.items() if key != name], axis=0)
        margin = np.log(loss / rest)
        if margin.min() < 0 < margin.max():
            ax.contour(x, y, margin, levels=[0], colors=style.ink, linewidths=0.9 * style.line)


def _name_regions(ax: Axes, x: F64, y: F64, best: Names, style: Style) -> None:
    """Each region's name at its centre of mass, upright where the region is narrow."""
    for name in np.unique(best):
        rows, columns = np.nonzero(best == name)
        if len(rows) < 0.03 * best.size:
            continue
        row = int(rows.mean())
        across = columns[rows == row]
        narrow = len(across) < 0.3 * len(x)
        ax.text(
            x[int(across.mean())], y[row], _REGIONS[str(name)], ha="center", va="center",
            color=style.ink if name == "ignored" else style.background, fontsize=style.small,
            rotation=90 if narrow else 0,
        )  # fmt: skip


def _legend(ax: Axes, style: Style) -> None:
    """The 2-D colour map: superposition to the right, norm upwards."""
    steps = np.linspace(0, 1, 64)
    ax.imshow(
        style.sharing_and_norm(*np.meshgrid(steps, steps)), extent=(0, 1, 0, 1), origin="lower",
        aspect="equal", interpolation="bilinear",
    )  # fmt: skip
    ax.set(xticks=[0, 1], xticklabels=["0", "≥ 1"], yticks=[0, 1], yticklabels=["0", "≥ 1"])
    ax.set_xlabel("superposition\n" r"$\Sigma_j\,(\hat W\cdot W_j)^2$", fontsize=style.small)
    ax.set_ylabel(r"norm $\Vert W\Vert$", fontsize=style.small)
    ax.set_title("extra feature", fontsize=style.small)
    ax.spines[:].set_visible(True)

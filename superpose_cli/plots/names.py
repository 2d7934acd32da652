"""The names of the plots, for whoever must check one without loading what draws it."""

from superpose_cli.errors import ConfigError

NAMES = (
    *("arrows", "wtw", "norms", "dims", "phase", "success", "history", "spectrum"),
    *("geometry_graph", "polyhedron", "trajectories", "neurons", "weights", "collapse", "double_descent"),
    *("explainers", "vulnerability", "capacity", "branches", "incidental", "penalty", "scaling"),
    *("analogy", "probing", "recovery"),
)


def check_name(name: str) -> str:
    """`name`, if there is a plot of that name; ConfigError names those there are."""
    if name not in NAMES:
        raise ConfigError(f"there is no plot {name!r}: use one of {', '.join(NAMES)}")
    return name
